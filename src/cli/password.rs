//! Where a password comes from: a prompt, standard input or the environment. Never an argument,
//! which every process of the host can read.

use std::io::{self, BufRead, IsTerminal, Read, StdinLock, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::password::{self, LONGEST};

use crate::control::Failure;

/// Holds a password where nobody can type one.
pub const VARIABLE: &str = "PARLOR_PASSWORD";

/// The hash of one line of standard input, or else of what the environment says, or else of what
/// somebody types twice.
pub fn hash(stdin: bool) -> Result<String, Failure> {
    let typed = match std::env::var(VARIABLE) {
        _ if stdin => from_input(io::stdin().lock())?,
        Ok(text) => judged(text, "PARLOR_PASSWORD needs one line, the password")?,
        Err(_) => from_terminal()?,
    };
    password::hash(&typed).map_err(Failure::refused)
}

/// All of the input but the end of its last line.
fn from_input(input: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    input
        .take(LONGEST as u64 + 3)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    judged(
        without_end(&text).to_owned(),
        "--password-stdin needs one line on standard input, the password",
    )
}

fn from_terminal() -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "nobody is here to type a password: use --password-stdin or PARLOR_PASSWORD",
        ));
    }
    let mut silent = Silent::new(stdin.lock())?;
    let typed = judged(silent.ask("Password: ")?, "a password is not empty")?;
    match silent.ask("The same again: ")? == typed {
        true => Ok(typed),
        false => Err(Failure::usage("the two passwords differ")),
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silent<'a> {
    input: StdinLock<'a>,
    before: Termios,
}

impl Silent<'_> {
    fn new(input: StdinLock<'_>) -> Result<Silent<'_>, Failure> {
        let before = tcgetattr(&input)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSAFLUSH, &silent)?;
        Ok(Silent { input, before })
    }

    fn ask(&mut self, prompt: &str) -> Result<String, Failure> {
        let mut stderr = io::stderr();
        write!(stderr, "{prompt}").and_then(|()| stderr.flush())?;
        let mut line = String::new();
        let mut bounded = (&mut self.input).take(LONGEST as u64 + 3);
        bounded.read_line(&mut line).map_err(unreadable)?;
        // The Enter that was typed is not shown either.
        writeln!(stderr)?;
        Ok(without_end(&line).to_owned())
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // Nothing is left to try where this fails.
        let _ = tcsetattr(&self.input, SetArg::TCSAFLUSH, &self.before);
    }
}

fn without_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

fn judged(password: String, what_is_needed: &str) -> Result<String, Failure> {
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(Failure::usage(what_is_needed));
    }
    match password.len() > LONGEST {
        true => Err(Failure::usage(format!(
            "a password has at most {LONGEST} bytes"
        ))),
        false => Ok(password),
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::usage(format!("the password can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        for input in ["correct horse", "correct horse\n", "correct horse\r\n"] {
            assert_eq!(from_input(input.as_bytes()).unwrap(), "correct horse");
        }
        for input in ["", "\n", "a\nb", "a\0b"] {
            assert!(from_input(input.as_bytes()).is_err(), "{input:?}");
        }
        let long = "x".repeat(1025);
        assert!(from_input(long.as_bytes()).is_err());
        assert!(from_input(&long.as_bytes()[1..]).is_ok());
    }
}

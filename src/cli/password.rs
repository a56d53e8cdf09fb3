//! Reads a password from a prompt, standard input or the environment; never from an argument, which
//! every process of the host can read.

use std::env::VarError;
use std::io::{self, BufRead, IsTerminal, Read, StdinLock, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::password::{self, MAX_BYTES, MIN_CHARS};
use crate::secret::Secret;
use crate::text_file;

use crate::admin::Failure;

/// Environment variable with the password, for use without a terminal.
pub(super) const PASSWORD_VARIABLE: &str = "PARLOR_PASSWORD";

/// Limit for reading: one byte more than the longest password with its line ending.
const MAX_INPUT_BYTES: u64 = MAX_BYTES as u64 + 3;

/// Returns the hash of the password: from standard input, else from the environment, else from a prompt
/// that asks twice.
pub(super) fn hash(stdin: bool) -> Result<String, Failure> {
    let typed = match std::env::var(PASSWORD_VARIABLE) {
        _ if stdin => from_input(io::stdin().lock())?,
        Ok(text) => validated(text, "PARLOR_PASSWORD needs one line, the password")?,
        Err(VarError::NotUnicode(_)) => {
            return Err(Failure::usage("PARLOR_PASSWORD is not UTF-8 text"));
        }
        Err(VarError::NotPresent) => from_terminal()?,
    };
    password::hash(&typed).map_err(Failure::new)
}

/// Reads all input, without its final line ending.
fn from_input(input: impl Read) -> Result<Secret, Failure> {
    let mut bytes = Vec::with_capacity(MAX_INPUT_BYTES as usize);
    let mut bounded = input.take(MAX_INPUT_BYTES);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    validated(
        decode_line(bytes)?,
        "--password-stdin needs one line on standard input, the password",
    )
}

fn from_terminal() -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "standard input is not a terminal: use --password-stdin or PARLOR_PASSWORD",
        ));
    }
    let mut no_echo = NoEcho::new(stdin.lock())?;
    let typed = validated(no_echo.prompt("Password: ")?, "the password is empty")?;
    if Secret::new(no_echo.prompt("Repeat the password: ")?) == typed {
        Ok(typed)
    } else {
        Err(Failure::usage("the two passwords differ"))
    }
}

/// Turns off the echo of a terminal until it is dropped.
struct NoEcho<'a> {
    input: StdinLock<'a>,
    before: Termios,
}

impl NoEcho<'_> {
    fn new(input: StdinLock<'_>) -> Result<NoEcho<'_>, Failure> {
        let before = tcgetattr(&input)?;
        let mut no_echo = before.clone();
        no_echo.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSAFLUSH, &no_echo)?;
        Ok(NoEcho { input, before })
    }

    fn prompt(&mut self, prompt: &str) -> Result<String, Failure> {
        let mut stderr = io::stderr();
        write!(stderr, "{prompt}").and_then(|()| stderr.flush())?;
        let mut line = Vec::with_capacity(MAX_INPUT_BYTES as usize);
        let mut bounded = (&mut self.input).take(MAX_INPUT_BYTES);
        bounded.read_until(b'\n', &mut line).map_err(unreadable)?;
        // The terminal does not echo the line feed either.
        writeln!(stderr)?;
        decode_line(line)
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        // There is no recovery from a failure here.
        let _ = tcsetattr(&self.input, SetArg::TCSAFLUSH, &self.before);
    }
}

/// Decodes a line and removes its line ending.
fn decode_line(bytes: Vec<u8>) -> Result<String, Failure> {
    // The input was cut, possibly within a character.
    if bytes.len() as u64 == MAX_INPUT_BYTES {
        return Err(too_long());
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Failure::usage("a password must be UTF-8 text"))?;
    let text = Zeroizing::new(text);
    let line = text_file::strip_bom(&text);
    let line = line.strip_suffix('\n').unwrap_or(line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn validated(password: String, requirement: &str) -> Result<Secret, Failure> {
    let password = Zeroizing::new(password);
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(Failure::usage(requirement));
    }
    if password.chars().count() < MIN_CHARS {
        return Err(Failure::usage(format!(
            "a password must have at least {MIN_CHARS} characters"
        )));
    }
    if password.len() > MAX_BYTES {
        Err(too_long())
    } else {
        Ok(Secret::new(password.as_str()))
    }
}

fn too_long() -> Failure {
    Failure::usage(format!("a password must have at most {MAX_BYTES} bytes"))
}

fn unreadable(error: io::Error) -> Failure {
    Failure::usage(format!("the password can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_without_its_line_ending() {
        for input in ["correct horse", "correct horse\n", "correct horse\r\n"] {
            assert_eq!(
                from_input(input.as_bytes()).unwrap(),
                Secret::new("correct horse")
            );
        }
        for input in ["", "\n", "good\nenough", "good\0enough", "7 signs", "ä"] {
            assert!(from_input(input.as_bytes()).is_err(), "{input:?}");
        }
        assert_eq!(
            from_input("8 zeichñ\n".as_bytes()).unwrap(),
            Secret::new("8 zeichñ")
        );
        let long = "x".repeat(1025);
        assert!(from_input(long.as_bytes()).is_err());
        assert!(from_input(&long.as_bytes()[1..]).is_ok());
        let message = |input: &[u8]| from_input(input).unwrap_err().problems.concat();
        assert!(message("ä".repeat(600).as_bytes()).contains("at most 1024 bytes"));
        assert_eq!(message(b"\xff\n"), "a password must be UTF-8 text");
    }
}

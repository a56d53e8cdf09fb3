//! `parlor bench`: what to measure, and with which credentials. No secret is ever an argument, which
//! every process of the host can read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::admin::{Answer, Failure};
use crate::bench::{self, Load, Login, Wish};
use crate::secret::Secret;
use crate::text_file;

use super::args;

/// The server's secret.
const SECRET: &str = "PARLOR_BENCH_SECRET";
/// The password of `--username`.
const CREDENTIAL: &str = "PARLOR_BENCH_CREDENTIAL";

/// In seconds: permissions last five minutes (RFC 8656 section 9).
const LONGEST_RUN: u64 = 200;

/// No secret is longer.
const LONGEST: u64 = 4096;

pub fn run(command: args::Bench) -> Result<Answer, Failure> {
    match command {
        args::Bench::Local(wish) => bench::local(&wish_of(wish)?),
        args::Bench::Relay(load) => bench::relay(&Load {
            login: login(&load)?,
            server: load.server,
            clients: load.clients,
            rate: load.rate,
            size: load.size,
            time: Duration::from_secs(load.seconds),
        }),
    }
}

fn wish_of(wish: args::Local) -> Result<Wish, Failure> {
    if wish.seconds * wish.people.len() as u64 > LONGEST_RUN {
        return Err(Failure::usage(format!(
            "all sizes of calls together take at most {LONGEST_RUN} seconds: what is bound is not \
             refreshed"
        )));
    }
    Ok(Wish {
        people: wish.people,
        time: Duration::from_secs(wish.seconds),
        max_lost_percent: wish.max_loss,
        max_p99: wish.max_p99,
    })
}

fn login(load: &args::Relay) -> Result<Login, Failure> {
    if let Some(username) = &load.username {
        let password = variable(CREDENTIAL)?;
        let password = password.ok_or_else(|| {
            Failure::usage("--username needs its password in PARLOR_BENCH_CREDENTIAL")
        })?;
        return Ok(Login::Fixed {
            username: username.clone(),
            password,
        });
    }
    let secret = match (&load.secret_file, load.secret_stdin) {
        (Some(path), _) => Some(from_file(path)?),
        (None, true) => Some(one_line(io::stdin().lock(), "standard input")?),
        (None, false) => variable(SECRET)?,
    };
    match secret {
        Some(secret) => Ok(Login::minted_by(&secret)),
        None => Err(Failure::usage(
            "the server's secret is needed, in PARLOR_BENCH_SECRET, --secret-file or \
             --secret-stdin, or else --username and PARLOR_BENCH_CREDENTIAL",
        )),
    }
}

/// What is empty is not set.
fn variable(name: &str) -> Result<Option<Secret>, Failure> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("{name} is not UTF-8 text")))
        }
    }
}

fn from_file(path: &Path) -> Result<Secret, Failure> {
    let name = path.display();
    let file = File::open(path)
        .map_err(|error| Failure::usage(format!("{name} can't be read: {error}")))?;
    one_line(file, &name.to_string())
}

fn one_line(input: impl Read, what: &str) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = input.take(LONGEST + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("{what} can't be read: {error}")))?;
    let secret = text_file::without_mark(&text).trim();
    match secret.is_empty() || secret.contains(['\n', '\0']) || text.len() as u64 > LONGEST {
        true => Err(Failure::usage(format!(
            "{what} does not hold one line, the secret"
        ))),
        false => Ok(Secret::new(secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_its_end_does_not_count() {
        for input in ["north", "north\n", " north\r\n", "\u{feff}north\n"] {
            assert_eq!(one_line(input.as_bytes(), "it").unwrap().expose(), "north");
        }
        let long = "x".repeat(5000);
        for input in ["", "\n", "a\nb", "a\0b", &long] {
            assert!(one_line(input.as_bytes(), "it").is_err(), "{input:?}");
        }
    }
}

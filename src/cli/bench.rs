//! `parlor bench`: reads the credentials. A secret is never an argument, which every process of the host
//! can read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::admin::{Failure, Response};
use crate::bench::{self, LocalOptions, Login, RelayOptions};
use crate::secret::Secret;
use crate::text_file;

use super::bench_args::{BenchCommand, Local, Relay};

/// Environment variable with the server's secret.
const SECRET_VARIABLE: &str = "PARLOR_BENCH_SECRET";
/// Environment variable with the password of `--username`.
const CREDENTIAL_VARIABLE: &str = "PARLOR_BENCH_CREDENTIAL";

/// Maximum duration: permissions last five minutes (RFC 8656 section 9), and are not refreshed.
const MAX_RUN_SECONDS: u64 = 200;

/// Maximum size of a secret.
const MAX_SECRET_BYTES: u64 = 4096;

pub(super) fn run(command: BenchCommand) -> Result<Response, Failure> {
    match command {
        BenchCommand::Local(options) => bench::local(&local_options(options)?),
        BenchCommand::Relay(options) => bench::relay(&RelayOptions {
            login: login(&options)?,
            server: options.server,
            clients: options.clients,
            rate: options.rate,
            size: options.size,
            time: Duration::from_secs(options.seconds),
        }),
    }
}

fn local_options(options: Local) -> Result<LocalOptions, Failure> {
    if options.seconds * options.people.len() as u64 > MAX_RUN_SECONDS {
        return Err(Failure::usage(format!(
            "all sizes of calls together may take at most {MAX_RUN_SECONDS} seconds: permissions are \
             not refreshed"
        )));
    }
    Ok(LocalOptions {
        people: options.people,
        time: Duration::from_secs(options.seconds),
        max_lost_percent: options.max_loss,
        max_p99: options.max_p99,
    })
}

fn login(options: &Relay) -> Result<Login, Failure> {
    if let Some(username) = &options.username {
        let password = read_variable(CREDENTIAL_VARIABLE)?;
        let password = password.ok_or_else(|| {
            Failure::usage("--username needs a password in PARLOR_BENCH_CREDENTIAL")
        })?;
        return Ok(Login::Fixed {
            username: username.clone(),
            password,
        });
    }
    let secret = match (&options.secret_file, options.secret_stdin) {
        (Some(path), _) => Some(read_secret_file(path)?),
        (None, true) => Some(read_secret(io::stdin().lock(), "standard input")?),
        (None, false) => read_variable(SECRET_VARIABLE)?,
    };
    match secret {
        Some(secret) => Ok(Login::minted_by(&secret)),
        None => Err(Failure::usage(
            "the server's secret is missing: use PARLOR_BENCH_SECRET, --secret-file or \
             --secret-stdin, or else --username with PARLOR_BENCH_CREDENTIAL",
        )),
    }
}

/// Reads an environment variable; an empty one counts as unset.
fn read_variable(name: &str) -> Result<Option<Secret>, Failure> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("{name} is not UTF-8 text")))
        }
    }
}

fn read_secret_file(path: &Path) -> Result<Secret, Failure> {
    let name = path.display();
    let file = File::open(path)
        .map_err(|error| Failure::usage(format!("{name} can't be read: {error}")))?;
    read_secret(file, &name.to_string())
}

fn read_secret(input: impl Read, what: &str) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = input.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("{what} can't be read: {error}")))?;
    let secret = text_file::strip_bom(&text).trim();
    if secret.is_empty() || secret.contains(['\n', '\0']) || text.len() as u64 > MAX_SECRET_BYTES {
        Err(Failure::usage(format!(
            "{what} must hold exactly one line, the secret"
        )))
    } else {
        Ok(Secret::new(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_without_its_line_ending() {
        for input in ["north", "north\n", " north\r\n", "\u{feff}north\n"] {
            assert_eq!(
                read_secret(input.as_bytes(), "it").unwrap().expose(),
                "north"
            );
        }
        let long = "x".repeat(5000);
        for input in ["", "\n", "a\nb", "a\0b", &long] {
            assert!(read_secret(input.as_bytes(), "it").is_err(), "{input:?}");
        }
    }
}

//! Another binary in this process's place: the process stays the same for whoever watches it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use nix::fcntl::{FcntlArg, fcntl};

use super::Handover;

/// How this process was started, and so how the next one is.
#[derive(Debug, Clone)]
pub struct Upgrade {
    executable: PathBuf,
    arguments: Vec<OsString>,
}

impl Upgrade {
    /// To be called at the start: later, what lies at this path may be another binary, which is
    /// what an upgrade is about.
    pub fn of_process() -> io::Result<Upgrade> {
        Ok(Upgrade {
            executable: env::current_exe()?,
            arguments: env::args_os().skip(1).collect(),
        })
    }

    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Asks the binary whether it can be started with this process's configuration: a sentence for
    /// each thing that is wrong.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let check = |argument: &OsString| match argument == "serve" {
            true => "check".into(),
            false => argument.clone(),
        };
        let mut command = Command::new(&self.executable);
        command.args(self.arguments.iter().map(check));
        let output = command.output().map_err(|error| {
            let path = self.executable.display();
            vec![format!("{path} can't be executed: {error}")]
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let said = problems(&String::from_utf8_lossy(&said));
        match said.is_empty() {
            true => Err(vec![format!("its check ends with {}", output.status)]),
            false => Err(said),
        }
    }

    /// Executes the binary with everything that is handed over; comes back where that fails.
    ///
    /// The descriptors are duplicated above all that are open, side by side: while other threads
    /// run, no number that is in use may be overwritten.
    pub fn execute(&self, handover: &Handover) -> io::Error {
        let first = match duplicated(handover) {
            Ok(first) => first,
            Err(error) => return error,
        };
        let count = handover.descriptors().len();
        Command::new(&self.executable)
            .args(&self.arguments)
            .env("LISTEN_PID", process::id().to_string())
            .env("LISTEN_FDS", count.to_string())
            .env("LISTEN_FDS_FIRST_FD", first.to_string())
            .env_remove("LISTEN_FDNAMES")
            .exec()
    }
}

/// The problems among what a check has said, or all of it where it names none.
fn problems(said: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| !line.is_empty());
    let named = lines
        .clone()
        .filter_map(|line| line.strip_prefix("error: "));
    let named: Vec<_> = named.map(str::to_owned).collect();
    match named.is_empty() {
        true => lines.map(str::to_owned).collect(),
        false => named,
    }
}

/// Duplicates the descriptors for a binary that is executed, and gives the first one's number; the
/// others follow it.
fn duplicated(handover: &Handover) -> io::Result<RawFd> {
    let open = fs::read_dir("/proc/self/fd")?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Threads that still run open few more.
    let first: RawFd = numbers.max().unwrap_or(2) + 64;
    for (wanted, descriptor) in (first..).zip(handover.descriptors()) {
        if fcntl(descriptor, FcntlArg::F_DUPFD(wanted))? != wanted {
            return Err(io::Error::other("descriptors are being opened meanwhile"));
        }
    }
    Ok(first)
}

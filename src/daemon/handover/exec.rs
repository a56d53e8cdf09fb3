//! Replaces this process by another binary with execve(2): the process id stays the same.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{self, Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};

use super::Handover;
use crate::clock;

/// Free descriptors needed for a hand-over: one per listener, and three more.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Timeout for the new binary's check of the configuration.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The binary and the arguments of this process, which the next one is started with.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    executable: PathBuf,
    arguments: Vec<OsString>,
}

impl Upgrade {
    /// Reads both at the start: later, the path of an upgraded binary can no longer be resolved.
    pub(crate) fn of_process() -> io::Result<Upgrade> {
        let resolved = env::current_exe()?;
        let same = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == resolved);
        Ok(Upgrade {
            // Keeps a symbolic link unresolved: an upgrade may change its target.
            executable: invoked_path().filter(same).unwrap_or(resolved),
            arguments: env::args_os().skip(1).collect(),
        })
    }

    pub(crate) fn executable(&self) -> &Path {
        &self.executable
    }

    /// Runs `parlor check` of the binary on disk with the arguments of this process.
    ///
    /// # Errors
    /// One sentence per problem.
    pub(crate) fn check(&self) -> Result<(), Vec<String>> {
        let check = |argument: &OsString| {
            if argument == "serve" {
                "check".into()
            } else {
                argument.clone()
            }
        };
        let mut command = Command::new(&self.executable);
        command.args(self.arguments.iter().map(check));
        let output = run_with_timeout(command).map_err(|error| {
            let path = self.executable.display();
            vec![format!("{path} can't be executed: {error}")]
        })?;
        if output.status.success() {
            return check_descriptor_limit();
        }
        let output_text = [output.stdout, output.stderr].concat();
        let output_text = error_lines(&String::from_utf8_lossy(&output_text));
        if output_text.is_empty() {
            Err(vec![format!(
                "`check` of the new binary failed with {}",
                output.status
            )])
        } else {
            Err(output_text)
        }
    }

    /// Executes the binary with the handed-over descriptors; returns only if that fails.
    ///
    /// The descriptors are duplicated to consecutive numbers above all open ones: other threads still run,
    /// so no number in use may be overwritten.
    pub(crate) fn execute(&self, handover: &Handover) -> io::Error {
        let first = match duplicate_descriptors(handover) {
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

/// Returns the path by which this process was started.
fn invoked_path() -> Option<PathBuf> {
    let typed = PathBuf::from(env::args_os().next()?);
    if typed.components().count() > 1 {
        return path::absolute(typed).ok();
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(&typed))
        .find(|path| path.is_file())
}

/// Runs a command with [`CHECK_TIMEOUT`].
fn run_with_timeout(mut command: Command) -> io::Result<Output> {
    let (stdout, stderr) = (Stdio::piped(), Stdio::piped());
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = child.spawn()?;
    let started = clock::now().mono;
    while child.try_wait()?.is_none() {
        if clock::now().mono.since(started) > CHECK_TIMEOUT {
            child.kill()?;
            child.wait()?;
            let seconds = CHECK_TIMEOUT.as_secs();
            return Err(io::Error::other(format!("no answer within {seconds} s")));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output()
}

/// Checks whether the handed-over descriptors can be duplicated.
fn check_descriptor_limit() -> Result<(), Vec<String>> {
    let fits = || -> io::Result<bool> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(first_free_descriptor()? as u64 + RESERVED_DESCRIPTORS <= limit)
    };
    match fits() {
        Ok(true) => Ok(()),
        Ok(false) => Err(vec![
            "too few free descriptors for the hand-over: raise the limit (`ulimit -n`, \
             LimitNOFILE=)"
                .to_owned(),
        ]),
        Err(error) => Err(vec![format!("open descriptors can't be counted: {error}")]),
    }
}

/// Returns a number above all open descriptors, with a margin for those that other threads open meanwhile.
fn first_free_descriptor() -> io::Result<RawFd> {
    let open = fs::read_dir("/proc/self/fd")?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.max().unwrap_or(2) + 64)
}

/// Returns the errors in the output of a check, or all lines if none is marked as an error.
fn error_lines(output_text: &str) -> Vec<String> {
    let lines = output_text.lines().filter(|line| !line.is_empty());
    let named = lines
        .clone()
        .filter_map(|line| line.strip_prefix("error: "));
    let named: Vec<_> = named.map(str::to_owned).collect();
    if named.is_empty() {
        lines.map(str::to_owned).collect()
    } else {
        named
    }
}

/// Duplicates the descriptors without close-on-exec. Returns the first number; the others follow it.
fn duplicate_descriptors(handover: &Handover) -> io::Result<RawFd> {
    let first = first_free_descriptor()?;
    for (wanted, descriptor) in (first..).zip(handover.descriptors()) {
        if fcntl(descriptor, FcntlArg::F_DUPFD(wanted))? != wanted {
            return Err(io::Error::other(
                "another thread opened a descriptor at the same time",
            ));
        }
    }
    Ok(first)
}

//! Another binary in this process's place: the process stays the same for whoever watches it.

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

/// Descriptors that are handed over, at most: one for each listener, and three.
const RESERVED_DESCRIPTORS: u64 = 128;

/// How long another binary may take to judge the configuration.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

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
        let resolved = env::current_exe()?;
        let same = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == resolved);
        Ok(Upgrade {
            // A link that was followed once may lead to another binary by then.
            executable: invoked_path().filter(same).unwrap_or(resolved),
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
        let output = run_with_timeout(command).map_err(|error| {
            let path = self.executable.display();
            vec![format!("{path} can't be asked: {error}")]
        })?;
        if output.status.success() {
            return check_descriptor_limit();
        }
        let output_text = [output.stdout, output.stderr].concat();
        let output_text = error_lines(&String::from_utf8_lossy(&output_text));
        match output_text.is_empty() {
            true => Err(vec![format!("its check ends with {}", output.status)]),
            false => Err(output_text),
        }
    }

    /// Executes the binary with everything that is handed over; comes back where that fails.
    ///
    /// The descriptors are duplicated above all that are open, side by side: while other threads
    /// run, no number that is in use may be overwritten.
    pub fn execute(&self, handover: &Handover) -> io::Error {
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

/// The path by which this process was started.
fn invoked_path() -> Option<PathBuf> {
    let typed = PathBuf::from(env::args_os().next()?);
    if typed.components().count() > 1 {
        return path::absolute(typed).ok();
    }
    let places = env::var_os("PATH")?;
    let places = env::split_paths(&places);
    places
        .map(|place| place.join(&typed))
        .find(|path| path.is_file())
}

/// Runs a command that may not take long.
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

/// Whether listeners, a state and a bundle can be there twice for a moment.
fn check_descriptor_limit() -> Result<(), Vec<String>> {
    let fits = || -> io::Result<bool> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(first_free_descriptor()? as u64 + RESERVED_DESCRIPTORS <= limit)
    };
    match fits() {
        Ok(true) => Ok(()),
        Ok(false) => Err(vec![
            "too few descriptors are left to hand over what is open: raise the limit \
             (`ulimit -n`, LimitNOFILE=)"
                .to_owned(),
        ]),
        Err(error) => Err(vec![format!("what is open can't be counted: {error}")]),
    }
}

/// A number above all that are open. Threads that still run open few more.
fn first_free_descriptor() -> io::Result<RawFd> {
    let open = fs::read_dir("/proc/self/fd")?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.max().unwrap_or(2) + 64)
}

/// The problems among what a check has said, or all of it where it names none.
fn error_lines(output_text: &str) -> Vec<String> {
    let lines = output_text.lines().filter(|line| !line.is_empty());
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
fn duplicate_descriptors(handover: &Handover) -> io::Result<RawFd> {
    let first = first_free_descriptor()?;
    for (wanted, descriptor) in (first..).zip(handover.descriptors()) {
        if fcntl(descriptor, FcntlArg::F_DUPFD(wanted))? != wanted {
            return Err(io::Error::other("descriptors are being opened meanwhile"));
        }
    }
    Ok(first)
}

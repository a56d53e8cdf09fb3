//! `parlor drain`: shows the progress of the drain and waits until the server has stopped.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::admin::{
    self, DrainProgress, EXIT_FAILURE, Failure, Lifetime, SocketPaths, Target, WithoutServer,
};
use crate::config::Config;

use super::output::{print, write_stderr};

/// Seconds between two lines if standard error is not a terminal.
const LINE_INTERVAL_SECONDS: u64 = 10;

/// Drains the server. The exit code says whether a relay was interrupted.
pub(super) fn run(config: Config, time: Lifetime, json: bool) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let paths = SocketPaths::default();
        let Target { client, remark } = admin::find(config, &paths, WithoutServer::Fails).await?;
        let mut display = ProgressDisplay::new(json, time);
        let drained = client.drain(time, |progress| display.show(progress)).await;
        drop(display);
        let drained = drained?;
        remark.iter().for_each(|remark| write_stderr(remark));
        print(&drained.response, json)?;
        Ok(match drained.interrupted {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_FAILURE),
        })
    })
}

/// The progress on standard error: one line that is overwritten on a terminal, else a line at
/// intervals, and no output for scripts.
struct ProgressDisplay {
    hidden: bool,
    terminal: bool,
    timeout: u64,
    last_line: Option<DrainProgress>,
}

impl ProgressDisplay {
    fn new(json: bool, timeout: Lifetime) -> ProgressDisplay {
        ProgressDisplay {
            hidden: json,
            terminal: io::stderr().is_terminal(),
            timeout: timeout.as_secs(),
            last_line: None,
        }
    }

    fn show(&mut self, now: &DrainProgress) {
        if self.hidden || now.interrupted.is_some() {
            return;
        }
        let line = line(now, self.timeout);
        if self.terminal {
            return write(&format!("\r{line}\x1b[K"));
        }
        let due = self.last_line.is_none_or(|last_line| {
            let changed =
                (last_line.connections, last_line.relays) != (now.connections, now.relays);
            changed && now.seconds >= last_line.seconds + LINE_INTERVAL_SECONDS
        });
        if due {
            self.last_line = Some(*now);
            write_stderr(&line);
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if self.terminal && !self.hidden {
            write("\r\x1b[K");
        }
    }
}

fn line(now: &DrainProgress, timeout: u64) -> String {
    let left = timeout.saturating_sub(now.seconds);
    admin::draining(now.connections, now.relays, Duration::from_secs(left))
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // Standard error may be closed.
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

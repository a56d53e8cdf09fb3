//! `parlor drain`: shows the progress of the drain and waits for the server to end.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::admin::{self, DrainProgress, Failure, Found, Lifetime, Places, REFUSED};
use crate::config::Config;

use super::output::{note, print};

/// Seconds between two lines if standard error is not a terminal.
const LINE_INTERVAL_SECONDS: u64 = 10;

/// Drains the running daemon. The exit code says whether a relay was interrupted.
pub fn run(config: Config, time: Lifetime, json: bool) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let Found { desk, remark } = admin::find(config, &Places::default(), false).await?;
        let mut screen = Screen::new(json, time);
        let drained = desk.drain(time, |progress| screen.show(progress)).await;
        drop(screen);
        let drained = drained?;
        remark.iter().for_each(|remark| note(remark));
        print(&drained.answer, json)?;
        Ok(match drained.cut_off {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(REFUSED),
        })
    })
}

/// The progress on standard error: one line that is overwritten on a terminal, else a line at
/// intervals, and no output for scripts.
struct Screen {
    silent: bool,
    terminal: bool,
    timeout: u64,
    shown: Option<DrainProgress>,
}

impl Screen {
    fn new(json: bool, timeout: Lifetime) -> Screen {
        Screen {
            silent: json,
            terminal: io::stderr().is_terminal(),
            timeout: timeout.as_secs(),
            shown: None,
        }
    }

    fn show(&mut self, now: &DrainProgress) {
        if self.silent || now.cut_off.is_some() {
            return;
        }
        let line = line(now, self.timeout);
        if self.terminal {
            return write(&format!("\r{line}\x1b[K"));
        }
        let due = self.shown.is_none_or(|shown| {
            let changed = (shown.connections, shown.relays) != (now.connections, now.relays);
            changed && now.seconds >= shown.seconds + LINE_INTERVAL_SECONDS
        });
        if due {
            self.shown = Some(*now);
            note(&line);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal && !self.silent {
            write("\r\x1b[K");
        }
    }
}

fn line(now: &DrainProgress, timeout: u64) -> String {
    let left = timeout.saturating_sub(now.seconds);
    let left = crate::config::duration::format(std::time::Duration::from_secs(left));
    format!(
        "Draining: {} connections and {} relays left, {left} at most",
        now.connections, now.relays
    )
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // Standard error may be closed.
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

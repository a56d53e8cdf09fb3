//! The progress line on a terminal, and the signals that stop a run early.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Failure;

/// Width of the bar in characters.
const BAR_WIDTH: usize = 24;

/// A line on standard error that is overwritten, and cleared when dropped.
pub(super) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Shows how much is `done`, from 0 to 1.
    pub(super) fn show(&self, done: f64, text: &str) {
        if self.terminal {
            let full = (done.clamp(0.0, 1.0) * BAR_WIDTH as f64) as usize;
            let bar = "=".repeat(full) + &" ".repeat(BAR_WIDTH - full);
            self.write(&format!("[{bar}] {text}"));
        }
    }

    fn write(&self, line: &str) {
        let mut stderr = io::stderr().lock();
        // Standard error may be closed.
        let _ = write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            self.write("");
        }
    }
}

/// Handles SIGINT and SIGTERM: the first one sets the returned flag.
pub(super) fn stop_at_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(inside);
    let flag = stop.clone();
    thread::Builder::new()
        .name("bench-signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            flag.store(true, Ordering::Relaxed);
        })?;
    Ok(stop)
}

/// Fails if a signal has stopped the run.
pub(super) fn check_stopped(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) {
        Err(Failure::new(
            "stopped by a signal before the measurement was complete",
        ))
    } else {
        Ok(())
    }
}

//! Log lines, on standard error.

mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

use crate::config::{Log, LogFormat, LogLevel};
use crate::display_name::escape;

pub(super) use queue::Queue;

/// How long the process waits at its end for the log's reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Changes the log level.
pub(super) struct Level(Box<dyn Fn(Targets) + Send + Sync>);

impl Level {
    pub(super) fn set(&self, level: LogLevel) {
        (self.0)(filter(level));
    }
}

/// The log of this process. Dropping it writes the queued lines, within [`FLUSH_TIMEOUT`].
pub(super) struct Logging {
    pub lines: Queue,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.flush(FLUSH_TIMEOUT);
    }
}

/// Starts logging for this process. Call it with the signals blocked: it starts a thread.
///
/// # Errors
/// Standard error can't be duplicated, or no thread can be started.
pub(super) fn start(log: &Log) -> io::Result<(Logging, Level)> {
    // A separate descriptor: the standard library's handle is locked while a write blocks.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let lines = Queue::start(out, |count| {
        tracing::error!(count, "log lines were dropped: standard error was not read");
    })?;
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(lines.clone());
    let layer = match log.format {
        // The list of spans contains the current one.
        LogFormat::Json => layer.json().with_current_span(false).boxed(),
        LogFormat::Text => layer
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .fmt_fields(format::debug_fn(field).delimited(" "))
            .boxed(),
    };
    // A test that runs two servers in one process may have set one before.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    panic::set_hook(Box::new(log_panic));
    let level = Level(Box::new(move |filter| {
        // Fails only after the subscriber was dropped, when nothing is logged.
        let _ = handle.reload(filter);
    }));
    Ok((Logging { lines }, level))
}

/// Logs a panic. The standard library's hook would write to standard error itself, and block.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string);
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    tracing::error!(
        thread = std::thread::current().name(),
        place,
        problem = text,
        trace,
        "thread panicked"
    );
}

/// Writes a field of a text line. Some values originate from clients: they are escaped, so that none
/// starts a new line or controls a terminal. (JSON has its own escapes.)
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = escape(&value);
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => write!(writer, "{value}"),
        (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        (name, false) => write!(writer, "{name}={value}"),
    }
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries log their internals: only warnings and errors are kept.
    let libraries = level.min(LevelFilter::WARN);
    // The pool warns of each lost connection. The log already says that the PostgreSQL server cannot be reached.
    let pool = level.min(LevelFilter::ERROR);
    Targets::new()
        .with_default(libraries)
        .with_target("deadpool", pool)
        .with_target(env!("CARGO_CRATE_NAME"), level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn warnings_of_libraries_are_logged_and_those_of_the_pool_are_not() {
        let filter = filter(LogLevel::Debug);
        assert!(filter.would_enable("parlor::daemon", &Level::DEBUG));
        assert!(filter.would_enable("rustls", &Level::WARN));
        assert!(!filter.would_enable("rustls", &Level::INFO));
        assert!(filter.would_enable("deadpool.postgres", &Level::ERROR));
        assert!(!filter.would_enable("deadpool.postgres", &Level::WARN));
    }
}

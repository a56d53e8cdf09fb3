//! Log lines, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

use crate::config::{Log, LogFormat, LogLevel};

/// Sets what is logged from now on.
pub struct Level(Box<dyn Fn(Targets) + Send + Sync>);

impl Level {
    pub fn set(&self, level: LogLevel) {
        (self.0)(filter(level));
    }
}

/// Starts logging for this process.
pub fn start(log: &Log) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match log.format {
        LogFormat::Json => layer.json().boxed(),
        LogFormat::Text => layer
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    // Only a test that runs two daemons in one process could have set one before.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    Level(Box::new(move |filter| {
        // It fails where the subscriber is gone: then nobody logs.
        let _ = handle.reload(filter);
    }))
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries speak of their insides: theirs is only what went wrong.
    let libraries = level.min(LevelFilter::WARN);
    Targets::new()
        .with_default(libraries)
        .with_target(env!("CARGO_CRATE_NAME"), level)
}

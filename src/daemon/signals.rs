//! Signals that end the daemon, and the one that has it read its configuration anew.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends the daemon by Ctrl-C, and by whatever manages services.
pub const INTERRUPT: &str = "SIGINT";
pub const TERMINATE: &str = "SIGTERM";

/// Resolves with the name of the first signal that asks for the end. Signals are caught from the
/// call on, not from the first poll.
pub fn shutdown() -> io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => INTERRUPT,
            _ = terminate.recv() => TERMINATE,
        }
    })
}

/// SIGUSR2, caught from the call on: another binary is to go on in this one's place.
pub fn upgrades() -> io::Result<Signal> {
    signal(SignalKind::user_defined2())
}

/// SIGHUP, caught from the call on.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

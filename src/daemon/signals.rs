//! Signals that end the daemon, and the one that has it read its configuration anew.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends the daemon by Ctrl-C, and by whatever manages services.
pub const INTERRUPT: &str = "SIGINT";
pub const TERMINATE: &str = "SIGTERM";

/// The signals that ask for the end.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Caught from now on.
    pub fn caught() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The name of the next one. Nothing is lost where this is not waited for to the end.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => TERMINATE,
        }
    }
}

/// SIGUSR2, caught from the call on: another binary is to go on in this one's place.
pub fn upgrades() -> io::Result<Signal> {
    signal(SignalKind::user_defined2())
}

/// SIGHUP, caught from the call on.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

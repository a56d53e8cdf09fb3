//! The signals that the daemon handles. They are blocked in every thread, and the daemon reads them one
//! at a time. So no signal is lost and none kills the process. A signal that is pending during execve(2)
//! stays pending for the new binary: execve keeps the mask and pending signals.

use std::io;

/// What ends the daemon by Ctrl-C, and by whatever manages services.
pub const INTERRUPT: &str = "SIGINT";
pub const TERMINATE: &str = "SIGTERM";

pub use system::{Caught, block};

/// The signals that ask for the end.
pub struct Signals {
    interrupt: Caught,
    terminate: Caught,
}

impl Signals {
    /// Starts to receive both signals.
    pub fn caught() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: Caught::interrupts()?,
            terminate: Caught::terminations()?,
        })
    }

    /// The name of the next one. Nothing is lost where this is not waited for to the end.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = self.interrupt.next() => INTERRUPT,
            () = self.terminate.next() => TERMINATE,
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::future;
    use std::io::{self, ErrorKind};

    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    use tokio::net::unix::pipe::Receiver;

    /// Bytes of a `signalfd_siginfo` (signalfd(2)).
    const SIGNAL_BYTES: usize = 128;

    /// Blocks the daemon's signals in this thread and in threads that it starts. Call it before any
    /// other thread exists.
    pub fn block() -> io::Result<()> {
        let signals = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGUSR2,
        ];
        Ok(SigSet::from_iter(signals).thread_block()?)
    }

    /// One kind of signal, which stays pending in the kernel until this type reads it.
    ///
    /// A signalfd is read like a pipe; tokio's type for other descriptors would need unsafe code.
    pub struct Caught(Receiver);

    impl Caught {
        fn new(signal: Signal) -> io::Result<Caught> {
            let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
            let descriptor = SignalFd::with_flags(&SigSet::from(signal), flags)?;
            Receiver::from_owned_fd_unchecked(descriptor.into()).map(Caught)
        }

        pub fn interrupts() -> io::Result<Caught> {
            Caught::new(Signal::SIGINT)
        }

        pub fn terminations() -> io::Result<Caught> {
            Caught::new(Signal::SIGTERM)
        }

        /// SIGUSR2: replace this binary by the one on disk.
        pub fn upgrades() -> io::Result<Caught> {
            Caught::new(Signal::SIGUSR2)
        }

        /// SIGHUP: read the configuration again.
        pub fn hangups() -> io::Result<Caught> {
            Caught::new(Signal::SIGHUP)
        }

        /// Reads the next signal. Cancel-safe: dropping the future loses no signal.
        pub async fn next(&mut self) {
            loop {
                let ready = self.0.readable().await;
                match ready.and_then(|()| self.0.try_read(&mut [0; SIGNAL_BYTES])) {
                    Ok(_) => return,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The runtime ends.
                    Err(_) => return future::pending().await,
                }
            }
        }
    }
}

/// Without an in-place upgrade, the runtime's handlers are sufficient.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::future;
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub fn block() -> io::Result<()> {
        Ok(())
    }

    pub struct Caught(Signal);

    impl Caught {
        pub fn interrupts() -> io::Result<Caught> {
            signal(SignalKind::interrupt()).map(Caught)
        }

        pub fn terminations() -> io::Result<Caught> {
            signal(SignalKind::terminate()).map(Caught)
        }

        pub fn upgrades() -> io::Result<Caught> {
            signal(SignalKind::user_defined2()).map(Caught)
        }

        pub fn hangups() -> io::Result<Caught> {
            signal(SignalKind::hangup()).map(Caught)
        }

        pub async fn next(&mut self) {
            if self.0.recv().await.is_none() {
                future::pending().await
            }
        }
    }
}

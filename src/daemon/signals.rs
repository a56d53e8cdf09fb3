//! The signals that the daemon handles. They are blocked in every thread, and the daemon reads them one
//! at a time. So no signal is lost and none kills the process. A signal that is pending during execve(2)
//! stays pending for the new binary: execve keeps the mask and pending signals.

use std::io;

/// Names of the signals that stop the server: Ctrl-C, and the stop of a service manager.
pub(super) const SIGINT_NAME: &str = "SIGINT";
pub(super) const SIGTERM_NAME: &str = "SIGTERM";

pub(super) use system::{SignalStream, block};

/// The signals that stop the server.
pub(super) struct Signals {
    sigint: SignalStream,
    sigterm: SignalStream,
}

impl Signals {
    /// Starts to receive both signals.
    pub(super) fn subscribe() -> io::Result<Signals> {
        Ok(Signals {
            sigint: SignalStream::sigint()?,
            sigterm: SignalStream::sigterm()?,
        })
    }

    /// Returns the name of the next signal. Cancel-safe: dropping the future loses no signal.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = self.sigint.next() => SIGINT_NAME,
            () = self.sigterm.next() => SIGTERM_NAME,
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
    pub(crate) fn block() -> io::Result<()> {
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
    pub(crate) struct SignalStream(Receiver);

    impl SignalStream {
        fn new(signal: Signal) -> io::Result<SignalStream> {
            let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
            let descriptor = SignalFd::with_flags(&SigSet::from(signal), flags)?;
            Receiver::from_owned_fd_unchecked(descriptor.into()).map(SignalStream)
        }

        pub(crate) fn sigint() -> io::Result<SignalStream> {
            SignalStream::new(Signal::SIGINT)
        }

        pub(crate) fn sigterm() -> io::Result<SignalStream> {
            SignalStream::new(Signal::SIGTERM)
        }

        /// SIGUSR2: replace this binary by the one on disk.
        pub(crate) fn upgrade_signals() -> io::Result<SignalStream> {
            SignalStream::new(Signal::SIGUSR2)
        }

        /// SIGHUP: read the configuration again.
        pub(crate) fn reload_signals() -> io::Result<SignalStream> {
            SignalStream::new(Signal::SIGHUP)
        }

        /// Reads the next signal. Cancel-safe: dropping the future loses no signal.
        pub(crate) async fn next(&mut self) {
            loop {
                let ready = self.0.readable().await;
                match ready.and_then(|()| self.0.try_read(&mut [0; SIGNAL_BYTES])) {
                    Ok(_) => return,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The runtime is shutting down.
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

    pub struct SignalStream(Signal);

    impl SignalStream {
        pub fn sigint() -> io::Result<SignalStream> {
            signal(SignalKind::sigint()).map(SignalStream)
        }

        pub fn sigterm() -> io::Result<SignalStream> {
            signal(SignalKind::sigterm()).map(SignalStream)
        }

        pub fn upgrade_signals() -> io::Result<SignalStream> {
            signal(SignalKind::user_defined2()).map(SignalStream)
        }

        pub fn reload_signals() -> io::Result<SignalStream> {
            signal(SignalKind::hangup()).map(SignalStream)
        }

        pub async fn next(&mut self) {
            if self.0.recv().await.is_none() {
                future::pending().await
            }
        }
    }
}

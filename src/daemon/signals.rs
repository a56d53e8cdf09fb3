//! The signals that the daemon acts on. They are blocked in every thread and taken one at a time when
//! the daemon is ready for them, so that none is lost and none kills the process; what is pending when
//! another binary is executed in this process waits for that binary (execve(2) keeps mask and pending
//! signals).

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
    /// Taken from now on.
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

    /// Blocks what the daemon acts on in this thread and in those that it starts. To be called before
    /// there are others.
    pub fn block() -> io::Result<()> {
        let signals = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGUSR2,
        ];
        Ok(SigSet::from_iter(signals).thread_block()?)
    }

    /// One kind of signal, which stays pending in the kernel until it is taken here.
    ///
    /// A signalfd is read as a pipe is, and tokio's type for other descriptors would need unsafe code.
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

        /// SIGUSR2: another binary is to go on in this one's place.
        pub fn upgrades() -> io::Result<Caught> {
            Caught::new(Signal::SIGUSR2)
        }

        /// SIGHUP: the configuration is to be read anew.
        pub fn hangups() -> io::Result<Caught> {
            Caught::new(Signal::SIGHUP)
        }

        /// Takes the next one. Nothing is lost where this is not waited for to the end.
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

/// Where nothing can be executed in this process's place, the runtime's handlers do.
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

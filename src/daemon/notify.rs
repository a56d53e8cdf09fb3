//! Reports the state of this process to the service manager: datagrams to the Unix socket in
//! `$NOTIFY_SOCKET`, a path or a name in Linux's abstract namespace (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// How long the service manager may take to read earlier messages.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket of the service manager.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotifySocket {
    address: UnixAddr,
}

impl NotifySocket {
    /// Returns the service manager of this process, if there is one.
    ///
    /// # Errors
    /// `$NOTIFY_SOCKET` names a socket of a kind that is not supported.
    pub(super) fn of_process() -> io::Result<Option<NotifySocket>> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let notify_socket = |name: &OsStr| {
            Ok(NotifySocket {
                address: address(name)?,
            })
        };
        name.as_deref().map(notify_socket).transpose()
    }

    /// Sends assignments, one per line.
    ///
    /// # Errors
    /// No process listens, or it does not read in time.
    pub(super) fn notify(&self, state: &str) -> io::Result<()> {
        self.send(state, &[], MsgFlags::empty())
    }

    /// Sends assignments without blocking: fails at once if the manager's queue is full.
    ///
    /// # Errors
    /// As [`NotifySocket::notify`].
    pub(super) fn notify_nonblocking(&self, state: &str) -> io::Result<()> {
        self.send(state, &[], MsgFlags::MSG_DONTWAIT)
    }

    /// Sends assignments together with descriptors.
    ///
    /// # Errors
    /// As [`NotifySocket::notify`].
    pub(super) fn notify_with_fds(
        &self,
        state: &str,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send(state, descriptors, MsgFlags::empty())
    }

    fn send(&self, state: &str, descriptors: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[] } else { &rights[..] };
        let lines = format!("{state}\n");
        let text = [IoSlice::new(lines.as_bytes())];
        sendmsg(
            socket.as_raw_fd(),
            &text,
            rights,
            flags,
            Some(&self.address),
        )?;
        Ok(())
    }
}

fn address(name: &OsStr) -> io::Result<UnixAddr> {
    match name.as_bytes() {
        [b'/', ..] => Ok(UnixAddr::new(name)?),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => Ok(UnixAddr::new_abstract(name)?),
        _ => Err(io::Error::other(format!(
            "NOTIFY_SOCKET is {}, and only a path or a name that begins with @ is supported",
            name.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_addresses_and_nothing_else_is() {
        let path = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(path.path(), Some("/run/systemd/notify".as_ref()));
        #[cfg(target_os = "linux")]
        {
            let name = address(OsStr::new("@org/notify")).unwrap();
            assert_eq!(name.as_abstract(), Some(&b"org/notify"[..]));
        }
        for other in ["vsock:2:1234", "vsock-stream:2:1", "notify", "@"] {
            let error = address(OsStr::new(other)).map(|address| address.to_string());
            if other == "@" && cfg!(target_os = "linux") {
                continue;
            }
            let error = error.unwrap_err().to_string();
            assert!(error.contains(other), "{error}");
        }
        let long = format!("/{}", "x".repeat(200));
        assert!(address(OsStr::new(&long)).is_err());
    }
}

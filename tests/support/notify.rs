//! A stand-in for systemd's notification socket (`$NOTIFY_SOCKET`).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use parlor::clock;
use tempfile::TempDir;

use super::DEADLINE;

pub(crate) struct Manager {
    socket: UnixDatagram,
    /// The path of the socket, if it has one.
    place: Option<TempDir>,
}

impl Manager {
    pub(crate) fn new() -> Manager {
        let place = TempDir::new().expect("a temporary directory");
        let socket = UnixDatagram::bind(place.path().join("notify")).expect("a socket");
        let place = Some(place);
        Manager { socket, place }
    }

    /// A manager whose socket has a name in the abstract namespace.
    #[cfg(target_os = "linux")]
    pub(crate) fn abstract_named(name: &str) -> Manager {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        Manager {
            socket: UnixDatagram::bind_addr(&address).expect("a socket"),
            place: None,
        }
    }

    /// The value for `$NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> PathBuf {
        let place = self.place.as_ref().expect("a socket with a path");
        place.path().join("notify")
    }

    /// The next message, if one comes within `timeout`.
    pub(crate) fn next_message(&self, timeout: Duration) -> Option<String> {
        let timeout = timeout.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(timeout))
            .expect("a timeout");
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).expect("text"))
    }

    /// Waits for a line that begins with `start`, and returns the rest of it.
    pub(crate) fn wait_for(&self, start: &str) -> String {
        let deadline = clock::now().mono + DEADLINE;
        while let Some(message) = self.next_message(deadline.since(clock::now().mono)) {
            let mut lines = message.lines();
            if let Some(rest) = lines.find_map(|line| line.strip_prefix(start)) {
                return rest.to_owned();
            }
        }
        panic!("nothing that begins with {start}");
    }
}

//! Descriptors that this process inherited: from a service manager, or from the previous binary in this
//! process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use listenfd::ListenFd;

use super::state::{State, boot_id};
use crate::bus::redis::SavedNode;
use crate::clock;
use crate::relay;
use crate::service::SavedRoom;

/// Maximum size of a state: 20,000 allocations take about 20 MB.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// The handed-over sockets and state.
#[derive(Default)]
pub(crate) struct Inherited {
    pub sockets: relay::Inherited,
    /// The addresses of `auto` and DNS names in `turn.external_ip`.
    pub external: Vec<(String, IpAddr)>,
    /// Whether a previous process handed over its calls.
    pub has_state: bool,
    /// Rooms with their connected users.
    pub rooms: Vec<(String, Vec<String>)>,
    /// The sessions of `parlor.v1` clients.
    pub sessions: Vec<SavedRoom>,
    /// The node whose sessions these are, if there are several.
    pub node: Option<SavedNode>,
}

/// Takes the inherited descriptors. Call it before any thread exists: it changes the environment.
pub(crate) fn take() -> Inherited {
    let mut descriptors = ListenFd::from_env();
    let (mut tcp, mut udp, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..descriptors.len() {
        // An upgrade passes high descriptor numbers. Duplicates get low ones, or the numbers would grow
        // with each upgrade.
        if let Ok(Some(listener)) = descriptors.take_tcp_listener(index) {
            tcp.push(listener.try_clone().unwrap_or(listener));
        } else if let Ok(Some(socket)) = descriptors.take_udp_socket(index) {
            udp.push(socket.try_clone().unwrap_or(socket));
        } else if let Ok(Some(number)) = descriptors.take_raw_fd(index) {
            match kind(number) {
                Kind::Memfd => states.push(read(number)),
                Kind::Socket => udp.extend(relay::receive_descriptors(number)),
                Kind::Other => {}
            }
            // An invalid number is already closed.
            let _ = nix::unistd::close(number);
        }
    }
    if descriptors.len() > 0 {
        let descriptors = descriptors.len();
        tracing::info!(descriptors, "descriptors inherited");
    }
    let mut usable = Vec::new();
    for bytes in states {
        let state = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
            State::read(&bytes, &boot_id(), clock::now().mono).map_err(|error| error.to_string())
        });
        match state {
            Ok(state) => usable.push(state),
            Err(error) => tracing::warn!(
                %error,
                "handed-over state discarded"
            ),
        }
    }
    // There is normally one; of several, older ones are left over.
    let state = usable.into_iter().max_by_key(|state| state.at);
    let Some(state) = state else {
        return Inherited {
            // Includes unclaimed UDP sockets: binding must take their ports into account.
            sockets: relay::Inherited::new(tcp, udp, &HashMap::new(), None),
            ..Inherited::default()
        };
    };
    let named: HashMap<u64, String> = state.listeners.into_iter().collect();
    Inherited {
        sockets: relay::Inherited::new(tcp, udp, &named, Some(state.relay)),
        external: state.external,
        has_state: true,
        rooms: state.rooms,
        sessions: state.sessions,
        node: state.node,
    }
}

/// The kind of an inherited descriptor.
enum Kind {
    /// A memory file with a state.
    Memfd,
    /// A socket that queues UDP sockets.
    Socket,
    /// Not from parlor.
    Other,
}

fn path(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

fn kind(number: RawFd) -> Kind {
    let target = fs::read_link(path(number)).unwrap_or_default();
    match target.to_string_lossy() {
        target if target.starts_with("/memfd:") => Kind::Memfd,
        target if target.starts_with("socket:") => Kind::Socket,
        _ => Kind::Other,
    }
}

fn read(number: RawFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Opened again, so that reading starts at the beginning.
    File::open(path(number))?
        .take(MAX_STATE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! What this process was started with: descriptors that a service manager, or this very process
//! under another binary, has kept open.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use listenfd::ListenFd;

use super::state::{State, boot_id};
use crate::clock;
use crate::relay;

/// Bytes of a state that are read at most: 20,000 allocations take about 20 MB.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// What was handed over.
#[derive(Default)]
pub struct Inherited {
    pub sockets: relay::Inherited,
    /// The addresses of `auto` and DNS names in `turn.external_ip`.
    pub external: Vec<(String, IpAddr)>,
    /// Whether a previous process handed over its calls.
    pub has_state: bool,
    /// Who was connected to which room.
    pub rooms: Vec<(String, Vec<String>)>,
}

/// Takes up what this process was started with. To be called before there are threads: it reads the
/// environment and takes it away.
pub fn take() -> Inherited {
    let mut descriptors = ListenFd::from_env();
    let (mut tcp, mut udp, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..descriptors.len() {
        // What is handed over in place has high numbers, and is to have low ones again: they would
        // grow from process to process.
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
            // It may be any: what is closed already needs no closing.
            let _ = nix::unistd::close(number);
        }
    }
    if descriptors.len() > 0 {
        let descriptors = descriptors.len();
        tracing::info!(descriptors, "taken over from an earlier process");
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
                "what an earlier parlor handed over is discarded and its sockets are closed"
            ),
        }
    }
    // There is one; of several, an earlier one was left over.
    let state = usable.into_iter().max_by_key(|state| state.at);
    let Some(state) = state else {
        return Inherited {
            // UDP sockets, too, which nobody takes: whoever binds has to know of them.
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
    }
}

/// What a descriptor may be.
enum Kind {
    /// A state.
    Memfd,
    /// An end of a bundle.
    Socket,
    /// Nothing that parlor hands over.
    Other,
}

fn path(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

fn kind(number: RawFd) -> Kind {
    let leads_to = fs::read_link(path(number)).unwrap_or_default();
    match leads_to.to_string_lossy() {
        place if place.starts_with("/memfd:") => Kind::Memfd,
        place if place.starts_with("socket:") => Kind::Socket,
        _ => Kind::Other,
    }
}

fn read(number: RawFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Opened anew, so that it is read from its beginning whoever has read it before.
    File::open(path(number))?
        .take(MAX_STATE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

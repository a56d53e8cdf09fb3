//! Binds sockets with the options that the relay needs.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::inherited::Inherited;

#[cfg(target_os = "linux")]
use super::udp::allow_fragmentation;

/// Length of the accept queue: clients that reconnect all at once must not wait for SYN retries.
const BACKLOG: i32 = 4096;

/// Requested buffer size of a listening socket, for each direction.
const LISTENER_BUFFER_BYTES: usize = 4 << 20;

/// Maximum number of attempts to find a port that is free for both UDP and TCP.
const PORT_PAIR_TRIES: usize = 32;

/// Returns the addresses to bind for `turn.listen`. Only Linux reports the local address of a datagram on
/// a wildcard socket; on other systems a wildcard is expanded to this host's `own` addresses.
pub fn listen_on(listen: &[SocketAddr], own: &[IpAddr]) -> Vec<SocketAddr> {
    if cfg!(target_os = "linux") {
        return listen.to_vec();
    }
    listen
        .iter()
        .flat_map(|address| expand_wildcard(*address, own))
        .collect()
}

/// Expands a wildcard to the own addresses of its family. Returns other addresses unchanged.
fn expand_wildcard(address: SocketAddr, own: &[IpAddr]) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    let same = own.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
    same.map(|ip| SocketAddr::new(*ip, address.port()))
        .collect()
}

/// Binds a UDP socket for each shard and a TCP listener to one address; port 0 selects a port that is
/// free for both. Takes inherited sockets instead where they match.
pub fn turn_sockets(
    address: SocketAddr,
    shards: usize,
    inherited: &mut Inherited,
) -> io::Result<(Vec<UdpSocket>, TcpListener)> {
    let group = inherited_group(address, shards, inherited)?;
    if let Some(first) = group.first() {
        let address = first.local_addr()?;
        let listener = inherited_or_new("turn.listen", address, inherited)?;
        return Ok((group, listener));
    }
    let mut tries = if address.port() == 0 {
        PORT_PAIR_TRIES
    } else {
        1
    };
    loop {
        // The TCP listener comes first, since its bind is exclusive. A group of UDP sockets accepts every
        // socket of this user, and would take datagrams from a parlor that already runs here.
        let tcp = inherited_or_new("turn.listen", address, inherited)?;
        let address = tcp.local_addr()?;
        tries -= 1;
        let shared = shards > 1 || inherited.shares_ports;
        let first = match listener(address, shared) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => continue,
            result => result?,
        };
        let others = (1..shards).map(|_| listener(address, true));
        let all = std::iter::once(Ok(first)).chain(others);
        return Ok((all.collect::<io::Result<_>>()?, tcp));
    }
}

/// Binds a UDP socket for each shard to an address that no other process uses. Takes inherited sockets
/// instead where they match.
pub fn udp_sockets(
    address: SocketAddr,
    shards: usize,
    inherited: &mut Inherited,
) -> io::Result<Vec<UdpSocket>> {
    let group = inherited_group(address, shards, inherited)?;
    if !group.is_empty() {
        return Ok(group);
    }
    // A group accepts every socket of this user. An exclusive bind detects another process.
    if !inherited.shares_ports {
        drop(listener(address, false)?);
    }
    let shared = shards > 1 || inherited.shares_ports;
    (0..shards).map(|_| listener(address, shared)).collect()
}

/// The inherited UDP sockets of an address, completed to one for each shard; empty if there are none.
fn inherited_group(
    address: SocketAddr,
    shards: usize,
    inherited: &mut Inherited,
) -> io::Result<Vec<UdpSocket>> {
    let mut group = inherited.take_udp(address, shards);
    let Some(first) = group.first() else {
        return Ok(group);
    };
    let address = first.local_addr()?;
    if shards > 1 {
        for socket in &group {
            SockRef::from(socket).set_reuse_port(true)?;
        }
    }
    while group.len() < shards {
        group.push(listener(address, true)?);
    }
    Ok(group)
}

/// Binds a TCP listener to each address of the setting `key`, except for a family that this host does
/// not have. Takes inherited listeners instead where they match.
///
/// # Errors
///
/// A sentence for the log that names address and setting.
pub fn tcp_listeners(
    listen: &[SocketAddr],
    key: &str,
    inherited: &mut Inherited,
) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for &address in listen {
        match inherited_or_new(key, address, inherited) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_family_missing(address, &error) => {
                tracing::warn!(%address, "this host has no IPv6: not listening there");
            }
            Err(error) => return Err(cannot_listen(address, key, &error)),
        }
    }
    if listeners.is_empty() && !listen.is_empty() {
        Err(format!("no address of {key} can be listened on"))
    } else {
        Ok(listeners)
    }
}

/// The inherited TCP listener for this address of the setting `key`, or a new one.
fn inherited_or_new(
    key: &str,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> io::Result<TcpListener> {
    let taken = inherited.take_tcp(key, address);
    taken.map_or_else(|| tcp(address), Ok)
}

/// Binds a TCP listener.
fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a UDP socket that clients send to. With `shared`, the address can have further sockets.
fn listener(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    set_buffers(&socket);
    #[cfg(target_os = "linux")]
    enable_ancillary_data(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Requests large buffers; the system may grant less. While a shard is not scheduled for a moment, a
/// flood of unauthenticated datagrams must not fill the buffer of the media packets.
fn set_buffers(socket: &Socket) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt};
        // Ignores net.core.rmem_max and wmem_max; requires CAP_NET_ADMIN.
        let received = setsockopt(socket, sockopt::RcvBufForce, &LISTENER_BUFFER_BYTES);
        let sent = setsockopt(socket, sockopt::SndBufForce, &LISTENER_BUFFER_BYTES);
        if received.is_ok() && sent.is_ok() {
            return;
        }
    }
    let _ = socket.set_recv_buffer_size(LISTENER_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(LISTENER_BUFFER_BYTES);
}

/// Enables the control messages of a listener: the local address on a wildcard socket, DSCP and ECN, and
/// GRO. Also allows fragmentation of the IPv4 datagrams that it sends.
#[cfg(target_os = "linux")]
fn enable_ancillary_data(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if address.ip().is_unspecified() {
        if address.is_ipv4() {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    if address.is_ipv4() {
        allow_fragmentation(socket, true)?;
    }
    enable_recv_tos(socket, address)?;
    // Without kernel support, each datagram is received separately.
    let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
    Ok(())
}

/// Enables the control message with DSCP and ECN of received datagrams.
#[cfg(target_os = "linux")]
fn enable_recv_tos(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if address.is_ipv4() {
        setsockopt(socket, sockopt::IpRecvTos, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvTClass, &true)?;
    }
    Ok(())
}

/// Enables the error queue for ICMP errors about sent datagrams.
#[cfg(target_os = "linux")]
fn enable_recv_err(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if address.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// Binds a UDP socket for a relayed transport address.
pub fn relay_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    #[cfg(target_os = "linux")]
    {
        enable_recv_err(&socket, address)?;
        enable_recv_tos(&socket, address)?;
        allow_fragmentation(&socket, address.is_ipv4())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    // On Linux one system call suffices: every allocation needs such a socket.
    #[cfg(target_os = "linux")]
    let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
    #[cfg(not(target_os = "linux"))]
    let socket = {
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Whether binding a wildcard failed because this host does not have IPv6. That is no error: the wildcard
/// means all existing addresses.
pub fn is_family_missing(address: SocketAddr, error: &io::Error) -> bool {
    let missing = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    let missing = error
        .raw_os_error()
        .is_some_and(|code| missing.contains(&code));
    address.ip().is_unspecified() && address.is_ipv6() && missing
}

/// An error message for an address that cannot be bound, with the setting and a remedy.
pub fn cannot_listen(address: SocketAddr, key: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "it is in use: stop the process that listens there, or set another address"
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied: use a port above 1023, or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "this host has no such address: set one of its own",
        _ => return format!("cannot listen on {address} ({key}): {error}"),
    };
    format!("cannot listen on {address} ({key}): {advice}")
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn a_wildcard_expands_to_the_hosts_own_addresses_of_its_family() {
        let own = ["192.0.2.1", "2001:db8::1", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let all = |address: &str| expand_wildcard(address.parse().unwrap(), &own);
        let v4 = ["192.0.2.1:3478", "127.0.0.1:3478"].map(|address| address.parse().unwrap());
        assert_eq!(all("0.0.0.0:3478"), v4);
        assert_eq!(all("[::]:3478"), ["[2001:db8::1]:3478".parse().unwrap()]);
        assert_eq!(all("192.0.2.9:1"), ["192.0.2.9:1".parse().unwrap()]);
    }

    #[test]
    fn sockets_are_nonblocking() {
        let address = "127.0.0.1:0".parse().unwrap();
        let (shards, _) = turn_sockets(address, 2, &mut Inherited::default()).unwrap();
        for socket in shards.into_iter().chain([relay_socket(address).unwrap()]) {
            let flags = fcntl(&socket, FcntlArg::F_GETFL).unwrap();
            assert!(OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
        }
    }
}

//! Sockets, bound as the relay needs them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::handover::Inherited;

#[cfg(target_os = "linux")]
use super::udp::allow_fragmentation;

/// Connections that may wait to be accepted: a storm of reconnects must not wait on SYN retries.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel is asked to keep for a listening socket, each way.
const LISTENER_BUFFER_BYTES: usize = 4 << 20;

/// Tries to find a port that is free for UDP and TCP, where any will do.
const PORT_PAIR_TRIES: usize = 32;

/// Where to listen for what `turn.listen` says. Only Linux tells a socket on a wildcard address
/// which address was asked; elsewhere each of this host's `own` gets a socket.
pub fn listen_on(listen: &[SocketAddr], own: &[IpAddr]) -> Vec<SocketAddr> {
    if cfg!(target_os = "linux") {
        return listen.to_vec();
    }
    listen
        .iter()
        .flat_map(|address| expand_wildcard(*address, own))
        .collect()
}

/// An address, or those that a wildcard stands for.
fn expand_wildcard(address: SocketAddr, own: &[IpAddr]) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    let same = own.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
    same.map(|ip| SocketAddr::new(*ip, address.port()))
        .collect()
}

/// UDP sockets, one for each shard, and a TCP socket on one address; port 0 means any that is free
/// for both. What is inherited is taken.
pub fn turn_sockets(
    address: SocketAddr,
    shards: usize,
    inherited: &mut Inherited,
) -> io::Result<(Vec<UdpSocket>, TcpListener)> {
    let group = inherited.take_udp(address, shards)?;
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
        // The stream's socket first: it is nobody else's. A group of UDP sockets takes in any that
        // asks, and would share the datagrams of a parlor that runs here already.
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

/// UDP sockets, one for each shard, on an address that nobody else has. What is inherited is taken.
pub fn udp_sockets(
    address: SocketAddr,
    shards: usize,
    inherited: &mut Inherited,
) -> io::Result<Vec<UdpSocket>> {
    let group = inherited.take_udp(address, shards)?;
    if !group.is_empty() {
        return Ok(group);
    }
    // A group takes in any socket that asks; one that would be alone finds out who is there.
    if !inherited.shares_ports {
        drop(listener(address, false)?);
    }
    let shared = shards > 1 || inherited.shares_ports;
    (0..shards).map(|_| listener(address, shared)).collect()
}

/// Adds what is missing to the sockets of one address, so that there is one for each shard.
pub fn fill_group(group: &mut Vec<UdpSocket>, shards: usize) -> io::Result<()> {
    let address = group[0].local_addr()?;
    if shards > 1 {
        for socket in group.iter() {
            SockRef::from(socket).set_reuse_port(true)?;
        }
    }
    while group.len() < shards {
        group.push(listener(address, true)?);
    }
    Ok(())
}

/// A TCP listener on each of these addresses, as `key` of the configuration has them; a family that
/// this host has not got is passed over, and what is inherited taken.
///
/// # Errors
/// The whole sentence.
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
    match listeners.is_empty() && !listen.is_empty() {
        true => Err(format!("no address of {key} can be listened on")),
        false => Ok(listeners),
    }
}

/// The TCP listener that an earlier process had for this address of the setting `key`, or another.
fn inherited_or_new(
    key: &str,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> io::Result<TcpListener> {
    let taken = inherited.take_tcp(key, address);
    taken.map_or_else(|| tcp(address), Ok)
}

/// A TCP listener.
fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A UDP socket that clients send to, alone or `shared` with others on the same address. On a
/// wildcard address it learns which address was asked.
fn listener(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    set_buffers(&socket);
    #[cfg(target_os = "linux")]
    enable_ancillary_data(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// As much as the system allows; less is no error. A flood of strangers must not fill the buffer
/// in which media waits, while the shard is kept from running for a moment.
fn set_buffers(socket: &Socket) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt};
        // Past net.core.rmem_max and wmem_max: with CAP_NET_ADMIN alone.
        let received = setsockopt(socket, sockopt::RcvBufForce, &LISTENER_BUFFER_BYTES);
        let sent = setsockopt(socket, sockopt::SndBufForce, &LISTENER_BUFFER_BYTES);
        if received.is_ok() && sent.is_ok() {
            return;
        }
    }
    let _ = socket.set_recv_buffer_size(LISTENER_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(LISTENER_BUFFER_BYTES);
}

/// Has a listener told which address was asked, where it has several, and be given equal datagrams
/// of one client in one piece. What it sends over IPv4 may be cut on the way.
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
    // Where the kernel can't, they come one by one.
    let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
    Ok(())
}

/// Has the kernel tell DSCP and ECN of what comes.
#[cfg(target_os = "linux")]
fn enable_recv_tos(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    match address.is_ipv4() {
        true => setsockopt(socket, sockopt::IpRecvTos, &true)?,
        false => setsockopt(socket, sockopt::Ipv6RecvTClass, &true)?,
    }
    Ok(())
}

/// Has the kernel keep what the network says of datagrams that have left.
#[cfg(target_os = "linux")]
fn enable_recv_err(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    match address.is_ipv4() {
        true => setsockopt(socket, sockopt::Ipv4RecvErr, &true)?,
        false => setsockopt(socket, sockopt::Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// A UDP socket for a relayed transport address.
pub fn relay(address: SocketAddr) -> io::Result<UdpSocket> {
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
    // In one call where the system can: there is one of these for each allocation.
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

/// Whether listening failed because this host has no such address family: no fault for a wildcard
/// that only meant "everywhere".
pub fn is_family_missing(address: SocketAddr, error: &io::Error) -> bool {
    let missing = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    let missing = error
        .raw_os_error()
        .is_some_and(|code| missing.contains(&code));
    address.ip().is_unspecified() && address.is_ipv6() && missing
}

/// Why an address can't be listened on, in one sentence that says what to do.
pub fn cannot_listen(address: SocketAddr, key: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "it is taken: stop what listens there, or set another address",
        io::ErrorKind::PermissionDenied => {
            "this user may not: use a port above 1023, or grant CAP_NET_BIND_SERVICE"
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
        for socket in shards.into_iter().chain([relay(address).unwrap()]) {
            let flags = fcntl(&socket, FcntlArg::F_GETFL).unwrap();
            assert!(OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
        }
    }
}

//! Queries the public address of this host from a STUN server, for `turn.external_ip = "auto"`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use ::stun::agent::TransactionId;
use ::stun::message::{BINDING_REQUEST, Message as Request};

use crate::stun::{Attribute, Class, Message, decode_xor_address};
use crate::url::{IceScheme, IceUrl};

const TRIES: usize = 3;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The reason why `auto` has no address.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    #[error("`auto` needs a STUN server: set ice.stun_urls (or STUN_SERVER_URL)")]
    NoStunServer,
    #[error("`{0}` is not a STUN URL such as stun:stun.example.org:3478")]
    InvalidUrl(String),
    #[error("{url} could not be queried")]
    Io { url: String, source: io::Error },
    #[error("{0} did not answer: set an address instead of `auto`")]
    NoAnswer(String),
}

/// Returns this host's address as seen by the first of `stun_urls`. Blocks on the network.
pub(super) fn discover(stun_urls: &[String]) -> Result<IpAddr, DiscoverError> {
    let url = stun_urls.first().ok_or(DiscoverError::NoStunServer)?;
    let server = match IceUrl::parse(url) {
        Ok(server) if server.scheme() == IceScheme::Stun => server,
        _ => return Err(DiscoverError::InvalidUrl(url.clone())),
    };
    let fault = |source| DiscoverError::Io {
        url: url.clone(),
        source,
    };
    let server = (server.host().unbracketed(), server.port());
    let mut addresses = server.to_socket_addrs().map_err(fault)?;
    // 1:1 NAT is used for IPv4: prefer an IPv4 address of the server.
    let first = addresses.next();
    let server = first
        .filter(SocketAddr::is_ipv4)
        .or_else(|| addresses.find(SocketAddr::is_ipv4));
    let server = server
        .or(first)
        .ok_or_else(|| DiscoverError::NoAnswer(url.clone()))?;
    let public = query(server).map_err(fault)?;
    public.ok_or_else(|| DiscoverError::NoAnswer(url.clone()))
}

/// Sends a Binding request, and returns the mapped address of the response.
fn query(server: SocketAddr) -> io::Result<Option<IpAddr>> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from([0u16; 8]),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut request = Request::new();
    request
        .build(&[Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)])
        .map_err(io::Error::other)?;
    for _ in 0..TRIES {
        socket.send(&request.raw)?;
        let mut answer = [0; 1500];
        match socket.recv(&mut answer) {
            Ok(len) => {
                if let Some(ip) = mapped_address(&answer[..len], &request.transaction_id.0) {
                    return Ok(Some(ip));
                }
            }
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    )
}

fn mapped_address(answer: &[u8], transaction: &[u8; 12]) -> Option<IpAddr> {
    let message = Message::parse(answer).ok()?;
    if message.class() != Class::Success || message.transaction() != *transaction {
        return None;
    }
    let value = message.get(Attribute::XOR_MAPPED_ADDRESS)?;
    Some(decode_xor_address(value, transaction)?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Method, Writer};
    use std::thread;

    #[test]
    fn auto_is_the_address_that_the_stun_server_reports() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("stun:{}", server.local_addr().unwrap());
        let answering = thread::spawn(move || {
            let mut request = [0; 100];
            let (_, client) = server.recv_from(&mut request).unwrap();
            let mut answer = Vec::new();
            Writer::new(
                &mut answer,
                Method::BINDING,
                Class::Success,
                request[8..20].try_into().unwrap(),
            )
            .xor_address(
                Attribute::XOR_MAPPED_ADDRESS,
                "192.0.2.77:5".parse().unwrap(),
            )
            .fingerprint();
            server.send_to(&answer, client).unwrap();
        });
        assert_eq!(discover(&[url]).unwrap().to_string(), "192.0.2.77");
        answering.join().unwrap();
    }

    #[test]
    fn auto_without_a_server_names_the_missing_setting() {
        let error = discover(&[]).unwrap_err();
        assert!(error.to_string().contains("STUN_SERVER_URL"));
    }

    #[test]
    fn a_server_over_tls_is_not_queried() {
        for url in ["stuns:a.example", "turn:a.example", "http://a.example"] {
            let error = discover(&[url.to_owned()]).unwrap_err();
            assert!(matches!(error, DiscoverError::InvalidUrl(text) if text == url));
        }
    }
}

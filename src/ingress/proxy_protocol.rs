//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a TCP load balancer names the
//! client before the client's first byte.
//!
//! The reader consumes no byte of the client, and guesses nothing: without the expected header the
//! connection ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// `PROXY UNKNOWN` and the end of its line.
const MIN_V1_BYTES: usize = 15;
/// Including the end of the line (section 2.1).
const MAX_V1_BYTES: usize = 107;
/// Before the addresses (section 2.2).
const FIXED_V2_BYTES: usize = 16;
/// Including additions of balancers such as the client's certificate.
const MAX_V2_BYTES: usize = 4096;

/// Why a header is invalid.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("it does not begin with a PROXY header")]
    Missing,
    #[error("its PROXY header is malformed")]
    Malformed,
    #[error("its PROXY header is too long")]
    TooLong,
    #[error("its PROXY header did not come: {0}")]
    Unread(#[from] io::Error),
}

/// The state of a partly read header.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// At least this many bytes are missing.
    Incomplete(usize),
    /// The client, if the header names one.
    Complete(Option<SocketAddr>),
}

/// Reads the header and nothing else within `limit`. `None` if it names no client: a health check of the
/// balancer, or an unknown client.
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Result<Option<SocketAddr>, HeaderError> {
    let header = timeout(limit, header(stream)).await;
    header.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = Vec::with_capacity(MAX_V1_BYTES);
    loop {
        let missing = match progress(&header)? {
            Progress::Complete(client) => return Ok(client),
            Progress::Incomplete(missing) => missing as u64,
        };
        if (&mut *stream).take(missing).read_buf(&mut header).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn progress(header: &[u8]) -> Result<Progress, HeaderError> {
    let may_be = |magic: &[u8]| {
        let common = header.len().min(magic.len());
        header[..common] == magic[..common]
    };
    match (may_be(V1), may_be(V2)) {
        (true, true) => Ok(Progress::Incomplete(MIN_V1_BYTES)),
        (true, false) => text(header),
        (false, true) => binary(header),
        (false, false) => Err(HeaderError::Missing),
    }
}

/// Parses version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443` and the end of the line.
fn text(header: &[u8]) -> Result<Progress, HeaderError> {
    let Some(end) = header.iter().position(|byte| *byte == b'\n') else {
        return match header.len() {
            MAX_V1_BYTES.. => Err(HeaderError::TooLong),
            length => Ok(Progress::Incomplete(
                MIN_V1_BYTES.saturating_sub(length).max(1),
            )),
        };
    };
    let line = header[..end].strip_suffix(b"\r");
    let line = line.filter(|_| end + 1 == header.len());
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or(HeaderError::Malformed)?.split(' ').skip(1);
    let client = match words.next() {
        // The rest of the line is undefined (section 2.1).
        Some("UNKNOWN") => return Ok(Progress::Complete(None)),
        Some("TCP4") => pair::<Ipv4Addr>(words),
        Some("TCP6") => pair::<Ipv6Addr>(words),
        _ => None,
    };
    let client = client.ok_or(HeaderError::Malformed)?;
    Ok(Progress::Complete(Some(client)))
}

/// Parses two addresses and two ports, and returns the first of each.
fn pair<'a, A: Into<IpAddr> + std::str::FromStr>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let mut address = || words.next()?.parse::<A>().ok();
    let (from, _to) = (address()?, address()?);
    let mut port = || {
        let word = words.next()?;
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse::<u16>().ok().filter(|_| digits)
    };
    let (from_port, _to_port) = (port()?, port()?);
    words.next().is_none().then(|| client(from, from_port))
}

fn binary(header: &[u8]) -> Result<Progress, HeaderError> {
    let Some((fixed, rest)) = header.split_first_chunk::<FIXED_V2_BYTES>() else {
        return Ok(Progress::Incomplete(FIXED_V2_BYTES - header.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_V2_BYTES + length > MAX_V2_BYTES {
        return Err(HeaderError::TooLong);
    }
    if rest.len() < length {
        return Ok(Progress::Incomplete(length - rest.len()));
    }
    match (command, family) {
        // LOCAL: a health check of the balancer.
        (0x20, _) => Ok(Progress::Complete(None)),
        (0x21, 0x11) => addresses::<4>(rest),
        (0x21, 0x21) => addresses::<16>(rest),
        // Unspecified, datagrams, Unix sockets: no TCP client.
        (0x21, 0x00 | 0x01 | 0x02 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30..=0x32) => {
            Ok(Progress::Complete(None))
        }
        _ => Err(HeaderError::Malformed),
    }
}

/// Parses two addresses and two ports; additions of the balancer may follow.
fn addresses<const N: usize>(rest: &[u8]) -> Result<Progress, HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let from = rest.first_chunk::<N>();
    let port = rest.get(2 * N..2 * N + 2);
    let whole = rest.len() >= 2 * N + 4;
    match (from, port) {
        (Some(from), Some(&[high, low])) if whole => {
            let port = u16::from_be_bytes([high, low]);
            Ok(Progress::Complete(Some(client(*from, port))))
        }
        _ => Err(HeaderError::Malformed),
    }
}

fn client(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into().to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppp::{v1, v2};
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Reads a header from these bytes. Also returns the unread bytes.
    async fn read_from(bytes: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, Vec<u8>) {
        let mut rest = bytes;
        let named = read(&mut rest, LIMIT).await;
        (named, rest.to_vec())
    }

    async fn error_of(bytes: &[u8]) -> String {
        read_from(bytes).await.0.unwrap_err().to_string()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_line_of_text_names_the_client() {
        for (line, client) in [
            ("TCP4 192.0.2.1 192.0.2.2 4711 443", "192.0.2.1:4711"),
            ("TCP6 2001:db8::1 2001:db8::2 1 2", "[2001:db8::1]:1"),
            ("TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2", "192.0.2.1:1"),
        ] {
            let (named, rest) = read_from(format!("PROXY {line}\r\nGET /").as_bytes()).await;
            assert_eq!(named.unwrap(), Some(address(client)));
            assert_eq!(rest, b"GET /");
        }
        for line in [
            "UNKNOWN",
            "UNKNOWN ffff::1 ffff::2 65535 65535",
            "UNKNOWN something",
        ] {
            let (named, rest) = read_from(format!("PROXY {line}\r\n\0\x01").as_bytes()).await;
            assert_eq!((named.unwrap(), rest), (None, b"\0\x01".to_vec()));
        }
    }

    #[tokio::test]
    async fn a_malformed_header_is_rejected() {
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], "does not begin with"),
            (b"\0\x01\0\0\x21\x12\xa4\x42", "does not begin with"),
            (b"PROXY", "did not come"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2", "did not come"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "malformed"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "malformed"),
            (b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", "malformed"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "malformed"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "malformed"),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "malformed"),
            (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "malformed"),
            (b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "malformed"),
            (
                b"PROXY \xff\xff\xff\xff\xff\xff\xff\xff\xff\r\n",
                "malformed",
            ),
            (b"PROXY \r\n12345678", "malformed"),
            (&[V1, &[b'x'; 200]].concat(), "too long"),
            (&[V2, b"\x31\x11\0\x0c", &[0; 12]].concat(), "malformed"),
            (&[V2, b"\x22\x11\0\x0c", &[0; 12]].concat(), "malformed"),
            (&[V2, b"\x21\x41\0\x0c", &[0; 12]].concat(), "malformed"),
            (&[V2, b"\x21\x11\0\x0b", &[0; 11]].concat(), "malformed"),
            (&[V2, b"\x21\x21\0\x23", &[0; 35]].concat(), "malformed"),
            (&[V2, b"\x21\x11\xff\xff", &[0; 100]].concat(), "too long"),
        ] {
            let error = error_of(bytes).await;
            assert!(error.contains(why), "{error}: {bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_health_check_of_a_balancer_names_no_client() {
        for kind in [
            &b"\x20\x00\0\x00"[..],
            b"\x20\x11\0\x04",
            b"\x21\x00\0\x04",
            b"\x21\x12\0\x04",
            b"\x21\x31\0\x04",
        ] {
            let length = usize::from(kind[3]);
            let header = [V2, kind, &vec![7; length], b"then"].concat();
            let (named, rest) = read_from(&header).await;
            assert_eq!((named.unwrap(), rest), (None, b"then".to_vec()), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_header_in_small_pieces_is_read_to_its_end_and_no_further() {
        let (mut server, mut client) = tokio::io::duplex(1);
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\nrest";
        let writing = tokio::spawn(async move { client.write_all(line).await });
        let named = read(&mut server, LIMIT).await.unwrap();
        assert_eq!(named, Some(address("192.0.2.1:4711")));
        let mut rest = [0; 4];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"rest");
        writing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_header_times_out() {
        let (mut server, mut client) = tokio::io::duplex(100);
        client.write_all(b"PROXY TCP4 ").await.unwrap();
        let error = read(&mut server, LIMIT).await.unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
    }

    /// Writes a header with the `ppp` crate.
    fn written(from: SocketAddr, to: SocketAddr, binary: bool, extra: &[u8]) -> Vec<u8> {
        if !binary {
            return v1::Addresses::from((from, to)).to_string().into_bytes();
        }
        let command = v2::Version::Two | v2::Command::Proxy;
        let builder = v2::Builder::with_addresses(command, v2::Protocol::Stream, (from, to));
        let builder = builder.write_tlv(v2::Type::NoOp, extra).unwrap();
        builder.build().unwrap()
    }

    proptest! {
        #[test]
        fn a_header_of_another_implementation_is_read(
            from: [u8; 16], to: [u8; 16], port: u16, is_v4: bool, binary: bool,
            extra in prop::collection::vec(any::<u8>(), 0..300),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let address = |bytes: [u8; 16]| match (is_v4, bytes.first_chunk::<4>()) {
                (true, Some(four)) => SocketAddr::from((*four, port)),
                _ => SocketAddr::from((bytes, port)),
            };
            let bytes = [written(address(from), address(to), binary, &extra), rest.clone()].concat();
            let mut left = bytes.as_slice();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let named = runtime.block_on(header(&mut left)).unwrap();
            let expected = client(address(from).ip(), port);
            prop_assert_eq!(named, Some(expected));
            prop_assert_eq!(left, rest);
        }

        #[test]
        fn no_bytes_panic_and_the_length_of_a_header_is_bounded(
            version in 0usize..3, tail: Vec<u8>,
        ) {
            let header = [[V1, V2, b""][version], &tail].concat();
            if let Ok(Progress::Incomplete(missing)) = progress(&header) {
                prop_assert!(missing > 0 && header.len() + missing <= MAX_V2_BYTES);
            }
        }
    }
}

//! Generated seeds: packets from the real encoders, and lists of steps for the state machines. The
//! other seeds were captured from real clients.

use std::net::SocketAddr;

use parlor::credential::long_term_key;
use parlor::stun::{Attribute, ChannelData, Class, IntegrityKey, Method, TransactionId, Writer};

/// The target, the name and the bytes of a seed.
pub type Seed = (&'static str, String, Vec<u8>);

const ID: TransactionId = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
const NAME: &str = "1767225600:alice/lobby";
const UDP: [u8; 4] = [17, 0, 0, 0];

pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, bytes) in messages() {
        seeds.push(("stun", name.to_owned(), bytes));
    }
    seeds.push(("stun", "channel-data".into(), channel_data(0x4000, 5)));
    seeds.extend(streams());
    seeds.extend(sessions());
    seeds.extend(rooms());
    seeds.extend(frames());
    seeds
}

fn key() -> IntegrityKey {
    IntegrityKey::new(&long_term_key(NAME, "parlor", "secret"))
}

fn peer(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// One message of each kind that a browser sends or receives.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let plain = |method, class, write: &dyn Fn(Writer<'_>)| {
        let mut out = Vec::new();
        write(Writer::new(&mut out, method, class, ID));
        out
    };
    let signed = |method, write: &dyn for<'a> Fn(Writer<'a>) -> Writer<'a>| {
        plain(method, Class::Request, &|writer| {
            write(writer)
                .attribute(Attribute::USERNAME, NAME.as_bytes())
                .attribute(Attribute::REALM, b"parlor")
                .attribute(Attribute::NONCE, b"AAAAAGVTcGhlbm9tZW5vbmFs")
                .integrity(&key())
                .fingerprint();
        })
    };
    vec![
        (
            "binding",
            plain(Method::BINDING, Class::Request, &|w| w.fingerprint()),
        ),
        (
            "binding-success",
            plain(Method::BINDING, Class::Success, &|w| {
                w.xor_address(Attribute::XOR_MAPPED_ADDRESS, peer("192.0.2.1:32853"))
                    .fingerprint();
            }),
        ),
        (
            "binding-success-ipv6",
            plain(Method::BINDING, Class::Success, &|w| {
                w.xor_address(Attribute::XOR_MAPPED_ADDRESS, peer("[2001:db8::1]:32853"))
                    .fingerprint();
            }),
        ),
        (
            "allocate-first",
            plain(Method::ALLOCATE, Class::Request, &|w| {
                w.attribute(Attribute::REQUESTED_TRANSPORT, &UDP)
                    .fingerprint();
            }),
        ),
        (
            "challenge",
            plain(Method::ALLOCATE, Class::Error, &|w| {
                w.error_code(401, "Unauthorized")
                    .attribute(Attribute::REALM, b"parlor")
                    .attribute(Attribute::NONCE, b"AAAAAGVTcGhlbm9tZW5vbmFs")
                    .fingerprint();
            }),
        ),
        (
            "unknown-attributes",
            plain(Method::ALLOCATE, Class::Error, &|w| {
                w.error_code(420, "Unknown Attribute")
                    .attribute(Attribute::UNKNOWN_ATTRIBUTES, &[0x7f, 0, 0x7f, 1])
                    .integrity(&key())
                    .fingerprint();
            }),
        ),
        (
            "allocate",
            signed(Method::ALLOCATE, &|w| {
                w.attribute(Attribute::REQUESTED_TRANSPORT, &UDP)
                    .attribute(Attribute::LIFETIME, &600u32.to_be_bytes())
                    .attribute(Attribute::EVEN_PORT, &[0x80])
                    .attribute(Attribute(0x001a), &[])
            }),
        ),
        (
            "refresh",
            signed(Method::REFRESH, &|w| {
                w.attribute(Attribute::LIFETIME, &[0; 4])
            }),
        ),
        (
            "create-permission",
            signed(Method::CREATE_PERMISSION, &|w| {
                w.xor_address(Attribute::XOR_PEER_ADDRESS, peer("192.0.2.7:9"))
                    .xor_address(Attribute::XOR_PEER_ADDRESS, peer("[2001:db8::7]:9"))
            }),
        ),
        (
            "channel-bind",
            signed(Method::CHANNEL_BIND, &|w| {
                w.attribute(Attribute::CHANNEL_NUMBER, &[0x40, 0, 0, 0])
                    .xor_address(Attribute::XOR_PEER_ADDRESS, peer("192.0.2.7:9"))
            }),
        ),
        (
            "send",
            plain(Method::SEND, Class::Indication, &|w| {
                let _ = w
                    .xor_address(Attribute::XOR_PEER_ADDRESS, peer("192.0.2.7:9"))
                    .attribute(Attribute::DATA, b"hello");
            }),
        ),
        ("rfc-5769-request", RFC_5769_REQUEST.to_vec()),
    ]
}

/// RFC 5769 section 2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED and USERNAME.
const RFC_5769_REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
\xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\
\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\
\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

fn channel_data(number: u16, len: usize) -> Vec<u8> {
    let mut bytes = ChannelData { number, len }.header().to_vec();
    bytes.resize(4 + len, b'x');
    bytes
}

/// Streams, each after its split points.
fn streams() -> Vec<Seed> {
    let mut stream = Vec::new();
    for (_, message) in messages() {
        stream.extend(message);
        stream.extend(channel_data(0x4001, 5));
        stream.extend([0; 3]);
    }
    let cut = |name: &str, stream: &[u8], cuts: u8| {
        let cuts = vec![cuts; stream.len()];
        ("framer", name.to_owned(), [&cuts, stream].concat())
    };
    vec![
        cut("bytes", &stream[..200], 1),
        cut("pieces", &stream, 77),
        cut("whole", &stream, 255),
        cut("unfinished", &stream[..stream.len() - 9], 100),
        cut("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 9),
        cut("empty", &[0x40, 0, 0, 0, 0x4f, 0xff, 0, 0], 3),
    ]
}

/// Sessions of clients, as lists of steps (`turn/fixture.rs`).
fn sessions() -> Vec<Seed> {
    const ALLOCATE: u8 = 0;
    const REFRESH: u8 = 1;
    const PERMIT: u8 = 2;
    const BIND: u8 = 3;
    let request = |client: u8, method: u8, flaws: u8, attributes: &[&[u8]]| {
        let head = [2, client, method, flaws, attributes.len() as u8];
        [&head, &attributes.concat()[..], &[client]].concat()
    };
    let greet = |client| request(client, ALLOCATE, 2, &[&[0]]);
    let allocate = |client| [greet(client), request(client, ALLOCATE, 0, &[&[0]])].concat();
    let pair = [
        greet(0),
        request(0, ALLOCATE, 0, &[&[0], &[5, 0x80]]),
        greet(1),
        request(1, ALLOCATE, 0, &[&[0], &[6, 0]]),
    ]
    .concat();
    // The first peer of the list is external. The relayed addresses come after the fixed ones.
    let (outside, first, second) = (0, 14, 15);
    let bind = |client, channel, peer| request(client, BIND, 0, &[&[3, channel], &[2, peer]]);
    let call = [
        allocate(0),
        allocate(2),
        bind(0, 1, second),
        bind(2, 2, first),
        vec![6, 0, 1, 20, 0, 6, 2, 2, 0, 1, 7, 0, second, 33, 0],
        bind(0, 3, outside),
        vec![6, 0, 3, 9, 1, 5, 0, 0, outside, 255, 1, 0],
    ]
    .concat();
    let send = [
        allocate(0),
        request(0, PERMIT, 0, &[&[2, 0], &[2, 2]]),
        vec![
            7, 0, outside, 5, 0, 5, 0, 0, outside, 5, 0, 8, 7, 0, outside, 5, 0,
        ],
        request(0, PERMIT, 0, &[&[2, 4]]),
        // Port unreachable, and time exceeded.
        vec![12, 0, 0, outside, 3, 3, 12, 0, 0, outside, 11, 0],
    ]
    .concat();
    let refresh = [
        allocate(0),
        request(0, REFRESH, 0, &[&[1, 4]]),
        vec![0, 12],
        request(0, REFRESH, 0, &[&[1, 0]]),
        request(0, REFRESH, 8, &[&[1, 0]]),
    ]
    .concat();
    let refused = [
        greet(0),
        request(0, ALLOCATE, 1, &[&[0]]),
        request(0, ALLOCATE, 4, &[&[0]]),
        request(0, ALLOCATE, 16, &[&[0]]),
        request(0, ALLOCATE, 0, &[&[0], &[0xc0, 0x7f, 1, 0]]),
        request(0, ALLOCATE, 0, &[&[4, 1]]),
        request(0, 4, 2, &[]),
        vec![0, 13],
        greet(6),
        request(6, ALLOCATE, 0, &[&[0]]),
    ]
    .concat();
    let edge = [
        vec![8, 0, 1],
        allocate(0),
        vec![8, 0, 2],
        allocate(1),
        vec![8, 0, 0],
        allocate(3),
        vec![10, 3, 1],
        allocate(2),
        vec![11, 3, 11, 16, 11, 6, 11, 5],
        allocate(4),
    ]
    .concat();
    let slow = [
        greet(0),
        request(0, ALLOCATE, 0, &[&[0], &[5, 0x80]]),
        request(0, ALLOCATE, 8, &[&[0]]),
        vec![9, 0, 9, 1, 9, 0, 9, 1, 0, 4, 9, 0, 9, 1],
    ]
    .concat();
    // The relayed addresses are those of the first client.
    let both = [
        greet(0),
        request(0, ALLOCATE, 0, &[&[0], &[9, 2]]),
        request(0, PERMIT, 0, &[&[2, 0], &[2, 3]]),
        vec![7, 0, 0, 5, 0, 7, 0, 3, 5, 0, 5, 0, 0, 0, 9, 5, 0, 1, 3, 9],
        request(0, REFRESH, 0, &[&[1, 0], &[4, 2]]),
        request(0, REFRESH, 0, &[&[1, 0]]),
    ]
    .concat();
    let sha256 = [
        greet(0),
        vec![2, 0, ALLOCATE, 0, 0x81, 0, 0],
        vec![2, 0, REFRESH, 0, 0x81, 1, 2, 0],
        vec![2, 0, REFRESH, 1, 0x81, 1, 2, 0],
    ]
    .concat();
    let raw: Vec<u8> = messages()
        .into_iter()
        .flat_map(|(_, message)| {
            let [high, low] = (message.len() as u16).to_be_bytes();
            [&[1, 0, high, low], &message[..], &[0]].concat()
        })
        .collect();
    let lists = [
        ("pair", pair),
        ("call", call),
        ("send", send),
        ("refresh", refresh),
        ("refused", refused),
        ("edge", edge),
        ("slow", slow),
        ("sha256", sha256),
        ("both", both),
        ("raw", raw),
    ];
    let mut seeds = Vec::new();
    for (name, steps) in lists {
        let with = |kind: u8| [&[kind], &steps[..]].concat();
        let waits = if name == "slow" { 2 } else { 0 };
        seeds.push(("turn", format!("{name}-1"), with(waits)));
        seeds.push(("turn", format!("{name}-2"), with(waits | 1)));
    }
    seeds
}

/// Messages in a room, as lists of steps (`signaling.rs`).
fn rooms() -> Vec<Seed> {
    let texts = [
        (
            "offer",
            r#"{"type":"offer","from":"alice","to":"bob","roomId":"lobby","data":{"type":"offer","sdp":"v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\n"}}"#,
        ),
        (
            "candidate",
            r#"{"type":"ice-candidate","from":"a","to":null,"roomId":"x","data":{"candidate":"candidate:1 1 udp 2122260223 192.0.2.1 54400 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"abcd"}}"#,
        ),
        (
            "joined",
            r#"{"type":"user-joined","from":"bob","roomId":"lobby","data":{"userId":"bob","n":1e3}}"#,
        ),
        (
            "joined-without-data",
            r#"{"roomId":1,"type":"user-joined","from":[{}]}"#,
        ),
        (
            "escapes",
            r#"{"type":"answ\u0065r","fr\u006fm":"x","from":{"a":["\ud83d\ude00"]},"to":"b\u006fb","room\u0049d":null}"#,
        ),
        (
            "twice",
            r#"{"type":"offer","type":"offer","from":1,"roomId":1}"#,
        ),
        ("missing", r#"{"type":"offer","from":1}"#),
        ("target", r#"{"type":"offer","from":1,"roomId":1,"to":7}"#),
        (
            "nobody",
            r#"{"type":"offer","from":1,"roomId":1,"to":"carol"}"#,
        ),
        ("list", r#"[{"type":"offer"}]"#),
    ];
    let step = |text: &str| {
        let [high, low] = (text.len() as u16).to_be_bytes();
        [&[0, 0, high, low], text.as_bytes()].concat()
    };
    let mut seeds: Vec<Seed> = texts
        .iter()
        .map(|(name, text)| ("signaling", (*name).to_owned(), step(text)))
        .collect();
    let everything = texts.iter().flat_map(|(_, text)| step(text));
    let busy: Vec<u8> = [4, 2, 4, 0, 4, 3, 6, 1, 0, 6, 1, 1, 7, 200, 5, 1, 7, 3, 4, 1]
        .into_iter()
        .chain(everything)
        .chain([7, 0, 4, 4])
        .collect();
    seeds.push(("signaling", "busy".into(), busy));
    seeds
}

/// One frame of a `parlor.v1` client each (`extended.rs`).
fn frames() -> Vec<Seed> {
    let frames = [
        (
            "message",
            r#"{"type":"message","from":"alice","roomId":"lobby","id":"m1","data":{"n":1.50}}"#,
        ),
        (
            "message-to-plain",
            r#"{"type":"message","from":"alice","roomId":"lobby","to":"plain","id":"m2"}"#,
        ),
        (
            "forged",
            r#"{"type":"user-joined","s\u0065q":1,"from":"x","roomId":"y","data":{"participant":{},"name":"A"}}"#,
        ),
        (
            "update",
            r#"{"type":"update","from":"alice","roomId":"lobby","data":{"muted":true,"displayName":"Bob"}}"#,
        ),
        (
            "seen",
            r#"{"type":"seen","from":"alice","roomId":"lobby","data":{"seq":7},"id":"s"}"#,
        ),
        (
            "stats",
            r#"{"type":"stats","from":"alice","roomId":"lobby","id":"s1","data":{"received":[{"ssrc":123,"packets":4567,"lost":-1,"jitterMs":3.5}]}}"#,
        ),
        (
            "bad-id",
            r#"{"type":"offer","from":"alice","roomId":"lobby","id":7}"#,
        ),
    ];
    frames
        .map(|(name, text)| ("extended", name.to_owned(), text.into()))
        .into()
}

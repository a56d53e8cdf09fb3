//! The steps of a client, and their random selection.

use super::*;

/// The peer of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Peer {
    First,
    Second,
    Denied,
    OtherFamily,
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Flaw {
    None,
    Unsigned,
    BadKey,
    WrongRealm,
    WrongNonce,
    NoUsername,
    NoRealm,
    NoNonce,
    Unknown,
    Expired,
    OtherUser,
    NoTimestamp,
    Length,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Request {
        method: Method,
        attributes: Vec<(Attribute, Vec<u8>)>,
        peers: Vec<Peer>,
        flaw: Flaw,
        again: bool,
    },
    Send {
        peer: Option<Peer>,
        data: Option<Vec<u8>>,
        unknown: bool,
    },
    Channel {
        number: u16,
        data: Vec<u8>,
        says: u16,
    },
    FromPeer {
        peer: usize,
        data: Vec<u8>,
    },
    Noise {
        bytes: Vec<u8>,
    },
}
/// A random step, mostly of a correct client.
pub(super) fn random_step(random: &mut ChaCha12Rng) -> Step {
    let mut pick = |weights: &[u32]| {
        let mut at = random.random_range(0..weights.iter().sum::<u32>());
        weights
            .iter()
            .position(|weight| match at.checked_sub(*weight) {
                Some(rest) => {
                    at = rest;
                    false
                }
                None => true,
            })
            .expect("a choice")
    };
    let data = |length: usize| (0..length).map(|at| at as u8).collect::<Vec<_>>();
    const PEERS: [Peer; 5] = [
        Peer::First,
        Peer::Second,
        Peer::Denied,
        Peer::OtherFamily,
        Peer::Malformed,
    ];
    let usual = [8, 4, 1, 1, 1];
    let kind = pick(&[10, 4, 5, 5, 2, 4, 5, 5, 1]);
    if kind == 5 {
        let peer = (pick(&[9, 1]) == 0).then(|| PEERS[pick(&usual)]);
        let length = [0, 1, 4, 100][pick(&[1, 1, 1, 1])];
        return Step::Send {
            peer,
            data: (pick(&[9, 1]) == 0).then(|| data(length)),
            unknown: pick(&[9, 1]) == 1,
        };
    }
    if kind == 6 {
        let number = [0x4000, 0x4001, 0x4002, 0x3fff, 0x4fff, 0x5000][pick(&[4, 4, 1, 1, 1, 1])];
        let length = [0, 1, 4, 100][pick(&[1, 1, 1, 1])];
        let data = data(length);
        let says = [data.len() as u16, data.len() as u16 + 4][pick(&[9, 1])];
        return Step::Channel { number, data, says };
    }
    if kind == 7 {
        let length = [1, 4, 100][pick(&[1, 1, 1])];
        return Step::FromPeer {
            peer: pick(&[2, 1]),
            data: data(length),
        };
    }
    if kind == 8 {
        let bytes = [
            vec![0],
            vec![0x80; 30],
            vec![0; 20],
            vec![0x40, 0, 0],
            b"GET / HTTP/1.1".to_vec(),
        ];
        return Step::Noise {
            bytes: bytes[pick(&[1; 5])].clone(),
        };
    }
    let method = [
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
        Method::BINDING,
    ][kind];
    let mut attributes = Vec::new();
    let mut peers = Vec::new();
    if kind == 0 {
        let transports = [
            Some(vec![17, 0, 0, 0]),
            Some(vec![6, 0, 0, 0]),
            Some(vec![99, 0, 0, 0]),
            Some(vec![17]),
            None,
        ];
        let transport = transports[pick(&[12, 1, 1, 1, 1])].clone();
        attributes.extend(transport.map(|value| (Attribute::REQUESTED_TRANSPORT, value)));
        match pick(&[12, 1, 1, 1, 1, 1, 1, 1, 1]) {
            1 => attributes.push((Attribute::EVEN_PORT, vec![0])),
            2 => attributes.push((Attribute::EVEN_PORT, vec![0x80])),
            3 => attributes.push((Attribute::RESERVATION_TOKEN, vec![7; 8])),
            4 => attributes.extend([
                (Attribute::RESERVATION_TOKEN, vec![7; 8]),
                (Attribute::EVEN_PORT, vec![0]),
            ]),
            5 => attributes.push((Attribute::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0])),
            6 => attributes.push((Attribute::REQUESTED_ADDRESS_FAMILY, vec![3, 0, 0, 0])),
            7 => attributes.extend([
                (Attribute::RESERVATION_TOKEN, vec![7; 8]),
                (Attribute::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0]),
            ]),
            8 => attributes.push((DONT_FRAGMENT, Vec::new())),
            _ => {}
        }
    }
    if kind <= 1 {
        let lifetimes: [&[u8]; 6] = [
            &[0, 0, 0, 0],
            &[0, 0, 0, 1],
            &[0, 0, 3, 9],
            &[0, 0, 14, 15],
            &[0, 1, 0, 0],
            &[1, 2],
        ];
        let lifetime = (pick(&[2, 1]) == 1).then(|| lifetimes[pick(&[3, 1, 1, 1, 1, 1])]);
        attributes.extend(lifetime.map(|value| (Attribute::LIFETIME, value.to_vec())));
    }
    if kind == 1 && pick(&[6, 1]) == 1 {
        attributes.push((
            Attribute::REQUESTED_ADDRESS_FAMILY,
            vec![1 + pick(&[1, 1]) as u8, 0, 0, 0],
        ));
    }
    if kind == 2 {
        peers = (0..pick(&[1, 6, 2])).map(|_| PEERS[pick(&usual)]).collect();
    }
    if kind == 3 {
        let numbers = [
            vec![0x40, 0, 0, 0],
            vec![0x40, 1, 0, 0],
            vec![0x3f, 0xff, 0, 0],
            vec![0x4f, 0xff, 0, 0],
            vec![0x50, 0, 0, 0],
            vec![0x40, 0],
        ];
        let number = (pick(&[12, 1]) == 0).then(|| numbers[pick(&[4, 4, 1, 1, 1, 1])].clone());
        attributes.extend(number.map(|value| (Attribute::CHANNEL_NUMBER, value)));
        peers = (0..pick(&[1, 12])).map(|_| PEERS[pick(&usual)]).collect();
    }
    let flaws = [
        Flaw::None,
        Flaw::Unsigned,
        Flaw::BadKey,
        Flaw::WrongRealm,
        Flaw::WrongNonce,
        Flaw::NoUsername,
        Flaw::NoRealm,
        Flaw::NoNonce,
        Flaw::Unknown,
        Flaw::Expired,
        Flaw::OtherUser,
        Flaw::NoTimestamp,
        Flaw::Length,
    ];
    let flaw = match kind {
        4 => [Flaw::Unsigned, Flaw::Unknown][pick(&[3, 1])],
        _ => flaws[pick(&[40, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1])],
    };
    let again = pick(&[12, 1]) == 1;
    Step::Request {
        method,
        attributes,
        peers,
        flaw,
        again,
    }
}

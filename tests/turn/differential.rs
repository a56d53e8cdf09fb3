//! Sends random valid and invalid requests to parlor and to coturn's server, and compares the responses.
//! The test fails on each difference that is not listed with the RFC clause that decides it.
//!
//! `DIFFERENTIAL_SEED` selects a run, and `DIFFERENTIAL_STEPS` its length;
//! `tests/long/differential` does both.

mod side;
mod step;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use parlor::credential::{Credentials, Minted, long_term_key};
use parlor::secret::Secret;
use parlor::stun::{
    Attribute, Class, HEADER, IntegrityKey, Message, Method, Writer, decode_xor_address,
};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use self::side::Side;
use self::step::{Flaw, Peer, Step, random_step};
use crate::coturn::tool;
use crate::support::{DEADLINE, turn::SECRET};
use crate::{Deadline, open_relay};

const CLIENTS: usize = 3;
const UNKNOWN: Attribute = Attribute(0x7f01);
const DONT_FRAGMENT: Attribute = Attribute(0x001a);

/// A step, and the outcomes of both servers.
struct Case<'a> {
    step: &'a Step,
    held: bool,
    /// The client had an allocation and ended it.
    ended: bool,
    parlor: &'a str,
    coturn: &'a str,
}

type Listed = fn(&Case<'_>) -> bool;

/// The differences of coturn 4.6, each with the clause that requires the response of parlor.
const LISTED: [(&str, Listed); 11] = [
    (
        "RFC 8656 section 5: without an allocation, any request but Allocate is 437",
        |case| {
            let coturn = ["400", "401", "403", "441", "443"].contains(&case.coturn);
            !case.held && case.parlor == "437" && !case.is(Method::ALLOCATE) && coturn
        },
    ),
    (
        "RFC 8656 sections 7.2 and 5, RFC 8489 section 9.2.4: who asks is judged before anything else",
        |case| {
            let proven = [Flaw::None, Flaw::Unknown, Flaw::OtherUser];
            let parlor = ["400", "401", "438"].contains(&case.parlor);
            let coturn = ["437", "441"].contains(&case.coturn);
            !proven.contains(&case.flaw()) && parlor && coturn
        },
    ),
    (
        "RFC 8489 section 6.3.1: what is not understood is 420 before the method judges",
        |case| case.flaw() == Flaw::Unknown && case.parlor.starts_with("420 "),
    ),
    (
        "RFC 8656 section 7.2: a token that is not valid is 508",
        |case| {
            case.has(Attribute::RESERVATION_TOKEN) && case.parlor == "508" && case.coturn == "404"
        },
    ),
    (
        "RFC 8656 section 7.2: a transport that is not UDP is 442",
        |case| case.is(Method::ALLOCATE) && case.parlor == "442" && case.coturn == "400",
    ),
    (
        "RFC 8656 sections 7.2, 8.2, 10.2 and 12.2: what can't be read is refused",
        |case| {
            let either = ["400", "443"].contains(&case.parlor);
            (case.names(Peer::Malformed) || case.is_short()) && either
        },
    ),
    (
        "RFC 8656 section 12.2: a number outside 0x4000 to 0x4FFF, or none, is 400",
        |case| case.is(Method::CHANNEL_BIND) && case.parlor == "400" && !case.has_channel_number(),
    ),
    (
        "RFC 8656 sections 10.2 and 12.2: numbers, then families, then who is denied",
        |case| {
            let judged = [("400", "443"), ("443", "403")];
            case.names(Peer::OtherFamily) && judged.contains(&(case.parlor, case.coturn))
        },
    ),
    (
        "RFC 8656 section 7.2: a retransmission is answered as before; coturn leaves the token out",
        |case| case.is_again() && case.parlor == format!("{} token", case.coturn),
    ),
    (
        "RFC 8656 section 8.2: a lifetime of zero deletes the allocation; coturn still knows it",
        |case| !case.held && case.ended && case.coturn != "silence",
    ),
    (
        "RFC 8656 section 7.2: who was refused holds no five-tuple; coturn keeps their name",
        |case| !case.held && case.is(Method::ALLOCATE) && case.coturn == "437",
    ),
];

impl Case<'_> {
    fn is(&self, wanted: Method) -> bool {
        matches!(self.step, Step::Request { method, .. } if *method == wanted)
    }

    fn has(&self, wanted: Attribute) -> bool {
        let Step::Request { attributes, .. } = self.step else {
            return false;
        };
        attributes.iter().any(|(attribute, _)| *attribute == wanted)
    }

    /// Whether a LIFETIME or a REQUESTED-TRANSPORT is too short.
    fn is_short(&self) -> bool {
        let Step::Request { attributes, .. } = self.step else {
            return false;
        };
        let four = [Attribute::LIFETIME, Attribute::REQUESTED_TRANSPORT];
        let mut four = attributes.iter().filter(|(known, _)| four.contains(known));
        four.any(|(_, value)| value.len() != 4)
    }

    fn has_channel_number(&self) -> bool {
        let Step::Request { attributes, .. } = self.step else {
            return false;
        };
        let number = |(attribute, value): &(Attribute, Vec<u8>)| {
            *attribute == Attribute::CHANNEL_NUMBER && value.len() == 4 && value[0] >> 4 == 4
        };
        attributes.iter().any(number)
    }

    fn names(&self, wanted: Peer) -> bool {
        matches!(self.step, Step::Request { peers, .. } if peers.contains(&wanted))
    }

    fn is_again(&self) -> bool {
        matches!(self.step, Step::Request { again: true, .. })
    }

    fn flaw(&self) -> Flaw {
        match self.step {
            Step::Request { flaw, .. } => *flaw,
            _ => Flaw::None,
        }
    }
}

/// coturn's server. Dropping it kills the process.
struct Coturn {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Coturn {
    fn start() -> Coturn {
        // It cannot select a port itself: use one that was free a moment ago.
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        let child = tool("turnserver")
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .arg(format!("--listening-port={}", address.port()))
            .args([
                "--use-auth-secret",
                "--realm=parlor",
                "--no-cli",
                "--no-tls",
                "--no-dtls",
            ])
            .arg(format!("--static-auth-secret={SECRET}"))
            .args([
                "--allow-loopback-peers",
                "--no-multicast-peers",
                "--no-tcp-relay",
            ])
            .args([
                "--denied-peer-ip=10.0.0.0-10.255.255.255",
                "--relay-threads=0",
            ])
            .args(["--min-port=20000", "--max-port=29999", "--log-file=stdout"])
            .arg(format!("--pidfile={}", inside("pid")))
            .arg(format!("--userdb={}", inside("db")))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver starts");
        let coturn = Coturn {
            child,
            address,
            _folder: folder,
        };
        coturn.wait_until_it_answers();
        coturn
    }

    fn wait_until_it_answers(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let deadline = Deadline::new();
        let mut buffer = [0; 2048];
        loop {
            deadline.check("coturn");
            let _ = socket.send_to(&binding([9; 12]), self.address);
            if socket.recv(&mut buffer).is_ok() {
                return;
            }
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binding(transaction: [u8; 12]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out, Method::BINDING, Class::Request, transaction).fingerprint();
    out
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

#[test]
fn parlor_and_coturn_answer_the_same_except_where_the_rfc_decides() {
    let daemon = open_relay().start();
    let coturn = Coturn::start();
    let seed = number("DIFFERENTIAL_SEED", 1);
    let steps = number("DIFFERENTIAL_STEPS", 1200);
    eprintln!("DIFFERENTIAL_SEED={seed}");
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut ours = Side::new(daemon.turn());
    let mut theirs = Side::new(coturn.address);
    let mut differences = Vec::new();
    let mut granted = 0;
    let mut before = vec![Vec::new(); CLIENTS];
    let mut met = [0; LISTED.len()];
    for count in 0..steps {
        let index = random.random_range(0..CLIENTS);
        let step = random_step(&mut random);
        // Most steps need a nonce.
        for side in [&mut ours, &mut theirs] {
            if side.clients[index].nonce.is_empty() {
                let first = Step::Request {
                    method: Method::ALLOCATE,
                    attributes: vec![(Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])],
                    peers: Vec::new(),
                    flaw: Flaw::Unsigned,
                    again: false,
                };
                assert_eq!(side.take(index, &first), "401");
            }
        }
        let held = ours.clients[index].relayed.is_some();
        let (parlor, other) = (ours.take(index, &step), theirs.take(index, &step));
        granted += usize::from(parlor.contains("Success"));
        before[index].push(format!("    {step:?}: {parlor} | {other}"));
        if parlor == other {
            continue;
        }
        let case = Case {
            step: &step,
            held,
            ended: ours.clients[index].ended,
            parlor: &parlor,
            coturn: &other,
        };
        match LISTED.iter().position(|(_, listed)| listed(&case)) {
            Some(clause) => met[clause] += 1,
            None => differences.push(format!(
                "step {count} (allocated: {held}), {step:?}:\n    parlor: {parlor}\n    coturn: {other}\n  after\n{}",
                before[index].join("\n")
            )),
        }
        // The states of the two servers may differ now.
        before[index].clear();
        ours.begin_anew(index);
        theirs.begin_anew(index);
    }
    assert!(
        granted as u64 > steps / 10,
        "only {granted} requests were granted"
    );
    for ((clause, _), times) in LISTED.iter().zip(met) {
        eprintln!("{times} times: {clause}");
    }
    assert!(
        differences.is_empty(),
        "{} unlisted differences with DIFFERENTIAL_SEED={seed}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

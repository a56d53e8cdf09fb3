//! The cost of messages in a room.

use std::time::Duration;

use parlor::clock::Mono;
use parlor::rate::Limit;
use parlor::room::{ConnectionId, DropReason, Effect, Input, Join, Limits, Outcome, Room};

use super::callgrind;

const MESSAGES: usize = 64;

pub(crate) fn cases() {
    let mut fixture = Fixture::new(11);
    let to_one = offer(Some("user-3"));
    fixture.count("room: an offer to one", &to_one, |outcome| {
        matches!(outcome, Outcome::Relayed { copies: 1, .. })
    });
    fixture.count("room: an offer to the 10 others", &offer(None), |outcome| {
        matches!(outcome, Outcome::Relayed { copies: 10, .. })
    });
    // This is the cost of parsing.
    fixture.count(
        "room: an offer to nobody",
        &offer(Some("nobody")),
        |outcome| outcome == Outcome::Dropped(DropReason::NoSuchTarget),
    );
    let candidate = r#"{"type":"ice-candidate","from":"user-0","to":"user-3","roomId":"lobby","data":{"candidate":"candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag EEtu","sdpMid":"0","sdpMLineIndex":0}}"#;
    fixture.count("room: a candidate to one", candidate, |outcome| {
        matches!(outcome, Outcome::Relayed { copies: 1, .. })
    });
}

/// A room, and the connection that sends.
struct Fixture {
    room: Room,
    sender: ConnectionId,
    now: Mono,
}

impl Fixture {
    fn new(people: usize) -> Fixture {
        let limits = Limits {
            messages: Limit::per_second(100, 1000),
            bytes: Limit::per_second(128 * 1024, 768 * 1024),
        };
        let mut room = Room::new("lobby", limits);
        let mut connections = (0..people).map(|index| {
            match room.join(&format!("user-{index}"), false, Mono(0), &mut Vec::new()) {
                Join::Accepted(connection) => connection,
                Join::Rejected(code) => panic!("user-{index} was refused: {code:?}"),
            }
        });
        let sender = connections.next().expect("a sender");
        connections.for_each(drop);
        let now = Mono(0);
        Fixture { room, sender, now }
    }

    fn count(&mut self, name: &str, text: &str, is_expected: fn(Outcome) -> bool) {
        self.now = self.now + Duration::from_secs(60);
        let mut effects: Vec<Vec<Effect>> = (0..MESSAGES).map(|_| Vec::with_capacity(16)).collect();
        let mut unexpected = 0;
        callgrind::count(name, &mut effects, |effects| {
            let outcome = self
                .room
                .receive(self.sender, Input::Text(text), self.now, effects);
            unexpected += usize::from(!is_expected(outcome));
        });
        assert_eq!(unexpected, 0, "{name}: unexpected outcome");
    }
}

/// An offer of the length of a browser's offer for one microphone.
fn offer(to: Option<&str>) -> String {
    let codecs: String = (0..20)
        .map(|n| {
            format!(
                "a=rtpmap:{} opus/48000/2\\r\\na=fmtp:{0} minptime=10;useinbandfec=1\\r\\n",
                96 + n
            )
        })
        .collect();
    let to = to.map_or(String::new(), |to| format!(r#""to":"{to}","#));
    format!(
        r#"{{"type":"offer","from":"user-0",{to}"roomId":"lobby","data":{{"type":"offer","sdp":"v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{codecs}"}}}}"#
    )
}

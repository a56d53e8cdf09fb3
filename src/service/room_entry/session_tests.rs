//! Clients of a room in virtual time: connections are cut, `resumed` frames are lost, sessions are resumed, and people
//! come and go. Every view agrees with the room, and nothing is delivered twice or lost within a session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use proptest::prelude::*;
use serde_json::{Value, json};

use self::steps::{Step, USERS, step};
use super::{Entrance, Resumption, RoomEntry};
use crate::clock::{Mono, Now};
use crate::room::{
    CloseCode, ConnectionId, Departure, Greeting, Input, Limits, Outcome, Role, Room, Session,
};
use crate::service::outbox::Outbox;
use crate::service::resume_memory::ResumeMemory;
use crate::service::resume_token::random_secret;
use crate::token::Issue;

mod steps;

const ISSUE: Issue = Issue::Own { generation: 0 };
const GRACE: Duration = Duration::from_secs(30);
/// The last user has a plain client.
const PLAIN: usize = USERS - 1;

/// A participant in a view: connected, muted.
type View = BTreeMap<String, (bool, bool)>;

#[derive(Default)]
struct Client {
    connection: Option<(ConnectionId, Arc<Outbox>)>,
    /// The token of the session, and the number of the last frame.
    session: Option<(String, u64)>,
    view: View,
    /// The messages that were received in this session, by sender.
    received: BTreeMap<String, Vec<u64>>,
    /// Messages without an answer.
    unanswered: VecDeque<(u64, String)>,
    muted: bool,
    sent: u64,
}

struct Simulation {
    entry: RoomEntry,
    memory: Arc<ResumeMemory>,
    buffer: usize,
    now: Now,
    clients: Vec<Client>,
    /// The messages that the room delivered to each user in the user's session, by sender.
    delivered: Vec<BTreeMap<String, Vec<u64>>>,
    fresh: usize,
    resumed: usize,
}

fn name(user: usize) -> String {
    format!("user-{user}")
}

impl Simulation {
    fn new(buffer: usize, memory_bytes: usize) -> Simulation {
        let room = Room::new("lobby", Limits::UNLIMITED);
        let memory = Arc::new(ResumeMemory::default());
        memory.set_limit(memory_bytes, buffer);
        Simulation {
            entry: RoomEntry::new("lobby".into(), room, None, Counter::default()),
            memory,
            buffer,
            now: Now {
                mono: Mono(1_000_000_000),
                unix: 1_700_000_000,
            },
            clients: (0..USERS).map(|_| Client::default()).collect(),
            delivered: vec![BTreeMap::new(); USERS],
            fresh: 0,
            resumed: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Connect(user) => self.connect(user),
            Step::ConnectInVain(user) => {
                if user != PLAIN && self.clients[user].session.is_some() {
                    // An earlier connection may still look alive.
                    let before = self.clients[user].session.clone();
                    if self.resume(user).is_some() {
                        self.cut(user, 3);
                        self.clients[user].session = before;
                    }
                }
            }
            Step::Read(user, frames) => self.read(user, frames),
            Step::Acknowledge(user) => {
                // A ping behind the frames that were sent, and its pong.
                let client = &self.clients[user];
                if let (Some((_, outbox)), Some((_, seq))) = (&client.connection, &client.session) {
                    let pinged = outbox.last_seq().unwrap_or_default();
                    assert!(pinged <= *seq, "frames are acknowledged that were not sent");
                    outbox.acknowledge(pinged);
                }
            }
            Step::Cut(user, frames) => self.cut(user, frames),
            Step::Message(user) => {
                let client = &mut self.clients[user];
                if user != PLAIN && client.connection.is_some() && client.session.is_some() {
                    client.sent += 1;
                    let (number, id) = (client.sent, format!("{user}-{}", client.sent));
                    client.unanswered.push_back((number, id.clone()));
                    self.send_message(user, number, &id);
                }
            }
            Step::Update(user) => {
                let client = &mut self.clients[user];
                if user != PLAIN && client.connection.is_some() && client.session.is_some() {
                    client.muted = !client.muted;
                    let data = json!({"muted": client.muted});
                    self.send(
                        user,
                        &json!({"type": "update", "from": 0, "roomId": 0, "data": data}),
                    );
                }
            }
            Step::Close(user) => {
                if let Some((connection, _)) = self.clients[user].connection.take() {
                    let RoomEntry { room, effects, .. } = &mut self.entry;
                    room.leave_for(Departure::Left, connection, effects);
                    self.entry.apply_effects();
                    self.entry.connections.remove(&connection);
                    let sent = self.clients[user].sent;
                    self.clients[user] = Client {
                        sent,
                        ..Client::default()
                    };
                }
            }
            Step::Kick(user) => {
                let RoomEntry { room, effects, .. } = &mut self.entry;
                room.close_user_for(Departure::Kicked, &name(user), CloseCode::Removed, effects);
                self.entry.apply_effects();
                self.notice_closes();
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis)),
        }
        self.notice_closes();
    }

    fn connect(&mut self, user: usize) {
        if self.clients[user].connection.is_some() {
            return;
        }
        if user == PLAIN {
            let outbox = Arc::new(Outbox::new(usize::MAX));
            let known: Vec<String> = self.entry.room.users().map(|one| one.to_string()).collect();
            let name = name(user);
            let entrance = Entrance::plain(&name, ISSUE);
            let connection = self.entry.join(entrance, &outbox, self.now);
            let connection = connection.expect("a plain client enters");
            let client = &mut self.clients[user];
            client.connection = Some((connection, outbox));
            // A plain newcomer learns of the others by their offers.
            client.view = known
                .into_iter()
                .map(|user| (user, (true, false)))
                .collect();
            client.view.remove(&name);
        } else if self.resume(user).is_none() {
            self.join(user);
        }
    }

    fn outbox(&self, name: &str) -> Arc<Outbox> {
        let session = Session::new(random_secret());
        Outbox::new(usize::MAX).with_session(session, self.buffer, &self.memory, name)
    }

    fn join(&mut self, user: usize) {
        let name = name(user);
        let outbox = self.outbox(&name);
        let entrance = Entrance {
            greeting: Some(Greeting::blank(GRACE)),
            ..Entrance::plain(&name, ISSUE)
        };
        let joined = self.entry.join(entrance, &outbox, self.now);
        let connection = joined.expect("nobody replaces a living connection here");
        self.fresh += 1;
        self.delivered[user] = BTreeMap::new();
        self.clients[user] = Client {
            connection: Some((connection, outbox)),
            sent: self.clients[user].sent,
            ..Client::default()
        };
    }

    /// Continues the session, if there is one and the room still has it.
    fn resume(&mut self, user: usize) -> Option<()> {
        let (token, seq) = self.clients[user].session.clone()?;
        let outbox = self.outbox(&name(user));
        let resumption = Resumption {
            user: &name(user),
            issue: ISSUE,
            token: &token,
            seq,
            within: GRACE,
            role: Role::Member,
            is_token_admin: false,
        };
        let connection = self.entry.resume(&resumption, &outbox, self.now)?;
        self.resumed += 1;
        self.clients[user].connection = Some((connection, outbox));
        Some(())
    }

    /// A message is sent again until it is answered.
    fn send_message(&mut self, user: usize, number: u64, id: &str) {
        let receivers: Vec<usize> = (0..PLAIN).filter(|one| *one != user).collect();
        let present = self.entry.room.users().map(|one| one.to_string());
        let present: Vec<String> = present.collect();
        let message = json!({"type": "message", "from": 0, "roomId": 0, "id": id, "data": number});
        if matches!(self.send(user, &message), Some(Outcome::Relayed { .. })) {
            for receiver in receivers
                .into_iter()
                .filter(|one| present.contains(&name(*one)))
            {
                let of_sender = self.delivered[receiver].entry(name(user)).or_default();
                of_sender.push(number);
            }
        }
    }

    fn send(&mut self, user: usize, frame: &Value) -> Option<Outcome> {
        let (connection, outbox) = self.clients[user].connection.as_ref()?;
        assert!(self.entry.is_current(*connection, outbox));
        outbox.confirm();
        let RoomEntry { room, effects, .. } = &mut self.entry;
        let outcome = room.receive(
            *connection,
            Input::Text(&frame.to_string()),
            self.now.mono,
            effects,
        );
        self.entry.apply_effects();
        Some(outcome)
    }

    fn read(&mut self, user: usize, count: usize) {
        let Some((_, outbox)) = &self.clients[user].connection else {
            return;
        };
        let frames = take(outbox, count);
        for frame in frames {
            let frame: Value = serde_json::from_slice(&frame).expect("JSON");
            self.handle(user, &frame);
        }
    }

    fn handle(&mut self, user: usize, frame: &Value) {
        let client = &mut self.clients[user];
        if user != PLAIN {
            match frame["type"].as_str() {
                Some("welcome") => {
                    let data = &frame["data"];
                    let token = data["resume"]["token"].as_str().expect("a token");
                    client.session = Some((token.to_owned(), 0));
                    let participants = data["participants"].as_array().expect("a list");
                    client.view = participants.iter().map(described).collect();
                    return;
                }
                Some("resumed") => {
                    let token = frame["data"]["resume"]["token"].as_str().expect("a token");
                    let (_, seq) = client.session.clone().expect("a session");
                    client.session = Some((token.to_owned(), seq));
                    // Frames without an answer are sent again.
                    for (number, id) in client.unanswered.clone() {
                        self.send_message(user, number, &id);
                    }
                    return;
                }
                _ => {
                    let (_, seq) = client.session.as_mut().expect("a session");
                    assert_eq!(frame["seq"], *seq + 1, "every frame once and in order");
                    *seq += 1;
                }
            }
        }
        let from = frame["from"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().expect("a type") {
            "user-joined" => {
                let (_, state) = match user {
                    PLAIN => (String::new(), (true, false)),
                    _ => described(&frame["data"]["participant"]),
                };
                assert!(client.view.insert(from, state).is_none(), "joined once");
            }
            "user-left" => assert!(client.view.remove(&from).is_some(), "left once"),
            "participant-updated" => {
                let (user, state) = described(&frame["data"]);
                let before = client.view.insert(user, state).expect("a participant");
                assert_ne!(before, state, "an update changes something");
            }
            "message" => {
                let number = frame["data"].as_u64().expect("a number");
                let of_sender = client.received.entry(from).or_default();
                let is_next = of_sender.last().is_none_or(|last| *last < number);
                assert!(is_next, "every message once and in order");
                of_sender.push(number);
            }
            "ack" => {
                let id = frame["ref"].as_str().expect("an id");
                client.unanswered.retain(|(_, unanswered)| unanswered != id);
            }
            // Of an update too many.
            "error" => assert_eq!(frame["data"]["code"], "rate-limited"),
            other => panic!("a frame of type {other}"),
        }
    }

    /// Loses a connection, with frames that the client never reads.
    fn cut(&mut self, user: usize, on_their_way: usize) {
        if let Some((_, outbox)) = &self.clients[user].connection {
            drop(take(outbox, on_their_way));
        }
        self.drop_connection(user);
    }

    fn drop_connection(&mut self, user: usize) {
        let client = &mut self.clients[user];
        let Some((connection, outbox)) = client.connection.take() else {
            return;
        };
        if !self.entry.is_current(connection, &outbox) {
            return;
        }
        if user == PLAIN || !self.entry.detach(connection, self.now, GRACE) {
            let RoomEntry { room, effects, .. } = &mut self.entry;
            room.leave(connection, effects);
            self.entry.apply_effects();
            self.entry.connections.remove(&connection);
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        // Timers are never more than a second late.
        while self.now.mono < end {
            self.now.mono = end.min(self.now.mono + Duration::from_secs(1));
            let RoomEntry { room, effects, .. } = &mut self.entry;
            room.expire_away(self.now.mono, effects);
            self.entry.apply_effects();
        }
    }

    /// Clients whose connection the room closed begin anew.
    fn notice_closes(&mut self) {
        for client in &mut self.clients {
            let is_closed = client
                .connection
                .as_ref()
                .is_some_and(|(connection, outbox)| !self.entry.is_current(*connection, outbox));
            if is_closed {
                let sent = client.sent;
                *client = Client {
                    sent,
                    ..Client::default()
                };
            }
        }
    }

    /// All return and read everything.
    fn settle(&mut self) {
        for user in 0..USERS {
            self.connect(user);
            self.read(user, usize::MAX);
        }
        // Two rounds: some messages are sent again, and answered.
        for _ in 0..2 {
            for user in 0..USERS {
                self.read(user, usize::MAX);
            }
        }
        self.wait(GRACE);
        for user in 0..USERS {
            self.read(user, usize::MAX);
        }
    }

    fn check(&self) {
        let all: View = (0..USERS)
            .map(|user| {
                (
                    name(user),
                    (true, self.clients[user].muted && user != PLAIN),
                )
            })
            .collect();
        for (user, client) in self.clients.iter().enumerate() {
            if user == PLAIN {
                let users = client.view.keys().cloned();
                let others: Vec<String> = (0..PLAIN).map(name).collect();
                assert_eq!(users.collect::<Vec<_>>(), others);
                continue;
            }
            let connected = |view: &View| -> Vec<(String, bool)> {
                view.iter()
                    .map(|(user, (connected, _))| (user.clone(), *connected))
                    .collect()
            };
            assert_eq!(connected(&client.view), connected(&all), "{user}");
            assert_eq!(client.received, self.delivered[user], "{user}");
            assert!(client.unanswered.is_empty(), "{user}");
        }
        let views: Vec<&View> = self.clients[..PLAIN]
            .iter()
            .map(|client| &client.view)
            .collect();
        assert!(views.windows(2).all(|two| two[0] == two[1]), "{views:?}");
    }
}

fn described(participant: &Value) -> (String, (bool, bool)) {
    let user = participant["userId"].as_str().expect("a user").to_owned();
    let connected = participant["connected"].as_bool().expect("a flag");
    let muted = participant["state"]["muted"].as_bool().expect("a flag");
    (user, (connected, muted))
}

/// Takes frames as the task of a connection does.
fn take(outbox: &Outbox, count: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let context = Context::from_waker(Waker::noop());
    while frames.len() < count {
        let before = frames.len();
        // One at a time.
        outbox.take(&context, 1, |frame| frames.push(frame.into()));
        if frames.len() == before {
            break;
        }
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_view_agrees_and_nothing_is_delivered_twice(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut simulation = Simulation::new(1 << 20, 1 << 30);
        steps.iter().for_each(|step| simulation.run(step));
        simulation.settle();
        simulation.check();
    }

    #[test]
    fn sessions_that_miss_too_much_begin_anew(
        steps in proptest::collection::vec(step(), 1..120),
        buffer in 300..2_000usize,
        memory in 300..4_000usize,
    ) {
        let mut simulation = Simulation::new(buffer, memory);
        for step in &steps {
            simulation.run(step);
            prop_assert!(simulation.memory.used() <= memory);
        }
        simulation.settle();
        simulation.check();
        drop(simulation.entry);
        drop(simulation.clients);
        prop_assert_eq!(simulation.memory.used(), 0);
    }
}

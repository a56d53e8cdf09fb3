use std::collections::BTreeMap;
use std::task::{Context, Waker};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::metrics::Metrics;
use crate::room::Greeting;
use crate::service::room_entry::Entrance;
use crate::token::Issue;

const ISSUE: Issue = Issue::Own { generation: 0 };
const GRACE: Duration = Duration::from_secs(30);
const CLIENTS: usize = 200;

/// A `parlor.v1` client of the room.
struct Client {
    user: String,
    outbox: Arc<Outbox>,
    handle: RoomHandle,
    token: String,
    /// The number of the last frame that was read.
    seq: u64,
}

impl Client {
    fn enter(hub: &Arc<Hub>, user: &str) -> Client {
        let outbox = hub.session_outbox(&Signaling::default(), user);
        let entrance = Entrance {
            greeting: Some(Greeting::blank(GRACE)),
            ..Entrance::plain(user, ISSUE)
        };
        let handle = hub.join("lobby", entrance, &outbox).expect("a handle");
        let mut client = Client {
            user: user.to_owned(),
            outbox,
            handle,
            token: String::new(),
            seq: 0,
        };
        let welcome = client.read().remove(0);
        client.learn(&welcome, "welcome");
        client
    }

    /// Loses the connection, as its task does.
    fn cut(self) -> Known {
        let Client {
            user,
            mut handle,
            token,
            seq,
            ..
        } = self;
        handle.set_keeps_session(true);
        Known { user, token, seq }
    }

    fn learn(&mut self, first: &Value, kind: &str) {
        assert_eq!(first["type"], kind, "{first}");
        let token = first["data"]["resume"]["token"].as_str();
        self.token = token.expect("a token").to_owned();
    }

    /// Reads all frames, whose content does not matter.
    fn read_unseen(&mut self) {
        let context = Context::from_waker(Waker::noop());
        self.outbox.take(&context, usize::MAX, drop);
        self.seq = self.outbox.last_seq().expect("a session");
    }

    /// Reads all frames.
    fn read(&mut self) -> Vec<Value> {
        let mut frames: Vec<Bytes> = Vec::new();
        let context = Context::from_waker(Waker::noop());
        self.outbox
            .take(&context, usize::MAX, |frame| frames.push(frame.into()));
        let frames = frames
            .iter()
            .map(|frame| serde_json::from_slice::<Value>(frame).expect("JSON"));
        let frames: Vec<Value> = frames.collect();
        if let Some(seq) = frames.last().and_then(|frame| frame["seq"].as_u64()) {
            self.seq = seq;
        }
        frames
    }
}

/// A session as its client knows it.
struct Known {
    user: String,
    token: String,
    seq: u64,
}

impl Known {
    /// Resumes the session; returns the frames that were missed as well.
    fn resume(self, hub: &Arc<Hub>) -> (Client, Vec<Value>) {
        self.try_resume(hub).expect("a session")
    }

    fn try_resume(self, hub: &Arc<Hub>) -> Option<(Client, Vec<Value>)> {
        let outbox = hub.session_outbox(&Signaling::default(), &self.user);
        let resumption = Resumption {
            user: &self.user,
            issue: ISSUE,
            token: &self.token,
            seq: self.seq,
            within: GRACE,
            role: Role::Member,
            is_token_admin: false,
        };
        let handle = hub.resume("lobby", &resumption, &outbox);
        let mut client = Client {
            handle: handle?,
            user: self.user,
            outbox,
            token: self.token,
            seq: self.seq,
        };
        let mut frames = client.read();
        client.learn(&frames.remove(0), "resumed");
        Some((client, frames))
    }
}

/// A hub with a plain client, a `parlor.v1` client, and many others who enter after them.
struct Crowd {
    hub: Arc<Hub>,
    plain: (Arc<Outbox>, RoomHandle),
    observer: Client,
    others: Vec<Client>,
}

impl Crowd {
    fn new() -> Crowd {
        let hub = Hub::new(&Signaling::default(), &Metrics::new());
        let outbox = Arc::new(Outbox::new(1 << 20));
        let entrance = Entrance::plain("plain", ISSUE);
        let handle = hub.join("lobby", entrance, &outbox).expect("a handle");
        let observer = Client::enter(&hub, "observer");
        let others = (0..CLIENTS).map(|number| Client::enter(&hub, &format!("user-{number}")));
        let mut crowd = Crowd {
            others: others.collect(),
            plain: (outbox, handle),
            observer,
            hub,
        };
        assert_eq!(crowd.observer.read().len(), CLIENTS);
        assert_eq!(crowd.plain_frames(), CLIENTS + 1);
        crowd.others.iter_mut().for_each(Client::read_unseen);
        crowd
    }

    fn plain_frames(&self) -> usize {
        let mut count = 0;
        let context = Context::from_waker(Waker::noop());
        self.plain.0.take(&context, usize::MAX, |_| count += 1);
        count
    }

    /// All others lose their connections at once.
    fn cut(&mut self) -> Vec<Known> {
        self.others.drain(..).map(Client::cut).collect()
    }

    /// The others resume their sessions; returns the frames that each one missed.
    fn resume(&mut self, known: Vec<Known>) -> Vec<Vec<Value>> {
        let mut missed = Vec::new();
        for one in known {
            let (client, frames) = one.resume(&self.hub);
            self.others.push(client);
            missed.push(frames);
        }
        missed
    }
}

/// The values of `connected` in the updates of each participant.
fn updates(frames: &[Value]) -> BTreeMap<&str, Vec<bool>> {
    let mut updates: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for frame in frames {
        assert_eq!(frame["type"], "participant-updated", "{frame}");
        let user = frame["from"].as_str().expect("a user");
        let connected = frame["data"]["connected"].as_bool().expect("a flag");
        updates.entry(user).or_default().push(connected);
    }
    updates
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_two_hundred_clients_who_return_within_three_seconds() {
    let mut crowd = Crowd::new();
    for _ in 0..2 {
        let known = crowd.cut();
        tokio::time::sleep(AWAY_NOTICE - Duration::from_millis(10)).await;
        let missed = crowd.resume(known);
        assert!(missed.iter().all(Vec::is_empty));
    }
    // The timers of both losses run out.
    tokio::time::sleep(2 * GRACE).await;
    assert_eq!(crowd.observer.read(), Vec::<Value>::new());
    assert_eq!(crowd.plain_frames(), 0);
    assert!(crowd.others.iter_mut().all(|one| one.read().is_empty()));
    assert_eq!(crowd.hub.connected("lobby").len(), CLIENTS + 2);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_clients_who_return_later_are_shown_as_away_once() {
    let mut crowd = Crowd::new();
    let known = crowd.cut();
    tokio::time::sleep(AWAY_NOTICE - Duration::from_millis(10)).await;
    assert_eq!(crowd.observer.read(), Vec::<Value>::new());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut seen = crowd.observer.read();
    assert_eq!(updates(&seen).len(), CLIENTS);
    let missed = crowd.resume(known);
    tokio::time::sleep(2 * GRACE).await;
    seen.extend(crowd.observer.read());
    let seen = updates(&seen);
    assert_eq!(seen.len(), CLIENTS);
    assert!(seen.values().all(|pair| *pair == [false, true]), "{seen:?}");
    assert_eq!(crowd.plain_frames(), 0);
    // Those who were away themselves: a pair of each other one, and none of their own.
    for (missed, client) in missed.into_iter().zip(&mut crowd.others).step_by(50) {
        let mut frames = missed;
        frames.extend(client.read());
        let seen = updates(&frames);
        assert!(!seen.contains_key(client.user.as_str()));
        assert_eq!(seen.len(), CLIENTS - 1);
        assert!(seen.values().all(|pair| *pair == [false, true]), "{seen:?}");
    }
    // A client that does not return leaves once.
    let gone = crowd.others.pop().expect("a client");
    let user = gone.user.clone();
    gone.cut();
    tokio::time::sleep(2 * GRACE).await;
    let frames = crowd.observer.read();
    let kinds: Vec<&Value> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(kinds, [&json!("participant-updated"), &json!("user-left")]);
    assert_eq!(frames[1]["data"], json!({"userId": user, "reason": "lost"}));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_shown_as_away_is_shown_as_back_after_a_restart() {
    let settings = Signaling::default();
    let hub = Hub::new(&settings, &Metrics::new());
    let mut observer = Client::enter(&hub, "observer");
    let alice = Client::enter(&hub, "alice").cut();
    tokio::time::sleep(AWAY_NOTICE + Duration::from_millis(10)).await;
    assert_eq!(updates(&observer.read()[1..])["alice"], [false]);
    let observer = observer.cut();
    let (rooms, sessions) = hub.restart(&settings);
    let next = Hub::new(&settings, &Metrics::new());
    next.expect_return(rooms, sessions, &settings);
    let (mut observer, _) = observer.resume(&next);
    let _alice = alice.resume(&next);
    assert_eq!(updates(&observer.read())["alice"], [true]);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_frames_may_be_lost_begins_anew_if_it_has_no_connection() {
    let hub = Hub::new(&Signaling::default(), &Metrics::new());
    let mut observer = Client::enter(&hub, "observer");
    let alice = Client::enter(&hub, "alice").cut();
    assert_eq!(observer.read()[0]["type"], "user-joined");
    hub.with_rooms(|entry| entry.forget_away_frames());
    assert!(alice.try_resume(&hub).is_none());
    assert_eq!(observer.read()[0]["type"], "user-left");
    assert!(observer.cut().try_resume(&hub).is_some());
}

//! A node on real connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::cmd;

use super::server;
use crate::bus::redis::placement::preference;
use crate::bus::redis::{Link, NodeInfo, Output, Script, Server, Settings};
use crate::clock;
use crate::room::{ConnectionId, Effect, Input, Limits, NodeId, Request, Room};
use crate::tls::{Verification, client_config};

/// A node with one room.
struct Peer {
    link: Link,
    room: Mutex<Room>,
    /// The texts that the connections received.
    received: Mutex<BTreeMap<ConnectionId, Vec<String>>>,
    admitted: Mutex<Vec<ConnectionId>>,
    /// Messages of other nodes.
    messages: Mutex<Vec<(NodeId, Vec<u8>)>>,
}

fn settings(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        prefix: "p1:".to_owned(),
        lease: Duration::from_secs(10),
        about: String::new(),
    }
}

impl Peer {
    fn start(name: &str, url: &str) -> Arc<Peer> {
        let link = Link::new(settings(name), [name.len() as u8; 32]);
        let mut room = Room::new("lobby", Limits::UNLIMITED);
        room.connect(link.id(), ConnectionId::new(1).unwrap());
        let peer = Arc::new(Peer {
            link,
            room: Mutex::new(room),
            received: Mutex::default(),
            admitted: Mutex::default(),
            messages: Mutex::default(),
        });
        let tls = client_config(Verification::None, None).unwrap();
        let server = Server::new(url, &tls).unwrap();
        let running = peer.clone();
        tokio::spawn(async move {
            let peer = running.clone();
            let carry_out = move |output| peer.carry_out(output);
            running.link.run(&server, carry_out, |_| {}).await;
        });
        peer
    }

    fn carry_out(&self, output: Output) {
        match output {
            Output::Roster { event, .. } => {
                self.with_room(|room, effects| room.apply(event, effects));
            }
            Output::Frame { node, frame, .. } => self.with_room(|room, effects| {
                room.receive_remote(&node, &frame, effects);
            }),
            Output::Restate { .. } => self.with_room(|room, _| room.restate()),
            Output::RosterLost => {
                self.with_room(|room, _| room.roster_lost());
                self.link.rooms_visited();
            }
            Output::Fenced { node } => {
                self.with_room(|room, effects| room.fenced(node, effects));
                self.link.rooms_visited();
            }
            Output::EventsLost => self.with_room(|room, _| room.events_lost()),
            Output::NodesRestated { nodes, .. } => self.with_room(|room, effects| {
                room.nodes_restated(|node| nodes.contains(node), effects);
            }),
            Output::ForgetUnconfirmed => {
                let mut nodes = Vec::new();
                self.with_room(|room, effects| nodes = room.forget_unconfirmed(effects));
                self.link.abandon(nodes);
            }
            Output::Message { node, bytes } => self.messages.lock().unwrap().push((node, bytes)),
            Output::Answer { .. } => {}
        }
    }

    fn with_room(&self, work: impl FnOnce(&mut Room, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        let mut room = self.room.lock().unwrap();
        work(&mut room, &mut effects);
        for effect in effects {
            if let Effect::Deliver {
                connection, frame, ..
            } = effect
            {
                let text = String::from_utf8(frame.to_vec()).unwrap();
                self.received
                    .lock()
                    .unwrap()
                    .entry(connection)
                    .or_default()
                    .push(text);
            }
        }
        let requests = room.take_requests();
        for request in &requests {
            if let Request::Admitted { connection, .. } = request {
                self.admitted.lock().unwrap().push(*connection);
            }
        }
        self.link.request(&Arc::from("lobby"), requests);
    }

    async fn enter(&self, user: &str) -> ConnectionId {
        let now = clock::now().mono;
        let connection = self.room.lock().unwrap().enter(user, false, now);
        self.with_room(|_, _| {});
        wait_until(|| self.admitted.lock().unwrap().contains(&connection)).await;
        connection
    }

    fn send(&self, connection: ConnectionId, to: &str, number: u32) {
        let text = format!(r#"{{"type":"offer","from":"","roomId":"","to":"{to}","n":{number}}}"#);
        self.with_room(|room, effects| {
            room.receive(connection, Input::Text(&text), clock::now().mono, effects);
        });
    }

    fn received(&self, connection: ConnectionId) -> Vec<String> {
        self.received
            .lock()
            .unwrap()
            .get(&connection)
            .cloned()
            .unwrap_or_default()
    }
}

async fn wait_until(mut is_true: impl FnMut() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("it never became true");
}

#[tokio::test]
async fn frames_between_nodes_arrive_in_order_although_connections_are_killed() {
    let redis = server::Server::start();
    let url = redis.database();
    let [near, far] = ["near", "far-away"].map(|name| Peer::start(name, &url));
    let bob = far.enter("bob").await;
    let alice = near.enter("alice").await;
    wait_until(|| {
        far.received(bob)
            .iter()
            .any(|text| text.contains("user-joined"))
    })
    .await;
    assert_eq!(near.received(alice), [""; 0], "a newcomer receives nothing");
    let mut admin = redis::Client::open(url).unwrap().get_connection().unwrap();
    for number in 0..2000 {
        near.send(alice, "bob", number);
        if number % 500 == 250 {
            let _: i64 = cmd("CLIENT")
                .arg("KILL")
                .arg("TYPE")
                .arg("normal")
                .query(&mut admin)
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let offers = || {
        let received = far.received(bob);
        received
            .into_iter()
            .filter(|text| text.contains("offer"))
            .collect::<Vec<_>>()
    };
    wait_until(|| offers().len() >= 2000).await;
    for (number, text) in offers().iter().enumerate() {
        assert!(
            text.contains(&format!("\"n\":{number}}}")),
            "{text} is number {number}"
        );
    }
    near.with_room(|room, effects| room.leave(alice, effects));
    wait_until(|| far.received(bob).last().unwrap().contains("user-left")).await;
    assert_eq!(near.link.counts().frames_dropped, 0);
}

#[tokio::test]
async fn a_question_is_answered() {
    let peer = Peer::start("near", &server::server().database());
    wait_until(|| peer.link.is_available()).await;
    let ask = || {
        let args = ["login:alice", "1000000", "1"].map(str::to_owned);
        peer.link.ask(Script::Limit, args.to_vec())
    };
    assert_eq!(ask().await.as_deref(), Some("0"));
    assert!(ask().await.is_some_and(|wait| wait != "0"));
}

#[tokio::test]
async fn nodes_read_what_others_say_about_themselves() {
    let url = server::server().database();
    let near = Peer::start("near", &url);
    let tls = client_config(Verification::None, None).unwrap();
    let server = Server::new(&url, &tls).unwrap();
    wait_until(|| near.link.has_lease()).await;
    near.link.set_about("version 1".to_owned());
    let newcomer = Link::new(settings("new"), [9; 32]);
    let about = |nodes: &Arc<[NodeInfo]>, name: &str| {
        let node = nodes.iter().find(|node| node.name() == name).cloned();
        node.map(|node| (node.about.to_string(), node.is_draining))
    };
    let before = async {
        loop {
            let nodes = newcomer.read_nodes(&server).await.unwrap();
            assert_eq!(nodes.len(), 1);
            if let Some(said) = about(&nodes, "near").filter(|(text, _)| !text.is_empty()) {
                break said;
            }
        }
    };
    assert_eq!(before.await, ("version 1".to_owned(), false));
    assert!(!newcomer.has_lease());
    let far = Peer::start("far", &url);
    let mut nodes = near.link.nodes();
    let is_there = |nodes: &Arc<[NodeInfo]>| about(nodes, "far").is_some();
    nodes.wait_for(is_there).await.unwrap();
    far.link.set_draining(true);
    far.link.set_about("version 2".to_owned());
    let expected = Some(("version 2".to_owned(), true));
    nodes
        .wait_for(|nodes| about(nodes, "far") == expected)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_node_that_finishes_has_sent_everything_and_has_no_lease() {
    let url = server::server().database();
    let [near, far] = ["near", "far-away"].map(|name| Peer::start(name, &url));
    wait_until(|| near.link.is_available() && far.link.is_available()).await;
    assert!(near.link.tell(far.link.id(), b"last".to_vec()));
    let id = near.link.id();
    near.link.finish().await;
    let mut admin = redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut list = cmd("ZRANGE");
    list.arg("p1:nodes").arg(0).arg(-1);
    let listed: Vec<String> = list.query(&mut admin).unwrap();
    assert_eq!(listed, [far.link.id().to_string()]);
    let sent = [(id, b"last".to_vec())];
    wait_until(|| *far.messages.lock().unwrap() == sent).await;
}

#[tokio::test]
async fn nodes_agree_where_a_room_is_placed_also_after_redis_has_forgotten_it() {
    let redis = server::Server::start();
    let url = redis.database();
    let [near, far, third] = ["near", "far-away", "a-third"].map(|name| Peer::start(name, &url));
    let mut nodes = near.link.nodes();
    nodes.wait_for(|nodes| nodes.len() == 3).await.unwrap();
    let ttl = Duration::from_secs(3600);
    let first = nodes.borrow().clone();
    let first = preference("lobby", &first)[0].id.clone();
    assert_eq!(
        near.link.place("lobby", None, false, ttl).await,
        Some(first.clone())
    );
    let other = [&near, &far, &third].map(|peer| peer.link.id());
    let other = other.into_iter().find(|id| *id != first).unwrap();
    assert_eq!(
        far.link.place("lobby", Some(&other), false, ttl).await,
        Some(first)
    );
    let mut admin = redis::Client::open(url).unwrap().get_connection().unwrap();
    let _: () = cmd("DEL").arg("p1:q:lobby").query(&mut admin).unwrap();
    assert_eq!(
        near.link.place("lobby", Some(&other), false, ttl).await,
        Some(other.clone())
    );
    let gone = NodeId::from("gone.0");
    assert_eq!(
        near.link.place("lobby", Some(&gone), false, ttl).await,
        Some(other)
    );
}

#[tokio::test]
async fn each_message_arrives_once_and_in_order_although_connections_are_killed() {
    let redis = server::Server::start();
    let url = redis.database();
    let [near, far, third] = ["near", "far-away", "a-third"].map(|name| Peer::start(name, &url));
    wait_until(|| {
        [&near, &far, &third]
            .iter()
            .all(|peer| peer.link.is_available())
    })
    .await;
    let mut admin = redis::Client::open(&*url)
        .unwrap()
        .get_connection()
        .unwrap();
    let mut sent = Vec::new();
    for number in 0..200_u32 {
        let bytes = number.to_be_bytes().to_vec();
        let queued = if number % 2 == 0 {
            near.link.tell_all(bytes.clone())
        } else {
            near.link.tell(far.link.id(), bytes.clone())
        };
        if queued {
            sent.push((near.link.id(), bytes));
        }
        if number % 50 == 25 {
            let mut kill = cmd("CLIENT");
            kill.arg(&["KILL", "TYPE", "normal"]);
            let _: i64 = kill.query(&mut admin).unwrap();
            wait_until(|| near.link.is_available()).await;
        }
    }
    let last = b"last".to_vec();
    wait_until(|| near.link.tell_all(last.clone())).await;
    sent.push((near.link.id(), last));
    let has_ended = |peer: &Peer| peer.messages.lock().unwrap().last() == sent.last();
    wait_until(|| has_ended(&far) && has_ended(&third)).await;
    assert_eq!(*far.messages.lock().unwrap(), sent);
    let is_for_all = |bytes: &[u8]| bytes == b"last" || bytes[3].is_multiple_of(2);
    sent.retain(|(_, bytes)| is_for_all(bytes));
    assert_eq!(*third.messages.lock().unwrap(), sent);
    assert_eq!(*near.messages.lock().unwrap(), []);
}

#[tokio::test]
async fn a_message_that_is_too_long_or_without_redis_is_dropped_and_an_unknown_entry_is_counted() {
    let url = server::server().database();
    let alone = Link::new(settings("alone"), [0; 32]);
    assert!(!alone.tell_all(b"nobody".to_vec()));
    assert_eq!(alone.counts().messages_dropped, 1);
    let peer = Peer::start("near", &url);
    wait_until(|| peer.link.is_available()).await;
    assert!(!peer.link.tell_all(vec![0; (256 << 10) + 1]));
    assert!(peer.link.tell(peer.link.id(), vec![0; 256 << 10]));
    wait_until(|| peer.messages.lock().unwrap().len() == 1).await;
    let mut admin = redis::Client::open(url).unwrap().get_connection().unwrap();
    let inbox = format!("p1:i:{}", peer.link.id());
    let mut add = cmd("XADD");
    add.arg(inbox).arg(&["*", "t", "of a later version"]);
    let _: String = add.query(&mut admin).unwrap();
    wait_until(|| peer.link.counts().entries_unknown == 1).await;
    assert_eq!(peer.link.counts().messages_dropped, 1);
}

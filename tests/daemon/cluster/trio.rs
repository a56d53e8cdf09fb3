//! Three nodes with two users each, and what must hold after a fault.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use parlor::clock;
use serde_json::json;

use super::LOBBY;
use crate::support::cluster::{Cluster, cluster_token};
use crate::support::http::Client;
use crate::support::watcher::{Watcher, agree};
use crate::support::{Builder, DEADLINE, Daemon};

/// The nodes with their first users.
const NODES: [(&str, [&str; 2]); 3] = [
    ("one", ["alice", "bob"]),
    ("two", ["carol", "dave"]),
    ("three", ["erin", "frank"]),
];

/// Three nodes of a cluster. The faults are those of the last one.
pub(super) struct Trio {
    pub cluster: Cluster,
    pub nodes: Vec<Daemon>,
    /// All connected users, in the order of [`NODES`].
    pub watchers: Vec<Watcher>,
    /// Acknowledged members and chat messages.
    members: BTreeSet<String>,
    messages: Vec<String>,
}

impl Trio {
    pub(super) fn start(cluster: Cluster) -> Trio {
        Trio::with(cluster, |_, node| node)
    }

    /// Starts three nodes with settings that `change` adds, given the number of each node.
    pub(super) fn with(
        cluster: Cluster,
        change: impl Fn(usize, Builder) -> Builder + Sync,
    ) -> Trio {
        let start = |number: usize| change(number, cluster.node(NODES[number].0)).start();
        let first = start(0);
        let others = thread::scope(|scope| {
            let others = [scope.spawn(|| start(1)), scope.spawn(|| start(2))];
            others.map(|other| other.join().expect("a node"))
        });
        let mut trio = Trio {
            cluster,
            nodes: [first].into_iter().chain(others).collect(),
            watchers: Vec::new(),
            members: BTreeSet::new(),
            messages: Vec::new(),
        };
        for (number, (_, users)) in NODES.iter().enumerate() {
            users.iter().for_each(|user| trio.enter(number, user));
        }
        trio.settle();
        trio
    }

    /// Connects a user to a node.
    pub(super) fn enter(&mut self, node: usize, user: &str) {
        self.add(Watcher::enter(&self.nodes[node], LOBBY, user));
    }

    /// Adds a user who has entered.
    pub(super) fn add(&mut self, watcher: Watcher) {
        self.members.insert(watcher.user().to_owned());
        self.watchers.push(watcher);
    }

    /// Writes a chat message, which the node acknowledges.
    pub(super) fn say(&mut self, node: usize, user: &str) {
        let content = format!("message {} of {user}", self.messages.len());
        let caller = Client::new(self.nodes[node].http()).with_token(&cluster_token(user));
        let path = format!("/api/rooms/{LOBBY}/messages");
        caller.post_json(&path, &json!({"content": content})).ok();
        self.messages.push(content);
    }

    /// Takes out the users of the third node.
    pub(super) fn of_third(&mut self) -> [Watcher; 2] {
        let taken = self.watchers.split_off(4);
        taken.try_into().ok().expect("two users")
    }

    /// Waits until all nodes and all clients agree who is connected, and checks that nothing that was acknowledged is
    /// lost.
    #[track_caller]
    pub(super) fn settle(&self) {
        agree(&self.watchers);
        let users: Vec<&str> = self.watchers.iter().map(Watcher::user).collect();
        for node in &self.nodes {
            eventually(&users, || connected(node));
            eventually(&users, || participants(node));
        }
        let database = self.cluster.database();
        let rows = |sql: &str| -> BTreeSet<String> {
            let rows = database.sql(sql);
            rows.lines().map(str::to_owned).collect()
        };
        let members = rows(&format!(
            "SELECT user_id FROM parlor.room_participants WHERE left_at IS NULL AND room_id = '{LOBBY}'"
        ));
        assert_eq!(members, self.members);
        let messages = rows("SELECT content FROM parlor.room_messages");
        assert_eq!(messages, self.messages.iter().cloned().collect());
    }
}

/// Repeats a question until its answer lists these users, in any order.
#[track_caller]
fn eventually(users: &[&str], ask: impl Fn() -> Vec<String>) {
    let mut expected: Vec<String> = users.iter().map(|&user| user.to_owned()).collect();
    expected.sort_unstable();
    let deadline = clock::now().mono + DEADLINE;
    loop {
        let mut answer = ask();
        answer.sort_unstable();
        if answer == expected {
            return;
        }
        assert!(clock::now().mono < deadline, "{answer:?}, not {expected:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The users whose connections a node lists by the admin interface, on all nodes.
fn connected(node: &Daemon) -> Vec<String> {
    let sessions = node.cli_json(&["sessions", "--all"]);
    let rows = sessions.as_array().expect("a list").iter();
    rows.map(|row| row["user"]["id"].as_str().expect("a user").to_owned())
        .collect()
}

/// The users who are connected, by the HTTP interface of a node; nobody while the node does not know.
fn participants(node: &Daemon) -> Vec<String> {
    let caller = Client::new(node.http()).with_token(&cluster_token("alice"));
    let path = format!("/api/rooms/{LOBBY}");
    let room = caller.get(&path).ok();
    let answer = caller.get(&format!("{path}/participants")).ok();
    let rows = answer["participants"].as_array().expect("a list").iter();
    let connected = rows.filter(|row| row["connected"] == true);
    let users: Vec<String> = connected
        .map(|row| row["user_id"].as_str().expect("a user").to_owned())
        .collect();
    let is_known = answer["presence"] == "known" && room["connected"] == users.len();
    if is_known { users } else { Vec::new() }
}

//! SIGKILL again and again under a load of joins, leaves and messages: of parlor, on both stores, and of
//! PostgreSQL.

use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::http::Client;
use crate::support::postgres::Server;
use crate::support::{Builder, DEADLINE, Daemon};

/// Kills in a normal run; the variable `KILLS` asks for others (`tests/long/kills`).
const KILLS: usize = 50;
/// Threads of load, each with users of its own.
const THREADS: usize = 4;
/// Users of a thread who come and go.
const MOVERS: usize = 2;
/// Users of a thread who write: each may 20 times in a row, and a round is over before that.
const WRITERS: usize = 3;
const ROOM: &str = "lobby";

/// One user, as far as answers tell.
struct Person {
    id: String,
    client: Client,
    /// As of the last change that was acknowledged, or seen after a kill.
    member: bool,
    /// A change that was asked for and not acknowledged.
    attempted: Option<bool>,
}

/// The requests of one thread, and their acknowledged results.
struct Load {
    movers: Vec<Person>,
    writers: Vec<Person>,
    /// Messages begun so far; each content is used once.
    begun: u64,
    name: usize,
    /// Contents that were acknowledged, since the last kill and before.
    fresh: Vec<String>,
    acknowledged: Vec<String>,
}

impl Person {
    fn new(daemon: &Daemon, name: &str) -> Person {
        let added = daemon.cli_json(&["user", "add", name]);
        let issued = daemon.cli_json(&["token", "issue", name, "--ttl", "1d"]);
        let token = issued["token"].as_str().expect("a token");
        Person {
            id: added["id"].as_str().expect("an id").to_owned(),
            client: Client::new(daemon.http()).with_token(token),
            member: false,
            attempted: None,
        }
    }

    /// Joins or leaves; whether that was acknowledged.
    fn change(&mut self) -> bool {
        let wish = !self.member;
        self.attempted = Some(wish);
        let path = format!("/api/rooms/{ROOM}/{}", if wish { "join" } else { "leave" });
        let Some(answer) = self.client.attempt(&path, &json!({})) else {
            return false;
        };
        if answer.status == 503 {
            return false;
        }
        assert!(matches!(answer.status, 200 | 201 | 204), "{answer:?}");
        self.member = wish;
        self.attempted = None;
        true
    }
}

impl Load {
    fn new(daemon: &Daemon, name: usize) -> Load {
        let people = |kind: &str, count| {
            let names = (0..count).map(|number| format!("{kind}-{name}-{number}"));
            names.map(|name| Person::new(daemon, &name)).collect()
        };
        let mut writers: Vec<Person> = people("writer", WRITERS);
        for writer in &mut writers {
            assert!(writer.change());
        }
        Load {
            movers: people("mover", MOVERS),
            writers,
            begun: 0,
            name,
            fresh: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    /// Asks until the daemon answers no more; tells of each acknowledgement.
    fn run(&mut self, acknowledged: &Sender<()>) {
        for step in 0.. {
            let answered = match step % 2 {
                0 => self.movers[step / 2 % MOVERS].change(),
                _ => self.write(step / 2 % WRITERS),
            };
            if !answered {
                return;
            }
            // Nobody counts any more once the kill is on its way.
            let _ = acknowledged.send(());
        }
    }

    fn write(&mut self, writer: usize) -> bool {
        self.begun += 1;
        let content = format!("{} of {}", self.begun, self.name);
        let path = format!("/api/rooms/{ROOM}/messages");
        let written = self.writers[writer]
            .client
            .attempt(&path, &json!({ "content": content }));
        match written.map(|answer| answer.status) {
            None | Some(503) => false,
            Some(201) => {
                self.fresh.push(content);
                true
            }
            // A kill that is slow to come lets somebody write too much.
            Some(429) => true,
            Some(status) => panic!("a message was answered with {status}"),
        }
    }

    fn people(&mut self) -> impl Iterator<Item = &mut Person> {
        self.movers.iter_mut().chain(&mut self.writers)
    }
}

fn builder() -> Builder {
    Builder::new()
        .env("PARLOR_ROOMS__MAX_MESSAGES", "0")
        .env("PARLOR_LOG__LEVEL", "info")
}

fn kills() -> usize {
    std::env::var("KILLS").map_or(KILLS, |text| text.parse().expect("a number"))
}

#[test]
fn acknowledged_changes_survive_every_kill() {
    survive_kills(builder().start());
}

#[test]
fn acknowledged_changes_survive_every_kill_on_postgres() {
    survive_kills(builder().on(Server::start()).start());
}

#[test]
fn acknowledged_changes_survive_every_kill_of_the_postgres_server() {
    let server = Server::start();
    let daemon = builder().on(server).start();
    let mut loads: Vec<_> = (0..THREADS).map(|name| Load::new(&daemon, name)).collect();
    let mut seen = 0;
    for kill in 1..=kills() {
        load_and_kill(&mut loads, kill, || server.kill());
        server.restart();
        wait_until_ready(&daemon);
        seen = check(&daemon, &mut loads, seen);
    }
    check_all(&daemon, &loads);
}

fn wait_until_ready(daemon: &Daemon) {
    let client = Client::new(daemon.http());
    for _ in 0..600 {
        if client.get("/readyz").status == 200 {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("not ready: {:?}", client.get("/readyz"));
}

fn survive_kills(mut daemon: Daemon) {
    let kills = kills();
    let mut loads: Vec<_> = (0..THREADS).map(|name| Load::new(&daemon, name)).collect();
    let mut seen = 0;
    for kill in 1..=kills {
        load_and_kill(&mut loads, kill, || daemon.signal("KILL"));
        let starting = daemon.command(&["serve"]);
        daemon = daemon.restart_after(|| {
            if kill % 5 == 0 {
                kill_at_the_start(starting, kill);
            }
        });
        seen = check(&daemon, &mut loads, seen);
        if kill % 100 == 0 {
            let messages: usize = loads.iter().map(|load| load.acknowledged.len()).sum();
            println!("{kill} kills: {messages} acknowledged messages, none lost");
        }
    }
    check_all(&daemon, &loads);
}

/// Lets all threads ask, and calls `end`, which kills, in the middle of it.
fn load_and_kill(loads: &mut [Load], kill: usize, end: impl FnOnce()) {
    let (sender, acknowledged) = channel();
    thread::scope(|scope| {
        for load in loads.iter_mut() {
            let sender = sender.clone();
            scope.spawn(move || load.run(&sender));
        }
        drop(sender);
        for _ in 0..1 + kill * 7 % 40 {
            let received = acknowledged.recv_timeout(DEADLINE);
            received.expect("an acknowledgement in time");
        }
        // One answer is often sent together with others: this spreads the kills over what follows.
        thread::sleep(Duration::from_micros(kill as u64 * 7919 % 10_000));
        end();
    });
}

/// A start that does not get far: it ends in the middle of recovering what the last kill left.
fn kill_at_the_start(mut starting: Command, kill: usize) {
    let starting = starting.stdout(Stdio::null()).stderr(Stdio::null());
    let mut started = starting.spawn().expect("parlor starts");
    thread::sleep(Duration::from_micros(kill as u64 * 7919 % 50_000));
    started.kill().expect("a kill");
    started.wait().expect("an end");
}

/// The database is whole, memberships are as acknowledged, and so are the messages of this round:
/// those behind the id `seen`. Gives the last id.
fn check(daemon: &Daemon, loads: &mut [Load], seen: i64) -> i64 {
    if !daemon.is_on_postgres() {
        assert_eq!(daemon.query("PRAGMA integrity_check"), ["ok"]);
        let dangling = "SELECT \"table\" FROM pragma_foreign_key_check";
        assert!(daemon.query(dangling).is_empty());
    }
    let members = "SELECT user_id FROM room_participants WHERE left_at IS NULL";
    let members: HashSet<_> = daemon.query(members).into_iter().collect();
    for person in loads.iter_mut().flat_map(Load::people) {
        let is_member = members.contains(&person.id);
        assert!(
            is_member == person.member || Some(is_member) == person.attempted,
            "{} is a member: {is_member}; acknowledged: {}, then attempted: {:?}",
            person.id,
            person.member,
            person.attempted,
        );
        person.member = is_member;
        person.attempted = None;
    }
    let contents = format!("SELECT content FROM room_messages WHERE id > {seen}");
    let contents: HashSet<_> = daemon.query(&contents).into_iter().collect();
    for load in loads {
        for content in load.fresh.drain(..) {
            assert!(contents.contains(&content), "the message {content} is lost");
            load.acknowledged.push(content);
        }
    }
    let last = "SELECT CAST(coalesce(max(id), 0) AS text) FROM room_messages";
    daemon.query(last)[0].parse().expect("a number")
}

/// After all kills: every message is there that was ever acknowledged, and once; and the daemon
/// says of the members what the database says.
fn check_all(daemon: &Daemon, loads: &[Load]) {
    let all = daemon.query("SELECT content FROM room_messages");
    let contents: HashSet<_> = all.iter().collect();
    assert_eq!(all.len(), contents.len(), "a message was written twice");
    for load in loads {
        assert!(!load.acknowledged.is_empty(), "a thread got nothing done");
        for content in &load.acknowledged {
            assert!(contents.contains(content), "the message {content} is lost");
        }
    }
    let path = format!("/api/rooms/{ROOM}/participants");
    let answer = loads[0].writers[0].client.get(&path).ok();
    let members_reported = answer["participants"].as_array().expect("a list").iter();
    let reported: HashSet<_> = members_reported
        .map(|member| member["user_id"].as_str().expect("an id").to_owned())
        .collect();
    let people = loads.iter().flat_map(|l| l.movers.iter().chain(&l.writers));
    let members = people.filter(|person| person.member);
    assert_eq!(reported, members.map(|person| person.id.clone()).collect());
}

//! An empty Redis in place of one with rosters.

use std::time::Duration;

use futures_util::future::join_all;
use parlor::clock;
use redis::Connection;

use crate::nodes::{Node, PREFIX};
use crate::server::Server;
use crate::{RUNS, median};

const NODES: usize = 4;
const ROOMS: usize = 2000;
const PEOPLE: usize = 5;
/// Longer than every timeout of the nodes.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(server: &Server) {
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(Node::start(number, &server.url()).await);
    }
    let mut clients = Vec::new();
    for room in 0..ROOMS {
        for user in 0..PEOPLE {
            let node = &nodes[(room + user) % NODES];
            let (room, user) = (format!("room-{room}"), format!("user-{user}"));
            clients.push(async move { node.join(&room, &user).await });
        }
    }
    let clients = join_all(clients).await;
    let (mut times, mut spent) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = clock::now().mono;
        server.restart();
        wait_until_filled(&mut server.connect(), &nodes).await;
        times.push(clock::now().mono.since(start).as_secs_f64());
        spent.push(server.cpu() / 1e3);
    }
    println!("an empty Redis, {ROOMS} rooms with {PEOPLE} people each on {NODES} nodes:");
    println!(
        "  all restated after {:.2} s (less than 2), {:.0} ms of Redis",
        median(times),
        median(spent)
    );
    drop(clients);
}

/// Waits until Redis lists all people, and each node has said that it has restated all its rooms.
async fn wait_until_filled(redis: &mut Connection, nodes: &[Node]) {
    let start = clock::now().mono;
    loop {
        let mut query = redis::pipe();
        for node in nodes {
            let id = node
                .link
                .as_ref()
                .map_or_else(Default::default, |link| link.id());
            query
                .cmd("HEXISTS")
                .arg(format!("{PREFIX}h:{id}"))
                .arg("restated");
        }
        let restated: Vec<bool> = query.query(redis).expect("an answer");
        if restated.iter().all(|is_restated| *is_restated) {
            break;
        }
        assert!(clock::now().mono.since(start) < DEADLINE, "not restated");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut query = redis::pipe();
    for room in 0..ROOMS {
        query.cmd("HKEYS").arg(format!("{PREFIX}r:room-{room}"));
    }
    let rosters: Vec<Vec<String>> = query.query(redis).expect("an answer");
    for roster in rosters {
        let people = roster.iter().filter(|field| field.starts_with("u:"));
        assert_eq!(people.count(), PEOPLE, "people are missing: {roster:?}");
    }
}

//! A hostile participant and the pages of the others.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::support::call::Via;
use crate::support::namespace::in_a_namespace;
use crate::support::{Builder, DEADLINE, Daemon, http};
use crate::{ADA, GRACE, OWN_ID, enters, folder};

/// More peer connections than Chromium allows per page, and fewer messages than the server's burst for
/// one sender.
const CALLS: usize = 600;
const ANNOUNCEMENTS: usize = 300;

/// The maximum work of a page for a sender who does not stop, during this test.
const CONNECTIONS: u64 = 20;
const ROSTERS: u64 = 20;

const ROSTERS_READ: &str = "performance.getEntriesByType('resource') \
     .filter(({name}) => name.endsWith('/participants')).length";

in_a_namespace! {
    fn a_flood_of_calls_does_not_keep_a_page_from_connecting_to_others() {
        // Mallory answers no ping.
        let daemon = Builder::new().env("PARLOR_SIGNALING__PING_INTERVAL", "1h").start();
        let folder = folder();
        let link = daemon.invite_link();
        // First, so that the page sends Mallory no offer and waits for one.
        let mut mallory = enter(&daemon, &link, "Mallory");
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let target = ada.ask(OWN_ID);
        for number in 0..CALLS {
            mallory.send(Message::text(call(&target, number))).expect("sent");
        }
        for _ in 0..ANNOUNCEMENTS {
            let joined = json!({"type": "user-joined", "from": "", "roomId": ""});
            mallory.send(Message::text(joined.to_string())).expect("sent");
        }
        ada.sees("Mallory sends more messages than this page accepts");

        // Mallory continues while another participant joins, as fast as the server permits.
        let done = AtomicBool::new(false);
        let mut grace = thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = CALLS;
                while !done.load(Ordering::Relaxed) {
                    number += 1;
                    mallory.send(Message::text(call(&target, number))).expect("sent");
                    thread::sleep(Duration::from_millis(12));
                }
            });
            let mut grace = enters(&link, GRACE, Via::Any, &folder);
            ada.wait("to hear Grace", &format!("test.hearsExactly([{}])", GRACE.1));
            grace.wait("to hear Ada", &format!("test.hearsExactly([{}])", ADA.1));
            done.store(true, Ordering::Relaxed);
            grace
        });
        let connections = ada.ask("test.connections.length").as_u64().expect("a number");
        assert!(connections <= CONNECTIONS, "{connections} peer connections");
        for person in [&mut ada, &mut grace] {
            let rosters = person.ask(ROSTERS_READ).as_u64().expect("a number");
            assert!(rosters <= ROSTERS, "{}: the list was read {rosters} times", person.name);
            person.has_seen_no_errors();
        }
    }
}

fn call(target: &Value, number: usize) -> String {
    let offer = json!({"type": "offer", "sdp": "v=0"});
    let call = format!("call-{number}");
    json!({"type": "offer", "from": "", "roomId": "", "to": target, "call": call, "data": offer})
        .to_string()
}

/// A guest with a WebSocket and no page.
fn enter(daemon: &Daemon, link: &str, name: &str) -> WebSocket<TcpStream> {
    let (_, invite) = link.split_once('#').expect("an invite in the link");
    let stranger = http::Client::new(daemon.http());
    let session = stranger.post_json("/api/auth/guest", &json!({"invite": invite, "name": name}));
    let session = session.ok();
    let token = session["access_token"].as_str().expect("a token");
    stranger
        .with_token(token)
        .post("/api/rooms/lobby/join")
        .ok();
    let stream = TcpStream::connect(daemon.http()).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let url = format!("ws://{}/api/ws/rooms/lobby?token={token}", daemon.http());
    client(url, stream).expect("an upgrade").0
}

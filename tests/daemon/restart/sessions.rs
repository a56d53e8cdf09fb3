//! Sessions of `parlor.v1` clients over an upgrade.

use serde_json::json;

use super::in_place::ready;
use crate::support::extended::Extended;
use crate::support::http::Client as Http;
use crate::support::socket::{self, Socket};
use crate::support::{Builder, Daemon, token};

const LOBBY: &str = "lobby";
const SECRET: &str = "a secret of thirty-two bytes or more";

fn start() -> Daemon {
    let builder = Builder::new().env("PARLOR_AUTH__SECRET", SECRET);
    builder.env("PARLOR_AUTH__PROVISION_USERS", "true").start()
}

fn join(daemon: &Daemon, user: &str) -> String {
    let token = token(SECRET, user);
    let caller = Http::new(daemon.http()).with_token(&token);
    caller.post(&format!("/api/rooms/{LOBBY}/join")).ok();
    token
}

fn enter(daemon: &Daemon, user: &str) -> Extended {
    Extended::begin(daemon.http(), LOBBY, &join(daemon, user))
}

fn enter_plain(daemon: &Daemon, user: &str, query: &str) -> Socket {
    let opened = socket::open(daemon.http(), LOBBY, &join(daemon, user), query);
    let mut socket = opened.expect("an upgrade");
    assert!(socket::has_entered(&mut socket));
    socket
}

fn upgrade(daemon: &Daemon) {
    daemon.signal("USR2");
    ready(daemon, 2);
}

#[test]
fn sessions_continue_in_another_binary() {
    let daemon = start();
    let mut plain = enter_plain(&daemon, "carol", "");
    let mut bob = enter(&daemon, "bob");
    let mut alice = enter(&daemon, "alice");
    assert_eq!(bob.read()["from"], "alice");
    let muted = json!({"type": "update", "from": "", "roomId": "", "data": {"muted": true}});
    alice.send_frame(&muted);
    assert_eq!(alice.read()["data"]["state"]["muted"], true);
    assert_eq!(bob.read()["type"], "participant-updated");
    let first = json!({"type": "message", "id": "1", "from": "", "roomId": "", "to": "bob", "data": "first"});
    alice.send_frame(&first);
    assert_eq!(alice.read()["ref"], "1");
    bob.reads("first");
    // Bob is away when the process ends.
    bob.lose();
    alice.send("bob", "before the upgrade");
    upgrade(&daemon);
    assert_eq!(socket::close_code(&mut alice.socket), 1012);
    assert_eq!(socket::close_code(&mut plain), 1012);
    assert_eq!(alice.resume(daemon.http()), 0);
    assert_eq!(bob.resume(daemon.http()), 1);
    bob.reads("before the upgrade");
    // An acknowledged frame is not delivered again.
    alice.send_frame(&first);
    assert_eq!(alice.read()["ref"], "1");
    alice.send("bob", "after the upgrade");
    bob.reads("after the upgrade");
    // A plain client returns without notice; one that speaks `parlor.v1` gets its state.
    let _plain = enter_plain(&daemon, "carol", "&resume=1");
    for client in [&mut alice, &mut bob] {
        let updated = client.read();
        assert_eq!(
            (&updated["type"], &updated["from"]),
            (&json!("participant-updated"), &json!("carol"))
        );
    }
    let dora = enter(&daemon, "dora");
    drop(dora);
    assert_eq!(alice.read()["from"], "dora");
    assert_eq!(bob.read()["from"], "dora");
}

#[test]
fn a_session_that_does_not_return_after_an_upgrade_ends() {
    let builder = Builder::new().env("PARLOR_AUTH__SECRET", SECRET);
    let builder = builder.env("PARLOR_AUTH__PROVISION_USERS", "true");
    let daemon = builder.env("PARLOR_SIGNALING__RESUME_GRACE", "2s").start();
    let mut alice = enter(&daemon, "alice");
    let _bob = enter(&daemon, "bob");
    assert_eq!(alice.read()["from"], "bob");
    upgrade(&daemon);
    assert_eq!(socket::close_code(&mut alice.socket), 1012);
    alice.resume(daemon.http());
    let left = alice.read();
    assert_eq!(
        (&left["type"], &left["data"]["reason"]),
        (&json!("user-left"), &json!("lost"))
    );
}

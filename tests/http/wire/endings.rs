//! Closing by what happens elsewhere: replaced, left, removed, expired, stopped.

use serde_json::json;

use crate::wire::world::{LOBBY, World, now, offer, presence};

#[test]
fn the_newer_connection_of_a_user_wins() {
    let world = World::start();
    let [mut older, mut bob] = world.lobby(["alice", "bob"]);
    let mut newer = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(older.close_code(), 4009);
    older.ends();
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
    assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
    older.vanish();
    newer.send(&offer("alice", None, "from the newer one"));
    assert_eq!(bob.read(), offer("alice", None, "from the newer one"));
    bob.send(&offer("bob", Some("alice"), "to the newer one"));
    assert_eq!(
        newer.read(),
        offer("bob", Some("alice"), "to the newer one")
    );
}

#[test]
fn tabs_that_replace_each_other_stop_after_three_replacements() {
    let world = World::start();
    let [mut tab, mut bob] = world.lobby(["alice", "bob"]);
    for _ in 0..3 {
        let newer = world.connect(LOBBY, &world.token("alice"));
        assert_eq!(tab.close_code(), 4009);
        assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
        assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
        tab = newer;
    }
    let mut newcomer = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(newcomer.close_code(), 4009);
    newcomer.ends();
    tab.send(&offer("alice", None, "established"));
    assert_eq!(bob.read(), offer("alice", None, "established"));
}

#[test]
fn leaving_the_room_closes_the_connection_with_4003() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    world.leave(LOBBY, "alice");
    assert_eq!(alice.close_code(), 4003);
    alice.ends();
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn a_membership_that_ends_outside_closes_with_4003() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    world.write_outside(
        "UPDATE room_participants SET left_at = '2026-01-01T00:00:00Z' WHERE user_id = 'alice'",
    );
    assert_eq!(alice.close_code(), 4003);
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn disabling_a_user_closes_every_connection_with_4005() {
    let world = World::start();
    world.room("attic");
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    let mut in_attic = world.enter("attic", "alice");
    world.write_outside("UPDATE users SET disabled_at = '2026-01-01T00:00:00Z' WHERE id = 'alice'");
    assert_eq!(alice.close_code(), 4005);
    assert_eq!(in_attic.close_code(), 4005);
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn closing_a_room_closes_its_connections_with_4004() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    world.write_outside("UPDATE coworking_rooms SET closed_at = '2026-01-01T00:00:00Z'");
    assert_eq!(alice.close_code(), 4004);
    assert_eq!(bob.close_code(), 4004);
}

#[test]
fn deleting_a_room_over_http_closes_its_connections_with_4004_and_no_others() {
    let world = World::start();
    world.room("attic");
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    let [mut carol, mut dave] = ["carol", "dave"].map(|user| world.enter("attic", user));
    assert_eq!(carol.read(), presence("user-joined", "dave", "attic"));
    world.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let root = world.daemon.cli_json(&["token", "issue", "root"]);
    let root = world.http(root["token"].as_str().expect("a token"));
    root.send("DELETE", "/api/rooms/lobby", &[], b"").ok();
    for closed in [&mut alice, &mut bob] {
        assert_eq!(closed.close_code(), 4004);
        closed.ends();
    }
    let mut late = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(late.close_code(), 4004);
    carol.send(&offer("carol", Some("dave"), "still here"));
    let mut heard = offer("carol", Some("dave"), "still here");
    heard["roomId"] = json!("attic");
    assert_eq!(dave.read(), heard);
}

#[test]
fn commands_close_the_connections_of_whom_and_what_they_take_away() {
    let world = World::start();
    let rooms = ["attic", "cellar"];
    rooms.iter().for_each(|room| world.room(room));
    let [mut alice, mut bob, mut carol] = world.lobby(["alice", "bob", "carol"]);
    let [mut in_attic, mut in_cellar] = rooms.map(|room| world.enter(room, "carol"));
    for (command, closed, code) in [
        (["user", "disable", "alice"], &mut alice, 4005),
        (["user", "delete", "bob"], &mut bob, 4005),
        (["room", "close", "attic"], &mut in_attic, 4004),
        (["room", "delete", "cellar"], &mut in_cellar, 4004),
    ] {
        world.daemon.cli_json(&command);
        assert_eq!(closed.close_code(), code, "{command:?}");
    }
    assert_eq!(carol.read(), presence("user-left", "alice", LOBBY));
    assert_eq!(carol.read(), presence("user-left", "bob", LOBBY));
    let mut disabled = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(disabled.close_code(), 4005);
    world.daemon.cli_json(&["user", "enable", "alice"]);
    let issued = world.daemon.cli_json(&["token", "issue", "alice"]);
    let mut again = world.connect(LOBBY, issued["token"].as_str().expect("a token"));
    assert_eq!(carol.read(), presence("user-joined", "alice", LOBBY));
    again.send(&offer("alice", Some("carol"), "back"));
    assert_eq!(carol.read(), offer("alice", Some("carol"), "back"));
}

#[test]
fn a_guests_connection_ends_with_the_token() {
    let world = World::with(&[("PARLOR_AUTH__TOKEN_TTL", "4s")]);
    let token = world.join_as_guest();
    let mut connection = world.connect(LOBBY, &token);
    assert_eq!(connection.close_code(), 4001);
    connection.ends();
}

#[test]
fn a_plain_connection_outlives_its_token() {
    let world = World::start();
    let [mut bob] = world.lobby(["bob"]);
    world.join(LOBBY, "alice");
    let expires = now() + 4;
    let mut alice = world.connect(LOBBY, &world.token_for("alice", 4));
    assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
    // The clock is what is tested here.
    while now() <= expires {
        alice.send(&offer("alice", None, "still here"));
        assert_eq!(bob.read(), offer("alice", None, "still here"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    alice.send(&offer("alice", None, "and after"));
    assert_eq!(bob.read(), offer("alice", None, "and after"));
}

#[test]
fn a_plain_connection_ends_with_its_token_where_that_is_enforced() {
    let world = World::with(&[("PARLOR_AUTH__ENFORCE_EXPIRY", "true")]);
    world.join(LOBBY, "alice");
    let mut alice = world.connect(LOBBY, &world.token_for("alice", 2));
    assert_eq!(alice.close_code(), 4001);
    alice.ends();
}

#[test]
fn stopping_the_server_closes_with_1001_and_ends_with_0() {
    let world = World::start();
    let mut clients = world.lobby(["alice", "bob", "carol"]);
    world.daemon.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.close_code(), 1001);
        client.ends();
    }
    drop(clients);
    assert!(world.daemon.stop().success());
}

//! Kicks and bans as clients see them, and the visibility of rooms.

use super::*;

/// A guest's token and id.
fn enter(fixture: &Fixture, invite: &str, name: &str) -> (String, String) {
    let body = json!({"room": "r1", "invite": invite, "name": name});
    let entered = fixture.client.post_json("/api/auth/guest", &body).ok();
    (text(&entered["access_token"]), text(&entered["user"]["id"]))
}

fn join(fixture: &Fixture, token: &str) -> Answer {
    fixture.client.with_token(token).post("/api/rooms/r1/join")
}

#[test]
fn a_kicked_user_is_refused_until_the_pause_is_over() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let token = sign(&claims(&fixture.user("alice")));
    join(&fixture, &token).ok();
    let mut socket = fixture.connect("r1", &token);
    let kicked = fixture.daemon.cli_json(&["room", "kick", "r1", "alice"]);
    assert_eq!(kicked["pause"], json!(30));
    assert_eq!(close_code(&mut socket), 4005);
    let early = join(&fixture, &token);
    assert_eq!(refused(&early), is(403, "kicked"));
    let wait: u64 = early.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(close_code(&mut fixture.connect("r1", &token)), 4005);

    fixture.sql("UPDATE room_participants SET kicked_until = '2020-01-01T00:00:00Z'");
    assert_eq!(close_code(&mut fixture.connect("r1", &token)), 4003);
    join(&fixture, &token).ok();
}

#[test]
fn an_admin_ends_the_pause_by_adding_the_member_again() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    fixture.user("alice");
    fixture
        .daemon
        .cli_json(&["room", "add-member", "r1", "alice"]);
    fixture.daemon.cli_json(&["room", "kick", "r1", "alice"]);
    fixture
        .daemon
        .cli_json(&["room", "add-member", "r1", "alice"]);
    fixture.daemon.cli_json(&["room", "ban", "r1", "alice"]);
    let again = fixture.daemon.cli(&["room", "add-member", "r1", "alice"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("`parlor room unban` ends the ban"), "{said}");
}

#[test]
fn a_ban_holds_over_a_restart_and_until_it_is_ended() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let token = sign(&claims(&fixture.user("alice")));
    join(&fixture, &token).ok();
    let mut socket = fixture.connect("r1", &token);
    let ban = [
        "room", "ban", "r1", "alice", "--reason", "noise", "--until", "7d",
    ];
    fixture.daemon.cli_json(&ban);
    assert_eq!(close_code(&mut socket), 4005);
    fixture.daemon.signal("KILL");
    let Fixture { daemon, client } = fixture;
    let fixture = Fixture {
        daemon: daemon.restart(),
        client,
    };
    let alice = fixture.client.with_token(&token);
    let banned = is(403, "banned");
    assert_eq!(refused(&join(&fixture, &token)), banned);
    assert_eq!(close_code(&mut fixture.connect("r1", &token)), 4005);
    for path in ["", "/participants", "/messages"] {
        let answer = alice.get(&format!("/api/rooms/r1{path}"));
        assert_eq!(refused(&answer), banned, "{path}");
    }
    alice.get("/api/rooms/lobby").ok();
    let bans = fixture.daemon.cli_json(&["room", "bans", "r1"]);
    assert_eq!(bans[0]["reason"], json!("noise"));
    assert_eq!(bans[0]["user"]["name"], json!("alice"));
    fixture.daemon.cli_json(&["room", "unban", "r1", "alice"]);
    assert_eq!(fixture.daemon.cli_json(&["room", "bans", "r1"]), json!([]));
    join(&fixture, &token).ok();
}

#[test]
fn a_ban_that_is_over_refuses_nobody() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let token = sign(&claims(&fixture.user("alice")));
    fixture
        .daemon
        .cli_json(&["room", "ban", "r1", "alice", "--until", "1h"]);
    assert_eq!(refused(&join(&fixture, &token)), is(403, "banned"));
    fixture.sql("UPDATE room_bans SET expires_at = '2020-01-01T00:00:00Z'");
    join(&fixture, &token).ok();
}

#[test]
fn a_guests_ban_revokes_the_invite_and_spares_its_other_guests() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--private"]);
    let invite = fixture.invite("r1", &[]);
    let (mallory, id) = enter(&fixture, &invite, "Mallory");
    let (dora, _) = enter(&fixture, &invite, "Dora");
    join(&fixture, &mallory).ok();
    join(&fixture, &dora).ok();
    let mut socket = fixture.connect("r1", &dora);
    let output = fixture.daemon.cli(&["room", "ban", "r1", "Mallory"]);
    let (said, remarks) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    let expected = format!("Banned guest Mallory (id {id}) from r1: 0 connections closed");
    assert!(said.starts_with(&expected), "{said}");
    assert!(remarks.contains("`parlor invite create r1`"), "{remarks}");

    assert_eq!(refused(&join(&fixture, &mallory)), is(403, "banned"));
    let newcomer = fixture.enter("r1", &invite);
    assert_eq!(refused(&newcomer), is(403, "invite-withdrawn"));
    let words = "This invite was revoked; ask for a new one";
    assert_eq!(newcomer.json()["detail"], json!(words));
    let user = fixture.caller("alice");
    let opened = user.post_json("/api/rooms/r1/join", &json!({"invite": invite}));
    assert_eq!(refused(&opened), is(403, "invite-withdrawn"));

    join(&fixture, &dora).ok();
    assert_eq!(members(&fixture.client.with_token(&dora), "r1").len(), 1);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.read(&mut [0]).is_err(), "dora stays connected");
    fixture.enter("r1", &fixture.invite("r1", &[])).ok();
}

#[test]
fn a_kept_invite_still_admits_others() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let invite = fixture.invite("r1", &[]);
    let (mallory, id) = enter(&fixture, &invite, "Mallory");
    let ban = ["room", "ban", "r1", &id, "--keep-invite"];
    let banned = fixture.daemon.cli_json(&ban);
    assert_eq!(banned["invite_revoked"], json!(false));
    assert_eq!(refused(&join(&fixture, &mallory)), is(403, "banned"));
    fixture.enter("r1", &invite).ok();
}

#[test]
fn a_private_room_looks_nonexistent_to_other_users() {
    let fixture = Fixture::new();
    fixture.room("den", &["--private", "--max-participants", "1"]);
    fixture.user("bob");
    fixture
        .daemon
        .cli_json(&["room", "add-member", "den", "bob"]);
    let alice = fixture.caller("alice");
    let read_room = |room: &str| {
        let path = format!("/api/rooms/{room}");
        let to = |method: &str, rest: &str, body: &str| {
            let kind = [("Content-Type", "application/json")];
            let answer = alice.send(method, &format!("{path}{rest}"), &kind, body.as_bytes());
            (answer.status, answer.body)
        };
        [
            to("GET", "", ""),
            to("PATCH", "", r#"{"name": "Mine"}"#),
            to("DELETE", "", ""),
            to("GET", "/participants", ""),
            to("GET", "/messages", ""),
            to("POST", "/messages", r#"{"content": "hello"}"#),
            to("GET", "/invites", ""),
            to("POST", "/invites", "{}"),
            to("DELETE", "/invites/x", ""),
            to("POST", "/join", ""),
            to("POST", "/join", r#"{"invite": "wrong"}"#),
            to("POST", "/leave", ""),
            {
                let answer = alice.get(&format!("/api/ice-servers?room={room}"));
                (answer.status, answer.body)
            },
        ]
    };
    let nowhere = read_room("nowhere");
    for (status, body) in &nowhere {
        let body = String::from_utf8_lossy(body);
        assert!(matches!(status, 404 | 403), "{status} {body}");
        assert!(*status == 404 || body.contains("bad-invite"), "{body}");
    }
    assert_eq!(read_room("den"), nowhere);
    fixture.daemon.cli_json(&["room", "close", "den"]);
    assert_eq!(read_room("den"), nowhere);
    let token = sign(&claims(&fixture.user("carol")));
    for room in ["den", "nowhere"] {
        assert_eq!(
            close_code(&mut fixture.connect(room, &token)),
            4003,
            "{room}"
        );
    }
    // Former members get the information that the room was closed.
    let bob = fixture.daemon.cli_json(&["user", "show", "bob"]);
    let bob = fixture.bearer(&text(&bob["id"]));
    let closed = is(410, "room-closed");
    assert_eq!(refused(&bob.get("/api/rooms/den")), closed);
}

#[test]
fn a_guest_learns_nothing_of_other_rooms() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    fixture.room("den", &["--private"]);
    fixture.room("open", &[]);
    let guest = fixture.guest("r1");
    for room in ["den", "open", "nowhere"] {
        for path in ["", "/participants", "/messages", "/invites"] {
            let answer = guest.get(&format!("/api/rooms/{room}{path}"));
            assert_eq!(
                refused(&answer),
                is(403, "not-for-this-room"),
                "{room}{path}"
            );
        }
        let answer = guest.post(&format!("/api/rooms/{room}/join"));
        assert_eq!(refused(&answer), is(403, "not-for-this-room"), "{room}");
    }
}

#[test]
fn an_admin_enters_private_rooms() {
    let fixture = Fixture::new();
    fixture.room("den", &["--private"]);
    let root = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let root = fixture.bearer(&text(&root["id"]));
    root.post("/api/rooms/den/join").ok();
    assert_eq!(members(&root, "den").len(), 1);
}

#[test]
fn a_disabled_user_takes_no_place_in_a_full_room() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--max-participants", "1"]);
    let (alice, bob) = (fixture.caller("alice"), fixture.caller("bob"));
    alice.post("/api/rooms/r1/join").ok();
    let full = bob.post("/api/rooms/r1/join");
    assert_eq!(refused(&full), is(409, "room-full"));
    fixture.daemon.cli_json(&["user", "disable", "alice"]);
    bob.post("/api/rooms/r1/join").ok();
    assert_eq!(members(&bob, "r1").len(), 1);
}

#[test]
fn an_invite_lives_no_longer_than_at_the_command_line() {
    let fixture = Fixture::new();
    let root = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let root = fixture.bearer(&text(&root["id"]));
    let make = |ttl: Value| root.post_json("/api/rooms/lobby/invites", &json!({"ttl": ttl}));
    for bad in [json!("36500d"), json!("3661d"), json!(0), json!(u64::MAX)] {
        assert_eq!(refused(&make(bad.clone())), is(400, "bad-request"), "{bad}");
    }
    assert_eq!(make(json!("3650d")).status, 201);
}

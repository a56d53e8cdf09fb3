//! Rooms listed, made, read, changed and closed over HTTP.

use super::*;

fn json_body(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    let kind = [("Content-Type", "application/json")];
    client.send(method, path, &kind, body.to_string().as_bytes())
}

fn patch(client: &Client, room: &str, body: &Value) -> Answer {
    json_body(client, "PATCH", &format!("/api/rooms/{room}"), body)
}

fn delete(client: &Client, room: &str) -> Answer {
    client.send("DELETE", &format!("/api/rooms/{room}"), &[], b"")
}

/// Makes a room and gives its id.
fn make(client: &Client, body: Value) -> String {
    text(&client.post_json("/api/rooms", &body).ok()["id"])
}

/// The names that somebody sees.
fn names(client: &Client, path: &str) -> Vec<String> {
    let listed = client.get(path).ok();
    let rooms = listed["rooms"].as_array().expect("a list").iter();
    rooms.map(|room| text(&room["name"])).collect()
}

fn admin(fixture: &Fixture) -> Client {
    let admin = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    fixture.bearer(&text(&admin["id"]))
}

#[test]
fn any_user_makes_a_room_and_owns_it_under_both_names() {
    let fixture = Fixture::new();
    let id = fixture.user("alice");
    let alice = fixture.bearer(&id);
    for (prefix, name) in [("/api/rooms", "One"), ("/api/coworking/rooms", "Two")] {
        let body = json!({"name": name, "private": true, "max_participants": 3});
        let made = alice.post_json(prefix, &body);
        assert_eq!(made.status, 201);
        let made = made.ok();
        assert_eq!(
            (&made["name"], &made["private"], &made["max_participants"]),
            (&json!(name), &json!(true), &json!(3))
        );
        assert_eq!(
            (&made["owner_id"], &made["connected"]),
            (&json!(id), &json!(0))
        );
        let read = alice.get(&format!("{prefix}/{}", text(&made["id"]))).ok();
        assert_eq!(read, made);
        assert!(names(&alice, prefix).contains(&name.to_owned()));
    }
    let plain = alice
        .post_json("/api/rooms", &json!({"name": "Three"}))
        .ok();
    assert_eq!(
        (&plain["private"], &plain["max_participants"]),
        (&json!(false), &Value::Null)
    );
}

#[test]
fn a_room_that_cannot_be_made_says_why() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    make(&alice, json!({"name": "Taken"}));
    let post = |body: Value| refused(&alice.post_json("/api/rooms", &body));
    assert_eq!(post(json!({"name": "Taken"})), is(409, "name-taken"));
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": " "}),
        json!({"name": "a\u{7}b"}),
        json!({"name": "x".repeat(129)}),
        json!({"name": 7}),
        json!({"name": "A", "max_participants": 0}),
        json!({"name": "A", "max_participants": 1_000_001}),
        json!({"name": "A", "max_participants": -1}),
        json!({"name": "A", "is_private": true}),
        json!({"name": "A", "private": null}),
        json!([]),
        Value::Null,
    ] {
        assert_eq!(post(bad.clone()), is(400, "bad-request"), "{bad}");
    }
    let plain = alice.send("POST", "/api/rooms", &[], b"{\"name\": \"A\"}");
    assert_eq!(refused(&plain), is(415, "unsupported-media-type"));
    let nobody = fixture
        .client
        .post_json("/api/rooms", &json!({"name": "A"}));
    assert_eq!(refused(&nobody), is(401, "unauthorized"));
}

#[test]
fn guests_and_tokens_for_certain_rooms_make_no_rooms() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let bound = Claims {
        rooms: Some(vec!["r1".to_owned()]),
        ..claims(&fixture.user("alice"))
    };
    for somebody in [fixture.guest("r1"), fixture.claiming(bound)] {
        let answer = somebody.post_json("/api/rooms", &json!({"name": "Mine"}));
        assert_eq!(refused(&answer), is(403, "forbidden"));
    }
}

#[test]
fn only_admins_make_rooms_where_that_is_configured() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_ROOMS__CREATE", "admins"));
    let answer = fixture
        .caller("alice")
        .post_json("/api/rooms", &json!({"name": "Mine"}));
    assert_eq!(refused(&answer), is(403, "forbidden"));
    make(&admin(&fixture), json!({"name": "Ours"}));
}

#[test]
fn a_user_makes_rooms_only_so_fast_and_so_many() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    let mut made = 0;
    let refusal = loop {
        let answer = alice.post_json("/api/rooms", &json!({"name": format!("Room {made}")}));
        if answer.status != 201 {
            break answer;
        }
        made += 1;
        assert!(made < 500, "no end to it");
    };
    assert_eq!(refused(&refusal), is(429, "too-many-requests"));
    assert_eq!(refusal.header("retry-after"), Some("1"));
    let bob = fixture.user("bob");
    fixture.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO coworking_rooms (id, name, owner_id, created_at)
         SELECT 'b' || i, 'b' || i, '{bob}', '2026-01-01T00:00:00Z' FROM n"
    ));
    let bob = fixture.bearer(&bob);
    let one_more = bob.post_json("/api/rooms", &json!({"name": "One more"}));
    assert_eq!(refused(&one_more), is(409, "too-many-rooms"));
    delete(&bob, "b1").ok();
    make(&bob, json!({"name": "One more"}));
}

#[test]
fn private_rooms_are_seen_by_members_the_owner_and_admins_alone() {
    let fixture = Fixture::new();
    let (alice, bob, carol) = (
        fixture.caller("alice"),
        fixture.user("bob"),
        fixture.caller("carol"),
    );
    let id = make(&alice, json!({"name": "Den", "private": true}));
    fixture.daemon.cli_json(&["room", "add-member", &id, "bob"]);
    let path = format!("/api/rooms/{id}");
    for insider in [&alice, &fixture.bearer(&bob), &admin(&fixture)] {
        assert_eq!(names(insider, "/api/rooms"), ["Den", "Lobby"]);
        assert_eq!(insider.get(&path).ok()["name"], json!("Den"));
    }
    assert_eq!(names(&carol, "/api/rooms"), ["Lobby"]);
    assert_eq!(refused(&carol.get(&path)), is(404, "not-found"));
    assert_eq!(refused(&carol.get("/api/rooms/none")), is(404, "not-found"));
    fixture.bearer(&bob).post(&format!("{path}/leave")).ok();
    assert_eq!(names(&fixture.bearer(&bob), "/api/rooms"), ["Lobby"]);
}

#[test]
fn guests_and_tokens_for_certain_rooms_see_no_others() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--private"]);
    fixture.room("r2", &[]);
    let bound = Claims {
        rooms: Some(vec!["r1".to_owned()]),
        ..claims(&fixture.user("alice"))
    };
    for somebody in [fixture.guest("r1"), fixture.claiming(bound)] {
        assert_eq!(names(&somebody, "/api/rooms"), ["r1"]);
        somebody.get("/api/rooms/r1").ok();
        for answer in [
            somebody.get("/api/rooms/r2"),
            patch(&somebody, "r2", &json!({"name": "Mine"})),
            delete(&somebody, "r2"),
        ] {
            assert_eq!(refused(&answer), is(403, "not-for-this-room"));
        }
        assert_eq!(refused(&delete(&somebody, "r1")), is(403, "forbidden"));
    }
}

#[test]
fn a_list_comes_in_pages_by_name() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    for name in ["Alpha & Co", "Beta", "Gamma"] {
        fixture.room(&name[..4], &[]);
        fixture.sql(&format!(
            "UPDATE coworking_rooms SET name = '{name}' WHERE id = '{}'",
            &name[..4]
        ));
    }
    let first = alice.get("/api/rooms?limit=1").ok();
    assert_eq!(first["next_after"], json!("Alpha & Co"));
    assert_eq!(
        names(&alice, "/api/rooms?limit=2&after=Alpha%20%26%20Co"),
        ["Beta", "Gamma"]
    );
    let last = alice.get("/api/rooms?limit=1&after=Gamma").ok();
    assert_eq!(last["rooms"][0]["name"], json!("Lobby"));
    assert_eq!(last["next_after"], Value::Null);
    for bad in ["0", "501", "-1", "many", ""] {
        let answer = alice.get(&format!("/api/rooms?limit={bad}"));
        assert_eq!(refused(&answer), is(400, "bad-request"), "{bad}");
    }
}

#[test]
fn the_owner_and_admins_change_a_room_and_nobody_else_does() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.caller("alice"), fixture.caller("bob"));
    let id = make(&alice, json!({"name": "Den", "max_participants": 5}));
    let renamed = patch(&alice, &id, &json!({"name": "Attic"})).ok();
    assert_eq!(
        (
            &renamed["name"],
            &renamed["max_participants"],
            &renamed["private"]
        ),
        (&json!("Attic"), &json!(5), &json!(false))
    );
    let change = json!({"private": true, "max_participants": null});
    let changed = patch(&admin(&fixture), &id, &change).ok();
    assert_eq!(
        (
            &changed["name"],
            &changed["max_participants"],
            &changed["private"]
        ),
        (&json!("Attic"), &Value::Null, &json!(true))
    );
    assert_eq!(alice.get(&format!("/api/rooms/{id}")).ok(), changed);
    bob.post("/api/rooms/lobby/join").ok();
    for (room, refusal) in [
        (id.as_str(), is(404, "not-found")),
        ("lobby", is(403, "forbidden")),
    ] {
        let answer = patch(&bob, room, &json!({"name": "Bob's"}));
        assert_eq!(refused(&answer), refusal);
        assert_eq!(refused(&delete(&bob, room)), refusal);
    }
    assert_eq!(
        refused(&patch(&alice, "none", &json!({}))),
        is(404, "not-found")
    );
}

#[test]
fn a_change_that_cannot_be_says_why_and_changes_nothing() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    let id = make(&alice, json!({"name": "Den"}));
    let before = alice.get(&format!("/api/rooms/{id}")).ok();
    let refusal = patch(&alice, &id, &json!({"private": true, "name": "Lobby"}));
    assert_eq!(refused(&refusal), is(409, "name-taken"));
    for bad in [
        json!({"name": null, "max_participants": "many"}),
        json!({"private": null}),
        json!({"name": null}),
        json!({"private": true, "max_participants": 0}),
        json!({"private": true, "name": " "}),
        json!({"private": true, "owner_id": "me"}),
    ] {
        assert_eq!(
            refused(&patch(&alice, &id, &bad)),
            is(400, "bad-request"),
            "{bad}"
        );
    }
    assert_eq!(alice.get(&format!("/api/rooms/{id}")).ok(), before);
    assert_eq!(patch(&alice, &id, &json!({"name": "Den"})).ok(), before);
}

#[test]
fn fewer_places_than_members_keep_newcomers_out_and_members_in() {
    let fixture = Fixture::new();
    let (alice, bob, carol) = (
        fixture.caller("alice"),
        fixture.caller("bob"),
        fixture.caller("carol"),
    );
    let id = make(&alice, json!({"name": "Den"}));
    let join = format!("/api/rooms/{id}/join");
    alice.post(&join).ok();
    bob.post(&join).ok();
    patch(&alice, &id, &json!({"max_participants": 1})).ok();
    assert_eq!(members(&alice, &id).len(), 2);
    bob.post(&join).ok();
    assert_eq!(refused(&carol.post(&join)), is(409, "room-full"));
}

#[test]
fn a_closed_room_is_gone_for_everybody_and_frees_its_name() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    let id = make(&alice, json!({"name": "Den"}));
    let path = format!("/api/rooms/{id}");
    alice.post(&format!("{path}/join")).ok();
    let closed = delete(&alice, &id).ok();
    assert_eq!(closed, json!({"success": true, "message": "Closed Den"}));
    delete(&alice, &id).ok();
    for answer in [
        alice.get(&path),
        alice.get(&format!("{path}/participants")),
        alice.post(&format!("{path}/join")),
        patch(&alice, &id, &json!({"name": "Again"})),
    ] {
        assert_eq!(refused(&answer), is(410, "room-closed"));
    }
    assert_eq!(names(&alice, "/api/rooms"), ["Lobby"]);
    make(&alice, json!({"name": "Den"}));
}

#[test]
fn a_closing_that_was_answered_survives_a_kill() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    let id = make(&alice, json!({"name": "Den"}));
    delete(&alice, &id).ok();
    fixture.daemon.signal("KILL");
    let _daemon = fixture.daemon.restart();
    assert_eq!(
        refused(&alice.get(&format!("/api/rooms/{id}"))),
        is(410, "room-closed")
    );
}

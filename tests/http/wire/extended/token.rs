//! Tokens that are handed in for the rest of a session.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use parlor::token::Claims;

use super::{frame, read_about_people};
use crate::tokens::sign_by_secret;
use crate::wire::world::{Client, LOBBY, SECRET, World, now, offer, sign};

const PATH: &str = "/api/ws/rooms/lobby";

/// A client with this token; also returns the data of the `welcome`.
fn enter_with(world: &World, user: &str, token: &str) -> (Client, Value) {
    world.join(LOBBY, user);
    let mut client = world.connect_extended_with(PATH, token);
    let welcome = client.read();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (client, welcome["data"].clone())
}

fn claims(user: &str, seconds: i64) -> Claims {
    Claims {
        sub: user.to_owned(),
        exp: (now() + seconds) as u64,
        ..Claims::default()
    }
}

/// A token as another program signs it.
fn foreign(claims: &Claims) -> String {
    let claims = serde_json::to_value(claims).expect("JSON");
    sign_by_secret(
        SECRET.as_bytes(),
        "HS256",
        &json!({"alg": "HS256"}),
        &claims,
    )
}

/// Hands in a token, and returns the answer.
fn hand_in(client: &mut Client, token: &str) -> Value {
    let mut frame = frame("token", None, &json!({"token": token}));
    // Its end is another one for each token of a test.
    let id = &token[token.len() - 10..];
    frame["id"] = id.into();
    client.send(&frame);
    let answer = client.read();
    assert_eq!(answer["ref"], id, "{answer}");
    answer
}

/// Hands in a token that is taken.
fn renews(client: &mut Client, token: &str) {
    let answer = hand_in(client, token);
    assert_eq!(answer["type"], "ack", "{answer}");
}

#[test]
fn a_connection_that_hands_in_a_fresh_token_outlives_the_first_one() {
    let world = World::start();
    let (mut alice, _) = enter_with(&world, "alice", &world.token_for("alice", 8));
    assert_eq!(alice.read()["type"], "token-expiring");
    let first_end = now() + 8;
    // Again a short one: the client is warned of its end as well.
    renews(&mut alice, &world.token_for("alice", 50));
    assert_eq!(alice.read()["type"], "token-expiring");
    renews(&mut alice, &world.token("alice"));
    let (mut bob, _) = world.enter_extended(LOBBY, "bob");
    assert_eq!(alice.read()["type"], "user-joined");
    // The clock is what is tested here.
    while now() <= first_end + 1 {
        alice.send(&offer("alice", None, "still here"));
        assert_eq!(bob.read()["data"]["sdp"], "still here");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    alice.send(&offer("alice", None, "and after"));
    assert_eq!(bob.read()["data"]["sdp"], "and after");
}

#[test]
fn a_shorter_token_ends_the_connection_earlier() {
    let world = World::start();
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    renews(&mut alice, &world.token_for("alice", 3));
    assert_eq!(alice.read()["type"], "token-expiring");
    assert_eq!(alice.close_code(), 4001);
}

#[test]
fn a_refused_token_leaves_the_earlier_one_with_its_end() {
    let world = World::start();
    world.join(LOBBY, "bob");
    let (mut alice, _) = enter_with(&world, "alice", &world.token_for("alice", 4));
    alice.send(&frame("token", None, &json!({"token": world.token("bob")})));
    assert_eq!(alice.close_code(), 4001);
}

#[test]
fn a_token_that_is_refused_is_answered_with_the_reason() {
    let world = World::start();
    world.join(LOBBY, "bob");
    let (mut alice, _) = world.enter_extended(LOBBY, "alice");
    let elsewhere = sign(&Claims {
        rooms: Some(vec!["attic".to_owned()]),
        ..claims("alice", 3600)
    });
    for (token, code) in [
        (world.token("bob"), "other-user"),
        (world.token("nobody-knows"), "other-user"),
        (world.token_for("alice", -1), "token-expired"),
        ("no token at all".to_owned(), "unauthorized"),
        (elsewhere, "not-for-this-room"),
    ] {
        let answer = hand_in(&mut alice, &token);
        assert_eq!(answer["type"], "error", "{answer}");
        assert_eq!(answer["data"]["code"], code);
    }
    // The token of an unknown user has made no user of it.
    let users = world.daemon.cli_json(&["user", "list"]);
    assert!(!users.to_string().contains("nobody-knows"), "{users}");
    for data in [json!({}), json!({"token": 7}), json!("text"), Value::Null] {
        alice.send(&frame("token", None, &data));
        assert_eq!(alice.read()["data"]["code"], "bad-data", "{data}");
    }
}

#[test]
fn no_token_keeps_the_connection_of_a_removed_user() {
    let world = World::start();
    for (user, command) in [
        ("alice", vec!["room", "ban", LOBBY, "alice"]),
        ("bob", vec!["user", "disable", "bob"]),
    ] {
        let (mut client, _) = world.enter_extended(LOBBY, user);
        world.daemon.cli_json(&command);
        let token = json!({"token": world.token(user)});
        client.send(&frame("token", None, &token));
        assert_eq!(client.close_code(), 4005, "{user}");
    }
}

#[test]
fn a_role_in_a_token_counts_only_at_the_connect() {
    let world = World::with(&[("PARLOR_AUTH__TRUST_ROLES", "true")]);
    let with_role = |user: &str, role: &str| {
        foreign(&Claims {
            role: Some(role.to_owned()),
            ..claims(user, 3600)
        })
    };
    let (mut alice, welcome) = enter_with(&world, "alice", &with_role("alice", "user"));
    assert_eq!(welcome["role"], "member");
    renews(&mut alice, &with_role("alice", "admin"));
    let (mut bob, welcome) = enter_with(&world, "bob", &with_role("bob", "admin"));
    assert_eq!(welcome["role"], "owner");
    assert_eq!(welcome["participants"][0]["role"], "member");
    assert_eq!(alice.read()["type"], "user-joined");
    // It falls, and does not rise again.
    bob.send(&frame(
        "token",
        None,
        &json!({"token": with_role("bob", "user")}),
    ));
    for client in [&mut alice, &mut bob] {
        let update = client.read();
        assert_eq!(update["type"], "participant-updated", "{update}");
        assert_eq!(update["data"]["role"], "member");
    }
    renews(&mut bob, &with_role("bob", "admin"));
    let (_carol, welcome) = world.enter_extended(LOBBY, "carol");
    let roles = welcome["participants"].as_array().expect("a list").iter();
    let roles: Vec<&Value> = roles.map(|one| &one["role"]).collect();
    assert_eq!(roles, ["member"; 3]);
}

#[test]
fn an_admin_by_token_loses_the_rights_and_the_protection_with_the_role() {
    let world = World::with(&[("PARLOR_AUTH__TRUST_ROLES", "true")]);
    let with_role = |role: &str| {
        let role = Some(role.to_owned());
        let claims = claims("bob", 3600);
        json!({"token": foreign(&Claims { role, ..claims })})
    };
    world.join(LOBBY, "olga");
    world
        .daemon
        .cli_json(&["room", "role", LOBBY, "olga", "owner"]);
    let token = with_role("admin");
    let (mut bob, _) = enter_with(&world, "bob", token["token"].as_str().expect("a token"));
    let mut requests = 0;
    // The answer to a request: "done", or the code of the error.
    let mut request_code = |kind: &str, data: &Value| {
        let mut request = frame(kind, None, data);
        requests += 1;
        request["id"] = json!(requests.to_string());
        bob.send(&request);
        loop {
            let answer = bob.read();
            if answer["type"] == "ack" {
                return json!("done");
            }
            if answer["type"] == "error" {
                return answer["data"]["code"].clone();
            }
        }
    };
    let olga = world.http(&world.token("olga"));
    let kick = || olga.post("/api/rooms/lobby/participants/bob/kick");
    assert_eq!(request_code("lock", &json!({"locked": true})), "done");
    assert_eq!(kick().json()["code"], "protected");
    for role in ["user", "admin"] {
        assert_eq!(request_code("token", &with_role(role)), "done", "{role}");
        assert_eq!(
            request_code("lock", &json!({"locked": false})),
            "forbidden",
            "{role}"
        );
    }
    kick().ok();
    assert_eq!(bob.close_code(), 4005);
}

#[test]
fn a_sign_out_elsewhere_is_judged_by_the_newest_token() {
    let world = World::start();
    let issued = |user: &str, seconds_ago: i64| {
        foreign(&Claims {
            iat: Some((now() - seconds_ago) as u64),
            ..claims(user, 3600)
        })
    };
    let (mut alice, _) = enter_with(&world, "alice", &issued("alice", 100));
    let (mut bob, _) = enter_with(&world, "bob", &issued("bob", 100));
    assert_eq!(alice.read()["type"], "user-joined");
    renews(&mut alice, &issued("alice", 10));
    let from = OffsetDateTime::from_unix_timestamp(now() - 50).expect("a time");
    let from = from.format(&Rfc3339).expect("a text");
    for user in ["alice", "bob"] {
        world.write_outside(&format!(
            "UPDATE users SET tokens_from = '{from}' WHERE id = '{user}'"
        ));
    }
    assert_eq!(bob.close_code(), 4001);
    let left = read_about_people(&mut alice);
    assert_eq!(
        (&left["type"], &left["from"]),
        (&json!("user-left"), &json!("bob"))
    );
    alice.send(&json!({"type": "dance", "from": 1, "roomId": 1}));
    assert_eq!(read_about_people(&mut alice)["type"], "error");
}

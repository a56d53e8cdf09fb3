//! Requests that are not what a route takes.

use super::*;

#[test]
fn bodies_that_are_not_what_a_route_takes_are_refused() {
    let house = House::with(|builder| builder.env("PARLOR_HTTP__MAX_BODY", "1000"));
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        let answer = house.client.send("POST", "/api/auth/guest", headers, body);
        answer.refusal()
    };
    let json = [("Content-Type", "application/json; charset=utf-8")];
    assert_eq!(post(&[], b"{}"), is(415, "unsupported-media-type"));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(post(&form, b"a=b"), is(415, "unsupported-media-type"));
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"room":1,"invite":"i","name":"n"}"#,
        "\u{feff}{}",
    ] {
        assert_eq!(
            post(&json, body.as_bytes()),
            is(400, "bad-request"),
            "{body}"
        );
    }
    assert_eq!(post(&json, &[0xff, 0xfe]), is(400, "bad-request"));
    assert_eq!(post(&json, &b" ".repeat(1001)), is(413, "too-large"));
    house.room("r1", &[]);
    let named = |name: &str| {
        let body = json!({"room": "r1", "invite": house.invite("r1", &[]), "name": name});
        house.client.post_json("/api/auth/guest", &body).refusal()
    };
    assert_eq!(named(""), is(400, "bad-request"));
    assert_eq!(named("\u{0}"), is(400, "bad-request"));
}

#[test]
fn a_join_takes_no_body_an_empty_one_and_what_existing_frontends_send() {
    let house = House::new();
    house.room("r1", &[]);
    let alice = house.caller("alice");
    let kind = [("Content-Type", "application/json")];
    let join = |headers: &[_], body: &[u8]| alice.send("POST", "/api/rooms/r1/join", headers, body);
    for body in ["", "{}", "null", r#"{"user_id":"x"}"#] {
        join(&kind, body.as_bytes()).ok();
    }
    join(&[], b"anything").ok();
    assert_eq!(refused(&join(&kind, b"{")), is(400, "bad-request"));
}

#[test]
fn unknown_rooms_paths_and_methods_are_told_apart() {
    let house = House::new();
    let alice = house.caller("alice");
    for path in [
        "/api/rooms/none/join",
        "/api/rooms/none/leave",
        "/api/rooms/a%20b/join",
    ] {
        assert_eq!(refused(&alice.post(path)), is(404, "not-found"), "{path}");
    }
    let looked = alice.get("/api/rooms/none/participants");
    assert_eq!(refused(&looked), is(404, "not-found"));
    assert_eq!(refused(&alice.get("/api/nothing")), is(404, "not-found"));
    let wrong = alice.get("/api/rooms/none/join");
    assert_eq!(refused(&wrong), is(405, "method-not-allowed"));
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[test]
fn a_pages_preflight_is_answered() {
    let house = House::new();
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let answer = house
        .client
        .send("OPTIONS", "/api/rooms/r1/join", &headers, b"");
    assert!((200..300).contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization")
    );
}

//! Requests that are not what a route takes.

use super::*;

#[test]
fn bodies_that_are_not_what_a_route_takes_are_refused() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_HTTP__MAX_BODY", "1000"));
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        let answer = fixture
            .client
            .send("POST", "/api/auth/guest", headers, body);
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
        "null",
        r#"{"room":1,"invite":"i","name":"n"}"#,
        r#"["r1","i","n"]"#,
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
    fixture.room("r1", &[]);
    let named = |name: &str| {
        let body = json!({"room": "r1", "invite": fixture.invite("r1", &[]), "name": name});
        fixture.client.post_json("/api/auth/guest", &body).refusal()
    };
    assert_eq!(named(""), is(400, "bad-request"));
    assert_eq!(named("\u{0}"), is(400, "bad-request"));
}

#[test]
fn a_join_takes_no_body_an_empty_one_and_what_existing_frontends_send() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let alice = fixture.caller("alice");
    let kind = [("Content-Type", "application/json")];
    let join = |headers: &[_], body: &[u8]| alice.send("POST", "/api/rooms/r1/join", headers, body);
    for body in ["", "{}", "null", r#"{"user_id":"x"}"#] {
        join(&kind, body.as_bytes()).ok();
    }
    join(&[], b"anything").ok();
    for body in ["{", "[]", r#"["an invite"]"#, r#"{"invite":1}"#] {
        let answer = join(&kind, body.as_bytes());
        assert_eq!(refused(&answer), is(400, "bad-request"), "{body}");
    }
}

#[test]
fn the_error_for_a_bad_body_repeats_nothing_of_it() {
    let fixture = Fixture::new();
    let admin = fixture.daemon.cli_json(&["user", "add", "root", "--admin"]);
    let admin = fixture.bearer(&text(&admin["id"]));
    let wrong = json!({"room": "lobby", "invite": {"SECRET": "x".repeat(9000)}, "name": 1,
                       "uses": "SECRET", "ttl": "SECRET"});
    for (path, wanted) in [
        (
            "/api/auth/guest",
            "The body must be a JSON object with `invite` and `name`",
        ),
        (
            "/api/rooms/lobby/join",
            "The body must be a JSON object with `invite` as text, if any",
        ),
        (
            "/api/rooms/lobby/invites",
            "The body must be a JSON object with `ttl` (such as `7d`) and `uses` (a number), if any",
        ),
    ] {
        let answer = admin.post_json(path, &wrong);
        assert_eq!(refused(&answer), is(400, "bad-request"), "{path}");
        assert_eq!(answer.json()["detail"], json!(wanted));
    }
}

#[test]
fn unknown_rooms_paths_and_methods_get_different_errors() {
    let fixture = Fixture::new();
    let alice = fixture.caller("alice");
    for path in [
        "/api/rooms/none/join",
        "/api/rooms/none/leave",
        "/api/rooms/a%20b/join",
        "/api/rooms/%ff/join",
        "/api/rooms/%zz/leave",
    ] {
        assert_eq!(refused(&alice.post(path)), is(404, "not-found"), "{path}");
    }
    for path in [
        "/api/rooms/none/participants",
        "/api/rooms/%ff/participants",
        "/api/ice-servers?room=%ff",
    ] {
        assert_eq!(refused(&alice.get(path)), is(404, "not-found"), "{path}");
    }
    assert_eq!(refused(&alice.get("/api/nothing")), is(404, "not-found"));
    let wrong = alice.get("/api/rooms/none/join");
    assert_eq!(refused(&wrong), is(405, "method-not-allowed"));
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[test]
fn a_pages_preflight_is_answered() {
    let fixture = Fixture::new();
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let answer = fixture
        .client
        .send("OPTIONS", "/api/rooms/r1/join", &headers, b"");
    assert!((200..300).contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization")
    );
}

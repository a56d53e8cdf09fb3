//! Tokens from before a sign-out, a new password or a disabling.

use super::login::{PASSWORD, without_kid};
use super::*;

/// The responses of all routes to an ended token.
fn assert_ended(fixture: &Fixture, token: &str, room: &str) {
    let client = fixture.client.with_token(token);
    let ended = is(401, "signed-out");
    assert_eq!(refused(&client.get("/api/auth/me")), ended);
    assert_eq!(refused(&client.post("/api/auth/refresh")), ended);
    let join = client.post(&format!("/api/rooms/{room}/join"));
    assert_eq!(refused(&join), ended);
    assert_eq!(close_code(&mut fixture.connect(room, token)), 4001);
}

fn token_of(answer: &Value) -> String {
    text(&answer["access_token"])
}

#[test]
fn a_new_password_ends_the_tokens_that_the_old_one_got() {
    let fixture = Fixture::new();
    fixture.member("alice");
    let old = token_of(&fixture.log_in("alice", PASSWORD).ok());
    let alice = fixture.client.with_token(&old);
    alice.post("/api/rooms/lobby/join").ok();
    let refreshed = token_of(&alice.post("/api/auth/refresh").ok());
    let mut socket = fixture.connect("lobby", &old);
    let mut passwd = fixture
        .daemon
        .command(&["user", "passwd", "alice", "--json"]);
    let output = passwd
        .env("PARLOR_PASSWORD", "another one")
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["connections"], json!(1));
    assert_eq!(close_code(&mut socket), 4001);
    assert_ended(&fixture, &old, "lobby");
    assert_ended(&fixture, &refreshed, "lobby");
    let fresh = token_of(&fixture.log_in("alice", "another one").ok());
    let alice = fixture.client.with_token(&fresh);
    alice.post("/api/rooms/lobby/join").ok();
    alice.post("/api/auth/refresh").ok();
}

#[test]
fn a_sign_out_ends_tokens_by_parlor_and_by_others() {
    let fixture = Fixture::new();
    let id = fixture.user("alice");
    let issue = ["token", "issue", "alice"];
    let own = text(&fixture.daemon.cli_json(&issue)["token"]);
    let at = |iat: Option<u64>| without_kid(&Claims { iat, ..claims(&id) });
    let (before, timeless) = (at(Some(now() - 10)), at(None));
    for token in [&own, &before, &timeless] {
        fixture.client.with_token(token).get("/api/auth/me").ok();
    }
    fixture.daemon.cli_json(&["user", "sign-out", "alice"]);
    for token in [&own, &before, &timeless, &at(Some(now()))] {
        assert_ended(&fixture, token, "lobby");
    }
    let after = at(Some(now() + 1));
    fixture.client.with_token(&after).get("/api/auth/me").ok();
    let own = text(&fixture.daemon.cli_json(&issue)["token"]);
    fixture.client.with_token(&own).get("/api/auth/me").ok();
}

#[test]
fn a_sign_out_holds_over_a_restart() {
    let fixture = Fixture::new();
    fixture.user("alice");
    let token = text(&fixture.daemon.cli_json(&["token", "issue", "alice"])["token"]);
    fixture.daemon.cli_json(&["user", "sign-out", "alice"]);
    fixture.daemon.signal("KILL");
    let Fixture { daemon, client } = fixture;
    let fixture = Fixture {
        daemon: daemon.restart(),
        client,
    };
    assert_ended(&fixture, &token, "lobby");
}

#[test]
fn an_enabled_user_gets_no_old_token_back() {
    let fixture = Fixture::new();
    fixture.user("alice");
    let token = text(&fixture.daemon.cli_json(&["token", "issue", "alice"])["token"]);
    fixture.daemon.cli_json(&["user", "disable", "alice"]);
    fixture.daemon.cli_json(&["user", "enable", "alice"]);
    assert_ended(&fixture, &token, "lobby");
}

#[test]
fn a_guest_is_signed_out_by_name() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let entered = fixture.enter("r1", &fixture.invite("r1", &[])).ok();
    let token = token_of(&entered);
    fixture
        .client
        .with_token(&token)
        .post("/api/rooms/r1/join")
        .ok();
    let mut socket = fixture.connect("r1", &token);
    fixture.daemon.cli_json(&["user", "sign-out", "Gast@r1"]);
    assert_eq!(close_code(&mut socket), 4001);
    assert_ended(&fixture, &token, "r1");
}

#[test]
fn a_sign_out_on_the_database_closes_what_the_daemon_serves() {
    let fixture = Fixture::new();
    fixture.user("alice");
    let token = text(&fixture.daemon.cli_json(&["token", "issue", "alice"])["token"]);
    let alice = fixture.client.with_token(&token);
    alice.post("/api/rooms/lobby/join").ok();
    let mut socket = fixture.connect("lobby", &token);
    let mut sign_out = fixture.daemon.command(&["user", "sign-out", "alice"]);
    let nowhere = fixture.daemon.data_dir().join("nowhere");
    let output = sign_out
        .env("PARLOR_ADMIN__SOCKET", nowhere)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(close_code(&mut socket), 4001);
    assert_ended(&fixture, &token, "lobby");
    // Later tokens stay valid.
    let token = text(&fixture.daemon.cli_json(&["token", "issue", "alice"])["token"]);
    let _socket = fixture.connect("lobby", &token);
}

//! In by a password, and on with a token that is about to expire.

use std::io::Write;
use std::process::Stdio;

use super::*;

pub(super) const PASSWORD: &str = "correct horse battery staple";

impl Fixture {
    /// A user who has a password; gives their id.
    pub(super) fn member(&self, name: &str) -> String {
        let id = self.user(name);
        let hash = parlor::password::hash(&parlor::secret::Secret::new(PASSWORD)).unwrap();
        self.sql(&format!(
            "UPDATE users SET password_hash = '{hash}' WHERE id = '{id}'"
        ));
        id
    }

    pub(super) fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = json!({"username": name, "password": password});
        self.client.post_json("/api/auth/login", &body)
    }

    fn form(&self, body: &str) -> Answer {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.client
            .send("POST", "/api/auth/login", &kind, body.as_bytes())
    }

    pub(super) fn with_answer(&self, answer: &Value) -> Client {
        self.client.with_token(&text(&answer["access_token"]))
    }
}

#[test]
fn a_password_opens_as_json_and_as_a_form() {
    let fixture = Fixture::new();
    let id = fixture.member("alice b");
    let form = format!(
        "grant_type=password&username=alice+b&password={}",
        PASSWORD.replace(' ', "%20")
    );
    for answer in [fixture.log_in("alice b", PASSWORD), fixture.form(&form)] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let entered = answer.ok();
        assert_eq!(entered["token_type"], json!("bearer"));
        assert_eq!(entered["expires_in"], json!(12 * 3600));
        assert_eq!(entered["user"]["id"], json!(id));
        let me = fixture.with_answer(&entered).get("/api/auth/me").ok();
        assert_eq!(
            (&me["id"], &me["role"], me.get("rooms")),
            (&json!(id), &json!("user"), None)
        );
    }
}

#[test]
fn a_password_given_to_the_command_is_the_one_that_opens() {
    let fixture = Fixture::new();
    let mut add = fixture
        .daemon
        .command(&["user", "add", "bob", "--admin", "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("parlor runs");
    let mut stdin = add.stdin.take().unwrap();
    stdin.write_all(b"from the pipe\n").unwrap();
    drop(stdin);
    assert!(add.wait().unwrap().success());
    let entered = fixture.log_in("bob", "from the pipe").ok();
    assert_eq!(entered["user"]["role"], json!("admin"));
}

#[test]
fn a_failed_login_does_not_say_why() {
    let fixture = Fixture::new();
    let id = fixture.member("alice");
    fixture.user("no-password");
    let bodies: Vec<_> = [
        fixture.log_in("alice", "wrong"),
        fixture.log_in("alice", ""),
        fixture.log_in("nobody", PASSWORD),
        fixture.log_in("no-password", PASSWORD),
        fixture.log_in("no-password", ""),
        // An id is no name.
        fixture.log_in(&id, PASSWORD),
        fixture.log_in("lobby", PASSWORD),
    ]
    .into_iter()
    .map(|answer| {
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(refused(&answer), is(401, "wrong-credentials"));
        answer.body
    })
    .collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[test]
fn only_the_right_password_learns_that_the_user_is_disabled() {
    let fixture = Fixture::new();
    fixture.member("alice");
    fixture.sql("UPDATE users SET disabled_at = '2020-01-01T00:00:00Z'");
    let answer = fixture.log_in("alice", PASSWORD);
    assert_eq!(refused(&answer), is(403, "user-disabled"));
    let answer = fixture.log_in("alice", "wrong");
    assert_eq!(refused(&answer), is(401, "wrong-credentials"));
    fixture.sql("UPDATE users SET deleted_at = '2020-01-01T00:00:00Z'");
    let answer = fixture.log_in("alice", PASSWORD);
    assert_eq!(refused(&answer), is(401, "wrong-credentials"));
}

#[test]
fn a_body_that_is_no_login_is_refused_without_repeating_it() {
    let fixture = Fixture::new();
    for body in ["username=alice", "password=x", "", "%ff", "a&b=&&="] {
        let answer = fixture.form(body);
        assert_eq!(refused(&answer), is(400, "bad-request"), "{body}");
    }
    let kind = [("Content-Type", "text/plain")];
    let answer = fixture.client.send("POST", "/api/auth/login", &kind, b"x");
    assert_eq!(refused(&answer), is(415, "unsupported-media-type"));
    let wrong = json!({"username": 5, "password": "hunter2"});
    let answer = fixture.client.post_json("/api/auth/login", &wrong);
    assert_eq!(refused(&answer), is(400, "bad-request"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
}

#[test]
fn attempts_at_one_name_are_limited_across_addresses() {
    let fixture = Fixture::new();
    fixture.member("alice");
    fixture.member("bob");
    // Fewer than an address may try at once.
    let limited = (0..25)
        .map(|_| fixture.log_in("alice", "guess"))
        .find(|answer| answer.status == 429)
        .expect("a limit");
    assert_eq!(refused(&limited), is(429, "too-many-attempts"));
    assert_eq!(limited.header("retry-after"), Some("6"));
    fixture.log_in("bob", PASSWORD).ok();
}

#[test]
fn other_clients_cannot_lock_out_a_known_device() {
    let fixture = Fixture::new();
    fixture.member("alice");
    fixture.member("bob");
    let with_device = |name: &str, password: &str, device: &Value| {
        let body = json!({"username": name, "password": password, "device_token": device});
        fixture.client.post_json("/api/auth/login", &body)
    };
    let device = fixture.log_in("alice", PASSWORD).ok()["device_token"].clone();
    let device_of_bob = fixture.log_in("bob", PASSWORD).ok()["device_token"].clone();
    // Time passes meanwhile, and the limiter may grant one more attempt.
    let is_limited = |attempt: &dyn Fn() -> Answer| (0..3).any(|_| attempt().status == 429);
    // Unknown devices use up the attempts of the name and of the address.
    let spent = (0..60).map(|n| fixture.form(&format!("username=alice&password={n}")).status);
    assert!(spent.filter(|status| *status == 429).count() > 20);
    assert!(is_limited(&|| fixture.log_in("alice", PASSWORD)));
    let renewed = with_device("alice", PASSWORD, &device).ok()["device_token"].clone();
    let form = format!(
        "username=alice&password={}&device_token={}",
        PASSWORD.replace(' ', "%20"),
        text(&renewed)
    );
    fixture.form(&form).ok();
    // Another user's token, or none: an unknown device.
    for other in [&device_of_bob, &json!("nonsense"), &json!(""), &Value::Null] {
        assert!(
            is_limited(&|| with_device("alice", PASSWORD, other)),
            "{other}"
        );
    }
    // Guessing on a known device has the same rate, and then counts as an unknown device.
    let guesses = (0..50).map(|_| with_device("alice", "guess", &renewed).status);
    let refused = guesses.filter(|status| *status == 429).count();
    assert!(refused > 20, "{refused}");
    // All tokens of one device count together.
    assert!(is_limited(&|| with_device("alice", PASSWORD, &device)));
}

#[test]
fn attempts_from_one_address_are_limited_across_names() {
    let fixture = Fixture::new();
    let guesses = (0..200).map(|n| fixture.form(&format!("username=u{n}")));
    let limited = guesses.filter(|answer| answer.status == 429).count();
    assert!(limited > 100, "{limited}");
}

#[test]
fn many_logins_at_once_are_all_answered() {
    let fixture = Fixture::new();
    fixture.member("alice");
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| fixture.log_in("alice", PASSWORD).status))
            .collect();
        for login in logins {
            assert_eq!(login.join().unwrap(), 200);
        }
    });
}

#[test]
fn neither_name_nor_password_of_a_login_is_logged() {
    let fixture = Fixture::new();
    fixture.member("alice");
    fixture.log_in("mallory-the-guesser", "a-secret-guess");
    fixture.log_in("alice", PASSWORD).ok();
    fixture.daemon.wait_for_log("wrong name or password");
    let log = fixture.daemon.log().concat();
    for secret in ["mallory-the-guesser", "a-secret-guess", PASSWORD] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn a_token_of_parlors_own_is_exchanged_for_a_fresh_one() {
    let fixture = Fixture::new();
    let id = fixture.user("alice");
    let old = Claims {
        exp: now() + 60,
        ..claims(&id)
    };
    let fresh = fixture.claiming(old).post("/api/auth/refresh").ok();
    assert_eq!(fresh["expires_in"], json!(12 * 3600));
    assert_eq!(fresh["user"]["name"], json!("alice"));
    let me = fixture.with_answer(&fresh).get("/api/auth/me").ok();
    assert_eq!(me["id"], json!(id));
}

#[test]
fn a_fresh_token_is_for_the_same_rooms() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    fixture.room("r2", &[]);
    let named = Claims {
        rooms: Some(vec!["r1".into()]),
        ..claims(&fixture.user("alice"))
    };
    let fresh = fixture.claiming(named).post("/api/auth/refresh").ok();
    let alice = fixture.with_answer(&fresh);
    alice.post("/api/rooms/r1/join").ok();
    let elsewhere = alice.post("/api/rooms/r2/join");
    assert_eq!(refused(&elsewhere), is(403, "not-for-this-room"));
}

#[test]
fn a_guests_fresh_token_ends_when_their_time_does() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let entered = fixture.enter("r1", &fixture.invite("r1", &[])).ok();
    let guest = fixture.with_answer(&entered);
    let until = text(&guest.get("/api/auth/me").ok()["expires_at"]);
    let fresh = fixture.with_answer(&guest.post("/api/auth/refresh").ok());
    let me = fresh.get("/api/auth/me").ok();
    assert_eq!(
        (&me["expires_at"], &me["rooms"]),
        (&json!(until), &json!(["r1"]))
    );
    fixture
        .sql("UPDATE users SET guest_until = '2020-01-01T00:00:00Z' WHERE guest_until IS NOT NULL");
    let late = fresh.post("/api/auth/refresh");
    assert_eq!(refused(&late), is(401, "token-expired"));
}

#[test]
fn a_user_without_access_gets_no_fresh_token() {
    let fixture = Fixture::new();
    let alice = fixture.user("alice");
    let refresh = "/api/auth/refresh";
    let expired = Claims {
        exp: now() - 1,
        ..claims(&alice)
    };
    let late = fixture.claiming(expired).post(refresh);
    assert_eq!(refused(&late), is(401, "token-expired"));
    let none = fixture.client.post(refresh);
    assert_eq!(refused(&none), is(401, "unauthorized"));
    fixture.sql("UPDATE users SET disabled_at = '2020-01-01T00:00:00Z'");
    let disabled = fixture.bearer(&alice).post(refresh);
    assert_eq!(refused(&disabled), is(403, "user-disabled"));
}

#[test]
fn somebody_elses_token_is_not_renewed_here() {
    let fixture = Fixture::new();
    let alice = fixture.user("alice");
    // An existing backend shares the secret, and knows nothing of parlor's `kid`.
    let foreign = without_kid(&claims(&alice));
    let client = fixture.client.with_token(&foreign);
    client.get("/api/auth/me").ok();
    let answer = client.post("/api/auth/refresh");
    assert_eq!(refused(&answer), is(403, "foreign-token"));
}

/// The claims under the shared secret, as another program signs them.
pub(super) fn without_kid(claims: &Claims) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::hmac;
    let claims = serde_json::to_vec(claims).unwrap();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

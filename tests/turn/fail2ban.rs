//! The filter in `docs/run/fail2ban` matches exactly the guesses in a real log. Uses `fail2ban-regex` (Debian
//! package `fail2ban`).

use std::fs;
use std::process::Command;

use parlor::stun::Method;

use crate::support::turn::{Client, SECRET};
use crate::support::{Builder, Daemon, http};

/// The log of a daemon, whose secret the clients do not know, after guessed credentials, a wrong login, and
/// correct requests.
fn log_of_guesses(format: &str) -> Vec<String> {
    let daemon = Builder::new()
        .env("PARLOR_LOG__FORMAT", format)
        .env("PARLOR_LOG__LEVEL", "debug")
        .env("PARLOR_TURN__LISTEN", "127.0.0.1:0,[::1]:0")
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "0")
        .start();
    for server in daemon.all("turn-udp") {
        let mut guesser = Client::udp(*server, "alice", None);
        assert_eq!(guesser.allocate().code(), Some(401));
        // An address that has not returned a nonce may be forged.
        guesser.nonce = b"nobody gave me one".to_vec();
        let answer = guesser.request(Method::REFRESH, &[]);
        assert_eq!(answer.code(), Some(401));
    }
    login(&daemon);
    daemon.wait_for_log("login refused");
    daemon.wait_for_log("bad credential and nonce");
    daemon.log()
}

fn login(daemon: &Daemon) {
    let body = serde_json::json!({"username": "nobody", "password": "a wrong password"});
    let answer = http::Client::new(daemon.http()).post_json("/api/auth/login", &body);
    assert_eq!(answer.status, 401);
}

/// The lines of a log that the filter matches.
fn found(log: &[String], prefix: &str, more: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    let lines: Vec<_> = log.iter().map(|line| format!("{prefix}{line}\n")).collect();
    fs::write(&file, lines.concat()).unwrap();
    let filter = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/run/fail2ban/filter.d/parlor.conf"
    );
    let output = Command::new("fail2ban-regex")
        .args(["--out", "<ip> <msg>"])
        .args(more)
        .args([file.as_os_str(), filter.as_ref()])
        .output()
        .expect("fail2ban-regex: apt-get install fail2ban");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn finds_the_guesses(format: &str) {
    let log = log_of_guesses(format);
    let addresses = ["127.0.0.1", "::1", "127.0.0.1"];
    let of_file = found(&log, "", &[]);
    let of_journal = found(
        &log,
        "1700000000 host parlor[7]: ",
        &["--datepattern", "^Epoch"],
    );
    for found in [of_file, of_journal] {
        let hosts: Vec<_> = found
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(hosts, addresses, "{log:#?}");
    }
}

#[test]
fn the_filter_finds_guesses_in_text() {
    finds_the_guesses("text");
}

#[test]
fn the_filter_finds_guesses_in_json() {
    finds_the_guesses("json");
}

#[test]
fn the_filter_never_matches_a_trusted_proxy() {
    for format in ["text", "json"] {
        let daemon = Builder::new()
            .env("PARLOR_LOG__FORMAT", format)
            .env("PARLOR_LOG__LEVEL", "debug")
            .env("PARLOR_HTTP__TRUSTED_PROXIES", "127.0.0.0/8")
            .start();
        let client = http::Client::new(daemon.http());
        let guess = |more: &[(&str, &str)]| {
            let kind = ("Content-Type", "application/x-www-form-urlencoded");
            let headers = [&[kind][..], more].concat();
            let body = b"username=nobody&password=wrong";
            let answer = client.send("POST", "/api/auth/login", &headers, body);
            assert_eq!(answer.status, 401);
        };
        for more in [
            &[][..],
            &[("X-Forwarded-For", "unknown")],
            &[("Forwarded", "for=_hidden")],
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("Forwarded", "for=192.0.2.2"),
            ],
            &[("X-Forwarded-For", "127.0.0.3")],
        ] {
            guess(more);
        }
        // The filter matches this line.
        guess(&[
            ("X-Forwarded-For", "192.0.2.7"),
            ("Forwarded", "for=unknown"),
        ]);
        // A stream that a proxy forwarded without a PROXY header.
        let mut guesser = Client::tcp(daemon.turn(), "alice");
        assert_eq!(guesser.allocate().code(), Some(401));
        daemon.wait_for_logs(&["login refused"], 6);
        daemon.wait_for_log("further relay credential errors suppressed");
        let found = found(&daemon.log(), "", &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("192.0.2.7 "), "{found:#?}");
    }
}

#[test]
fn a_guess_is_logged_with_address_and_reason_and_normal_requests_are_not() {
    let daemon = Builder::new()
        .env("PARLOR_LOG__LEVEL", "info")
        .env("PARLOR_TURN__SECRET", SECRET)
        .start();
    let mut alice = Client::udp(daemon.turn(), "alice", None);
    alice.allocated();
    alice.request(Method::REFRESH, &[]);
    let mut mallory = Client::udp(daemon.turn(), "mallory", None);
    mallory.minted.credential.push('x');
    assert_eq!(mallory.allocate().code(), Some(401));
    let line = daemon.wait_for_log("relay credential refused");
    assert!(line.contains(r#""level":"INFO""#), "{line}");
    assert!(
        line.contains(r#""client":"127.0.0.1","reason":"bad credential""#),
        "{line}"
    );
    let refused = daemon
        .log()
        .into_iter()
        .filter(|line| line.contains("refused"));
    assert_eq!(refused.count(), 1);
}

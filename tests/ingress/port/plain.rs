//! The port beside it, without TLS: it sends requests on, but for those that are meant for it.

use parlor::stun::Method;

use crate::port::fixture::Fixture;
use crate::support::http::Client as Http;
use crate::support::turn::{Client, both_hear_each_other, connected};

#[test]
fn requests_without_tls_are_redirected_to_https() {
    let fixture = Fixture::new();
    let port = fixture.address().port();
    // At the port beside it, and at the one itself.
    for address in [fixture.plain(), fixture.address()] {
        let http = Http::new(address);
        for (method, path) in [
            ("GET", "/r/lobby?a=b"),
            ("POST", "/api/rooms"),
            ("HEAD", "/"),
        ] {
            let answer = http.send(method, path, &[("Host", "talk.example.org")], b"");
            assert_eq!(answer.status, 308, "{method}");
            let place = format!("https://talk.example.org:{port}{path}");
            assert_eq!(answer.header("location"), Some(&*place));
        }
        let answer = http.send("GET", "/", &[("Host", "evil/")], b"");
        assert_eq!(answer.status, 400);
    }
    // Where a browser ends up.
    let plain = format!("http://{}/healthz", fixture.plain());
    let followed = std::process::Command::new("curl")
        .args(["--silent", "--location", "--cacert"])
        .arg(fixture.place.path().join("ca.pem"))
        .arg(plain)
        .output()
        .expect("curl runs");
    assert!(
        String::from_utf8_lossy(&followed.stdout).contains("ok"),
        "{followed:?}"
    );
}

#[test]
fn requests_are_redirected_to_the_public_url_if_there_is_one() {
    let url = "https://voice.example.org";
    let fixture = Fixture::with(|builder| builder.env("PARLOR_SERVER__PUBLIC_URL", url));
    let answer = Http::new(fixture.plain()).get("/r/lobby");
    let place = answer.header("location").expect("a place");
    assert_eq!(place, "https://voice.example.org/r/lobby");
}

#[test]
fn acme_validations_and_https_requests_to_a_proxy_are_served_without_tls() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_HTTP__TRUSTED_PROXIES", "127.0.0.1"));
    let http = Http::new(fixture.plain());
    let challenge = http.get("/.well-known/acme-challenge/unknown");
    assert_eq!(challenge.status, 404);
    let by = |proto| {
        let said = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", proto),
        ];
        http.send("GET", "/healthz", &said, b"").status
    };
    assert_eq!((by("https"), by("http")), (200, 308));
    // Other peers are not trusted.
    let strict = Fixture::new();
    let said = [("X-Forwarded-Proto", "https")];
    let answer = Http::new(strict.plain()).send("GET", "/healthz", &said, b"");
    assert_eq!(answer.status, 308);
}

#[test]
fn turn_over_tcp_is_served_on_plain_and_tls_listeners() {
    let fixture = Fixture::new();
    for address in [fixture.plain(), fixture.address()] {
        let (mut alice, mut bob) = connected(
            Client::tcp(address, "alice"),
            Client::udp(fixture.daemon.turn(), "bob", None),
        );
        both_hear_each_other(&mut alice, &mut bob, true);
        alice.request(Method::BINDING, &[]);
    }
    assert_eq!(fixture.daemon.cli_json(&["status"])["relays_over_tls"], 0);
}

//! HTTP around the routes: health, metrics, origins, limits.

use std::io::{Read as _, Write as _};

use crate::support::http::Client as Http;
use crate::wire::world::{LOBBY, World};

#[test]
fn the_server_says_that_it_is_alive_fit_and_which_build() {
    let world = World::start();
    let http = world.http("");
    assert_eq!(http.get("/healthz").ok()["status"], "ok");
    assert_eq!(http.get("/readyz").ok()["status"], "ready");
    assert_eq!(
        http.get("/api/version").ok()["version"],
        env!("CARGO_PKG_VERSION")
    );
}

/// The response to this head.
fn answer(world: &World, head: &str) -> String {
    let mut stream = world.dial();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_request_names_one_host() {
    let world = World::start();
    for hosts in [
        "",
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example\r\nHost: b.example\r\n",
        "Host: a.example/path\r\n",
        "Host: user@a.example\r\n",
        "Host: a b\r\n",
    ] {
        for method in ["GET", "OPTIONS"] {
            let head = format!("{method} /healthz HTTP/1.1\r\n{hosts}\r\n");
            let answer = answer(&world, &head);
            assert!(answer.starts_with("HTTP/1.1 400"), "{head}{answer}");
            assert!(
                answer.contains("The request must name one host"),
                "{answer}"
            );
        }
    }
    for host in ["a.example", "[2001:db8::1]:8000", "127.0.0.1:1", ""] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = answer(&world, &head);
        assert!(answer.starts_with("HTTP/1.1 200"), "{head}{answer}");
    }
    // HTTP/1.0 has no such header.
    let answer = answer(&world, "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn metrics_are_on_their_own_listener_and_in_the_format_that_is_asked_for() {
    let world = World::start();
    let _alice = world.enter(LOBBY, "alice");
    world.daemon.wait_for_log("WebSocket admitted");
    let scrape = |accept: &str| {
        let accept = [("Accept", accept)];
        let metrics = Http::new(world.daemon.metrics());
        let answer = metrics.send("GET", "/metrics", &accept, b"");
        assert_eq!(answer.header("vary"), Some("accept"));
        let kind = answer.header("content-type").expect("a type").to_owned();
        (kind, String::from_utf8(answer.body).expect("text"))
    };
    let (kind, modern) = scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(modern.ends_with("# EOF\n"), "{modern}");
    assert!(
        modern.contains("\n# TYPE parlor_http_requests counter\n"),
        "{modern}"
    );
    let (kind, classic) = scrape("text/plain;version=0.0.4;q=1,*/*;q=0.1");
    assert!(kind.starts_with("text/plain; version=0.0.4"));
    assert!(!classic.contains("EOF"), "{classic}");
    assert!(
        classic.contains("\n# TYPE parlor_http_requests_total counter\n"),
        "{classic}"
    );
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let names = samples.filter_map(|line| line.split(['{', ' ']).next());
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&modern), names(&classic));
    assert_eq!(world.metric("parlor_signaling_connections"), 1);
    assert_eq!(world.metric("parlor_signaling_rooms"), 1);
    assert_eq!(world.http("").get("/metrics").status, 404);
}

#[test]
fn any_origin_may_call_without_credentials_by_default() {
    let world = World::start();
    let origin = [("Origin", "https://app.example")];
    let answer = world.http("").send("GET", "/healthz", &origin, b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let exposed = answer.header("access-control-expose-headers");
    assert_eq!(exposed, Some("retry-after"));
    let preflight = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        (
            "Access-Control-Request-Headers",
            "authorization,content-type",
        ),
    ];
    let answer = world
        .http("")
        .send("OPTIONS", "/api/rooms/lobby/join", &preflight, b"");
    assert_eq!(answer.status, 200);
    let headers = answer
        .header("access-control-allow-headers")
        .expect("headers");
    assert!(headers.contains("authorization") && headers.contains("content-type"));
    let methods = answer
        .header("access-control-allow-methods")
        .expect("methods");
    assert!(methods.contains("POST"));
}

#[test]
fn listed_origins_may_call_and_others_may_not() {
    let listed = "https://app.example,https://other.example";
    let world = World::with(&[("PARLOR_HTTP__ALLOWED_ORIGINS", listed)]);
    let from = |origin| {
        world
            .http("")
            .send("GET", "/healthz", &[("Origin", origin)], b"")
    };
    let answer = from("https://other.example");
    assert_eq!(answer.status, 200);
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://other.example"));
    assert_eq!(
        from("https://evil.example").refusal(),
        (403, "origin".to_owned())
    );
    assert_eq!(world.http("").get("/healthz").status, 200);
}

#[test]
fn errors_are_a_sentence_and_a_word() {
    let world = World::start();
    let nowhere = world.http("").get("/api/nowhere");
    assert_eq!(nowhere.refusal(), (404, "not-found".to_owned()));
    let wrong = world.http("").post("/healthz");
    assert_eq!(wrong.refusal(), (405, "method-not-allowed".to_owned()));
    assert_eq!(wrong.header("allow"), Some("GET"));
}

#[test]
fn a_body_past_the_limit_is_refused() {
    let world = World::with(&[("PARLOR_HTTP__MAX_BODY", "1000")]);
    let body = serde_json::json!({"invite": "x".repeat(2000)});
    let http = world.http(&world.token("alice"));
    let answer = http.post_json("/api/rooms/lobby/join", &body);
    assert_eq!(answer.refusal(), (413, "too-large".to_owned()));
}

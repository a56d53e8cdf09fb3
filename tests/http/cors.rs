//! CORS: calls of pages of other origins, and the responses that they can read.

use crate::support::http::{Answer, Client};
use crate::support::{Builder, Daemon};

const APP: &str = "https://app.example";

fn listing() -> Daemon {
    let list = format!("{APP},https://other.example");
    Builder::new()
        .env("PARLOR_HTTP__ALLOWED_ORIGINS", &list)
        .start()
}

/// Asks as a browser does before a page sends such a request.
fn preflight(daemon: &Daemon, origin: &str, method: &str) -> Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let path = "/api/rooms/lobby/messages/1";
    Client::new(daemon.http()).send("OPTIONS", path, &headers, b"")
}

fn allowed_methods(answer: &Answer) -> Vec<String> {
    let methods = answer.header("access-control-allow-methods");
    let methods = methods.unwrap_or_default().split(',').map(str::trim);
    methods.map(str::to_owned).collect()
}

#[test]
fn a_preflight_allows_every_method_of_the_api_and_is_kept_for_an_hour() {
    for (daemon, origin) in [(Daemon::start(), "*"), (listing(), APP)] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = preflight(&daemon, APP, method);
            assert_eq!(answer.status, 200, "{method}");
            let allowed = allowed_methods(&answer);
            assert!(
                allowed.iter().any(|one| one == method),
                "{method}: {allowed:?}"
            );
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, Some(origin));
            assert_eq!(answer.header("access-control-max-age"), Some("3600"));
        }
    }
}

#[test]
fn a_listed_origin_may_send_credentials_and_reads_errors_as_well() {
    let daemon = listing();
    let get = |origin: &str| {
        let headers = [("Origin", origin)];
        Client::new(daemon.http()).send("GET", "/api/rooms", &headers, b"")
    };
    for origin in [APP, "https://other.example"] {
        for answer in [preflight(&daemon, origin, "POST"), get(origin)] {
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, Some(origin));
            let credentials = answer.header("access-control-allow-credentials");
            assert_eq!(credentials, Some("true"));
            // A cache must not give the answer to a page of the other origin.
            let vary = answer.header("vary").unwrap_or_default();
            assert!(vary.contains("origin"), "{vary}");
        }
        assert_eq!(get(origin).status, 401);
    }
}

#[test]
fn an_origin_that_is_not_listed_gets_no_answer_that_a_page_can_read() {
    let daemon = listing();
    for origin in ["https://app.example.evil", "http://app.example", "null"] {
        let headers = [("Origin", origin)];
        let client = Client::new(daemon.http());
        let refused = [
            client.send("GET", "/healthz", &headers, b""),
            client.send("POST", "/api/auth/login", &headers, b"{}"),
        ];
        assert!(
            refused.iter().all(|answer| answer.status == 403),
            "{origin}"
        );
        // A preflight without a named origin allows nothing.
        for answer in refused.iter().chain([&preflight(&daemon, origin, "POST")]) {
            assert_eq!(
                answer.header("access-control-allow-origin"),
                None,
                "{origin}"
            );
        }
    }
}

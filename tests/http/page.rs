//! The page as it comes over the wire.

use crate::support::http::Client;
use crate::support::{Builder, Daemon};

#[test]
fn every_page_has_its_policies_and_content_type() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let kinds = [
        ("/", "text/html; charset=utf-8"),
        ("/r/lobby", "text/html; charset=utf-8"),
        ("/assets/room.js", "text/javascript; charset=utf-8"),
        ("/assets/client.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ];
    for (path, kind) in kinds {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        let policy = answer.header("content-security-policy").expect(path);
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let permissions = answer.header("permissions-policy").expect(path);
        assert!(permissions.contains("microphone=(self)"), "{permissions}");
    }
}

#[test]
fn an_unchanged_file_is_not_sent_again() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let tag = client.get("/assets/room.js");
    let tag = tag.header("etag").expect("an ETag");
    let again = client.send("GET", "/assets/room.js", &[("If-None-Match", tag)], b"");
    assert_eq!(again.status, 304);
    assert_eq!(again.header("etag"), Some(tag));
    assert!(again.body.is_empty());
}

#[test]
fn pages_of_allowed_origins_may_import_the_client() {
    let get = |builder: Builder| {
        let daemon = builder.start();
        let client = Client::new(daemon.http());
        let origin = [("Origin", "https://app.example")];
        let names = [
            "client",
            "client_check",
            "client_http",
            "client_ice",
            "client_path",
            "client_pending",
            "client_plain",
            "client_token",
        ];
        let [client, rest @ ..] = names.map(|name| {
            let answer = client.send("GET", &format!("/assets/{name}.js"), &origin, b"");
            let allowed = answer.header("access-control-allow-origin");
            (answer.status, allowed.map(str::to_owned))
        });
        assert_eq!(rest.each_ref(), [&client; 7]);
        client
    };
    let listed = |list| Builder::new().env("PARLOR_HTTP__ALLOWED_ORIGINS", list);
    assert_eq!(get(Builder::new()), (200, Some("*".to_owned())));
    let app = "https://app.example";
    assert_eq!(get(listed(app)), (200, Some(app.to_owned())));
    let pattern = listed("https://*.example");
    assert_eq!(get(pattern), (200, Some(app.to_owned())));
    for others in ["https://other.example", "https://*.app.example"] {
        assert_eq!(get(listed(others)), (403, None), "{others}");
    }
}

#[test]
fn only_the_page_of_a_room_may_be_in_a_frame_of_the_origins_in_the_setting() {
    let ancestors = |daemon: &Daemon, path: &str| {
        let answer = Client::new(daemon.http()).get(path);
        let policy = answer.header("content-security-policy").expect(path);
        let mut parts = policy.split("; ");
        let part = parts.find_map(|part| part.strip_prefix("frame-ancestors "));
        part.expect("frame-ancestors").to_owned()
    };
    let daemon = Daemon::start();
    assert_eq!(ancestors(&daemon, "/r/lobby"), "'none'");
    let origins = "https://Cloud.example.org/,http://home.lan:8123";
    let daemon = Builder::new()
        .env("PARLOR_HTTP__FRAME_ANCESTORS", origins)
        .start();
    let listed = "https://cloud.example.org http://home.lan:8123";
    assert_eq!(ancestors(&daemon, "/r/lobby"), listed);
    for path in ["/", "/assets/room.js"] {
        assert_eq!(ancestors(&daemon, path), "'none'", "{path}");
    }
}

#[test]
fn unknown_pages_get_404() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    for path in ["/assets/other.js", "/assets/", "/r/", "/r/lobby/more"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_wrong_path_returns_a_page_to_browsers_and_json_to_programs() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let browser = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for (path, style) in [
        ("/nonexistent", "\"assets/style.css\""),
        ("/r/lobby/", "\"../../assets/style.css\""),
    ] {
        let answer = client.send("GET", path, &browser, b"");
        assert_eq!(answer.status, 404, "{path}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/html; charset=utf-8"), "{path}");
        let policy = answer.header("content-security-policy").expect(path);
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let text = String::from_utf8(answer.body).expect("text");
        assert!(text.contains("Page not found"), "{text}");
        assert!(text.contains(style), "{path}: {text}");
        let refusal = client.get(path).refusal();
        assert_eq!(refusal, (404, "not-found".to_owned()), "{path}");
    }
    let of_the_api = client.send("GET", "/api/nothing", &browser, b"");
    assert_eq!(of_the_api.refusal(), (404, "not-found".to_owned()));
}

//! The page as it comes over the wire.

mod support;

use support::Daemon;
use support::http::Client;

#[test]
fn every_page_names_its_policies_and_its_kind() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let kinds = [
        ("/", "text/html; charset=utf-8"),
        ("/r/lobby", "text/html; charset=utf-8"),
        ("/assets/room.js", "text/javascript; charset=utf-8"),
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
fn what_is_no_page_is_not_found() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    for path in ["/assets/other.js", "/assets/", "/r/", "/r/lobby/more"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
}

//! Clients behind a reverse proxy, which this test plays.

use super::*;
use crate::support::log_fields;

/// Addresses share cells at random, so one or two may meet the cell of one who has tried too often.
const FEW: usize = 10;

const TRUSTED: (&str, &str) = ("PARLOR_HTTP__TRUSTED_PROXIES", "127.0.0.0/8");

impl Fixture {
    fn behind_a_proxy() -> Fixture {
        Fixture::with(|builder| builder.env(TRUSTED.0, TRUSTED.1))
    }

    /// A login that fails, sent with a header; each name is another, so that none is slowed down.
    fn guess(&self, n: usize, header: (&str, &str)) -> u16 {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        let body = format!("username=u{n}");
        let headers = [kind, header];
        let login = "/api/auth/login";
        self.client
            .send("POST", login, &headers, body.as_bytes())
            .status
    }

    /// How many of 100 attempts are refused for being too many.
    fn refused_of_100(&self, header: impl Fn(usize) -> (&'static str, String)) -> usize {
        let guesses = (0..100).map(|n| {
            let (name, value) = header(n);
            self.guess(n, (name, &value))
        });
        guesses.filter(|status| *status == 429).count()
    }
}

#[test]
fn behind_a_trusted_proxy_each_client_has_attempts_of_its_own() {
    let fixture = Fixture::behind_a_proxy();
    let one = fixture.refused_of_100(|_| ("X-Forwarded-For", "203.0.113.7".to_owned()));
    assert!(one > 40, "{one}");
    let many = fixture.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}")));
    assert!(many < FEW, "{many}");
    let standard =
        fixture.refused_of_100(|n| ("Forwarded", format!("for=\"[2001:db8:0:{n}00::1]\"")));
    assert!(standard < FEW, "{standard}");
}

#[test]
fn an_address_that_the_client_adds_does_not_count() {
    let fixture = Fixture::behind_a_proxy();
    let refused =
        fixture.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}, 203.0.113.7")));
    assert!(refused > 40, "{refused}");
}

#[test]
fn a_client_with_both_headers_uses_up_only_its_own_attempts() {
    let fixture = Fixture::behind_a_proxy();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let guess = |n: usize, client: &str, forwarded: &str| {
        let body = format!("username=u{n}");
        let headers = [kind, ("X-Forwarded-For", client), ("Forwarded", forwarded)];
        let answer = fixture
            .client
            .send("POST", "/api/auth/login", &headers, body.as_bytes());
        answer.status
    };
    // The client's own limit applies, with any address in its header.
    let refused = (0..100)
        .map(|n| guess(n, "203.0.113.7", &format!("for=198.51.100.{n}")))
        .filter(|status| *status == 429);
    assert!(refused.count() > 40);
    // The proxy, and the clients at the forged addresses, keep their limits.
    let others = (0..100)
        .map(|n| guess(n, &format!("192.0.2.{n}"), &format!("for=10.1.{n}.1")))
        .filter(|status| *status == 429);
    assert!(others.count() < FEW);
    let named = fixture.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}")));
    assert!(named < FEW, "{named}");
}

#[test]
fn without_a_trusted_proxy_such_headers_change_nothing() {
    let fixture = Fixture::with(|builder| builder.env(TRUSTED.0, "10.0.0.0/8"));
    let refused = fixture.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}")));
    assert!(refused > 40, "{refused}");
    let headers = [
        ("X-Forwarded-Host", "evil.example"),
        (
            "Forwarded",
            "for=198.51.100.1;host=evil.example;proto=https",
        ),
    ];
    let alice = fixture.caller("alice");
    let answer = alice.send("GET", "/api/ice-servers", &headers, b"").ok();
    assert!(!answer.to_string().contains("evil.example"), "{answer}");
}

#[test]
fn guests_behind_a_trusted_proxy_have_attempts_of_their_own() {
    let fixture = Fixture::behind_a_proxy();
    let enter = |client: String| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", client.as_str()),
        ];
        let body = json!({"invite": "none", "name": "Gast"}).to_string();
        let guest = "/api/auth/guest";
        fixture
            .client
            .send("POST", guest, &headers, body.as_bytes())
    };
    let statuses = |client: fn(usize) -> String| {
        let answers = (0..60).map(client);
        answers
            .map(|client| enter(client).status)
            .collect::<Vec<_>>()
    };
    assert!(statuses(|_| "203.0.113.7".to_owned()).contains(&429));
    let others = statuses(|n| format!("198.51.100.{n}"));
    let refused = others.iter().filter(|status| **status == 429).count();
    assert!(refused < FEW, "{refused}");
}

#[test]
fn links_name_what_the_client_asked_the_proxy_for() {
    let fixture = Fixture::behind_a_proxy();
    fixture.room("r1", &[]);
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "talk.example"),
    ];
    let admin = text(&fixture.daemon.cli_json(&["user", "add", "root", "--admin"])["id"]);
    let admin = fixture.bearer(&admin);
    let invite = admin
        .send("POST", "/api/rooms/r1/invites", &headers, b"{}")
        .ok();
    let link = text(&invite["link"]);
    assert!(link.starts_with("https://talk.example/r/r1#"), "{link}");
    let servers = admin.send("GET", "/api/ice-servers", &headers, b"").ok();
    let urls = servers["iceServers"].to_string();
    assert!(urls.contains("turn:talk.example:"), "{urls}");
}

impl Fixture {
    /// Behind a balancer that speaks the PROXY protocol.
    fn behind_a_balancer(trusted: &str) -> Fixture {
        Fixture::with(|builder| {
            let builder = builder.env(TRUSTED.0, trusted);
            builder.env("PARLOR_HTTP__PROXY_PROTOCOL", "true")
        })
    }

    /// The response to a request after a PROXY header; empty if the connection is closed.
    fn announced(&self, header: &[u8], request: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.daemon.http()).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.write_all(&[header, request.as_bytes()].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        (!answer.is_empty()).then(|| String::from_utf8(answer).unwrap())
    }

    /// How many of 100 guests without an invite are refused for being too many.
    fn announced_of_100(&self, header: impl Fn(usize) -> Vec<u8>) -> usize {
        let body = json!({"invite": "none", "name": "Gast"}).to_string();
        let request = format!(
            "POST /api/auth/guest HTTP/1.1\r\nHost: talk\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answers = (0..100).map(|n| self.announced(&header(n), &request).expect("an answer"));
        answers
            .filter(|one| one.starts_with("HTTP/1.1 429"))
            .count()
    }
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: talk\r\nConnection: close\r\n\r\n";

/// Version 2, of a client with this address.
fn binary(command: u8, client: [u8; 4], extra: usize) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n";
    let length = (12 + extra as u16).to_be_bytes();
    let addresses = [&client[..], &[127, 0, 0, 1], &[0x12, 0x67, 0x1f, 0x40]].concat();
    [
        fixed,
        &[command, 0x11][..],
        &length,
        &addresses,
        &vec![0; extra],
    ]
    .concat()
}

#[test]
fn a_balancer_names_the_client_in_either_version() {
    let fixture = Fixture::behind_a_balancer("127.0.0.0/8");
    let text = |client: String| format!("PROXY TCP4 {client} 127.0.0.1 4711 443\r\n").into_bytes();
    let one = fixture.announced_of_100(|_| text("203.0.113.7".to_owned()));
    assert!(one > 40, "{one}");
    let many = fixture.announced_of_100(|n| text(format!("198.51.100.{n}")));
    assert!(many < FEW, "{many}");
    let one = fixture.announced_of_100(|_| binary(0x21, [203, 0, 113, 8], 0));
    assert!(one > 40, "{one}");
    let many = fixture.announced_of_100(|n| binary(0x21, [192, 0, 2, n as u8], n));
    assert!(many < FEW, "{many}");
}

#[test]
fn a_balancer_that_asks_for_itself_is_answered() {
    let fixture = Fixture::behind_a_balancer("127.0.0.0/8");
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        binary(0x20, [0; 4], 0),
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
    ] {
        let answer = fixture.announced(&header, HEALTH).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn a_proxy_without_a_header_is_disconnected_counted_and_logged() {
    let fixture = Fixture::behind_a_balancer("127.0.0.0/8");
    for header in [
        &b""[..],
        b"PROXY TCP4 nobody 127.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        assert_eq!(fixture.announced(header, HEALTH), None);
    }
    let metrics = Client::new(fixture.daemon.metrics()).get("/metrics").body;
    let metrics = String::from_utf8(metrics).unwrap();
    let counted = "parlor_http_proxy_header_errors_total 3\n";
    assert!(metrics.contains(counted), "{metrics}");
    let message = "trusted proxy sent no valid PROXY header";
    fixture.daemon.wait_for_logs(&[message], 3);
    let log = fixture.daemon.log();
    let warned = log
        .iter()
        .filter(|line| line.contains("WARN") && line.contains(message));
    let warned: Vec<_> = warned.map(|line| log_fields(line)).collect();
    assert_eq!(warned.len(), 1, "{log:#?}");
    assert!(warned[0]["connection"].is_u64(), "{warned:?}");
}

#[test]
fn other_addresses_need_no_header_and_theirs_is_rejected() {
    let fixture = Fixture::behind_a_balancer("10.0.0.0/8");
    let answer = fixture.announced(b"", HEALTH).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let claimed = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 443\r\n";
    let answer = fixture.announced(claimed, HEALTH).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

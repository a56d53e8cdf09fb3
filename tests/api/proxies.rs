//! Clients behind a reverse proxy, which this test plays.

use super::*;

/// Addresses share cells at random, so one or two may meet the cell of one who has tried too often.
const FEW: usize = 10;

const TRUSTED: (&str, &str) = ("PARLOR_HTTP__TRUSTED_PROXIES", "127.0.0.0/8");

impl House {
    fn behind_a_proxy() -> House {
        House::with(|builder| builder.env(TRUSTED.0, TRUSTED.1))
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
    let house = House::behind_a_proxy();
    let one = house.refused_of_100(|_| ("X-Forwarded-For", "203.0.113.7".to_owned()));
    assert!(one > 40, "{one}");
    let many = house.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}")));
    assert!(many < FEW, "{many}");
    let standard =
        house.refused_of_100(|n| ("Forwarded", format!("for=\"[2001:db8:0:{n}00::1]\"")));
    assert!(standard < FEW, "{standard}");
}

#[test]
fn what_a_client_puts_before_its_own_address_does_not_make_it_another() {
    let house = House::behind_a_proxy();
    let refused =
        house.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}, 203.0.113.7")));
    assert!(refused > 40, "{refused}");
}

#[test]
fn without_a_trusted_proxy_such_headers_change_nothing() {
    let house = House::with(|builder| builder.env(TRUSTED.0, "10.0.0.0/8"));
    let refused = house.refused_of_100(|n| ("X-Forwarded-For", format!("198.51.100.{n}")));
    assert!(refused > 40, "{refused}");
    let headers = [
        ("X-Forwarded-Host", "evil.example"),
        (
            "Forwarded",
            "for=198.51.100.1;host=evil.example;proto=https",
        ),
    ];
    let alice = house.caller("alice");
    let answer = alice.send("GET", "/api/ice-servers", &headers, b"").ok();
    assert!(!answer.to_string().contains("evil.example"), "{answer}");
}

#[test]
fn guests_behind_a_trusted_proxy_have_attempts_of_their_own() {
    let house = House::behind_a_proxy();
    let enter = |client: String| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", client.as_str()),
        ];
        let body = json!({"invite": "none", "name": "Gast"}).to_string();
        let guest = "/api/auth/guest";
        house.client.send("POST", guest, &headers, body.as_bytes())
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
    let house = House::behind_a_proxy();
    house.room("r1", &[]);
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "talk.example"),
    ];
    let admin = text(&house.daemon.cli_json(&["user", "add", "root", "--admin"])["id"]);
    let admin = house.bearer(&admin);
    let invite = admin
        .send("POST", "/api/rooms/r1/invites", &headers, b"{}")
        .ok();
    let link = text(&invite["link"]);
    assert!(link.starts_with("https://talk.example/r/r1#"), "{link}");
    let servers = admin.send("GET", "/api/ice-servers", &headers, b"").ok();
    let urls = servers["iceServers"].to_string();
    assert!(urls.contains("turn:talk.example:"), "{urls}");
}

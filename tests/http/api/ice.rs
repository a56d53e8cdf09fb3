//! Servers for ICE, and the credentials in them.

use super::*;
use crate::support::certificate::Authority;

#[test]
fn ice_servers_are_what_a_peer_connection_takes() {
    let fixture = Fixture::with(|builder| {
        builder
            .env("PARLOR_TURN__SECRET", "north")
            .env("STUN_SERVER_URL", "stun:stun.example:3478")
            .env("TURN_SERVER_URL", "turn:turn.example:3478")
            .env("TURN_USERNAME", "user")
            .env("TURN_PASSWORD", "pass")
    });
    let id = fixture.user("alice");
    let answer = fixture.bearer(&id).get("/api/ice-servers");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let ice = answer.ok();
    let port = fixture.daemon.turn().port();
    let servers = ice["iceServers"].as_array().unwrap();
    assert_eq!(
        servers[0],
        json!({"urls": [format!("stun:127.0.0.1:{port}")]})
    );
    let turn = [
        format!("turn:127.0.0.1:{port}?transport=udp"),
        format!("turn:127.0.0.1:{port}?transport=tcp"),
    ];
    assert_eq!(servers[1]["urls"], json!(turn));
    let ttl = ice["ttl"].as_u64().unwrap();
    let (expires, user) = servers[1]["username"]
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap();
    assert_eq!(user, id);
    let ahead = expires.parse::<u64>().unwrap().abs_diff(now() + ttl);
    assert!(ahead < 60, "{ahead}");
    assert_eq!(servers[2], json!({"urls": ["stun:stun.example:3478"]}));
    let external =
        json!({"urls": ["turn:turn.example:3478"], "username": "user", "credential": "pass"});
    assert_eq!(servers[3], external);
    assert_eq!(ice["iceTransportPolicy"], json!("all"));
    assert!(text(&ice["expiresAt"]).ends_with('Z'));
}

#[test]
fn there_is_one_url_of_each_kind_for_any_listeners_besides_the_configured_ones() {
    let others = "stun:a.example,stun:b.example,stun:c.example";
    let fixture = Fixture::with(|builder| {
        builder
            .env("PARLOR_TURN__LISTEN", "127.0.0.1:0,127.0.0.2:0")
            .env("PARLOR_TURN__PUBLIC_HOST", "talk.example")
            .env("STUN_SERVER_URL", others)
    });
    let ice = fixture.caller("alice").get("/api/ice-servers").ok();
    let port = fixture.daemon.turn().port();
    let turn = ["udp", "tcp"].map(|over| format!("turn:talk.example:{port}?transport={over}"));
    let servers = &ice["iceServers"];
    assert_eq!(
        servers[0]["urls"],
        json!([format!("stun:talk.example:{port}")])
    );
    assert_eq!(servers[1]["urls"], json!(turn));
    let others: Vec<_> = others.split(',').collect();
    assert_eq!(servers[2], json!({ "urls": others }));
}

#[test]
fn relay_mode_sets_the_transport_policy_to_relay() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_TURN__MODE", "internal"));
    fixture.room("r1", &[]);
    let alice = fixture.caller("alice");
    let joined = alice.post("/api/rooms/r1/join").ok();
    assert_eq!(joined["ice_transport_policy"], json!("relay"));
    for path in ["/api/ice-servers", "/api/ice-servers?room=r1"] {
        let ice = alice.get(path).ok();
        assert_eq!(ice["iceTransportPolicy"], json!("relay"), "{path}");
    }
    let credential = fixture.daemon.cli_json(&["turn", "credential", "alice"]);
    assert_eq!(credential["ice_transport_policy"], json!("relay"));
}

#[test]
fn ice_servers_say_that_allocations_end_with_their_credential() {
    let fixture = Fixture::new();
    let ice = fixture.caller("alice").get("/api/ice-servers").ok();
    assert_eq!(ice.get("endAtExpiry"), None);
    let fixture = Fixture::with(|builder| builder.env("PARLOR_TURN__END_AT_EXPIRY", "true"));
    let ice = fixture.caller("alice").get("/api/ice-servers").ok();
    assert_eq!(ice["endAtExpiry"], json!(true));
}

#[test]
fn ice_servers_for_a_room_are_for_its_participants_and_bound_to_it() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let id = fixture.user("alice");
    let alice = fixture.bearer(&id);
    let ask = || alice.get("/api/ice-servers?room=r1");
    assert_eq!(refused(&ask()), is(403, "not-a-participant"));
    let joined = alice.post("/api/rooms/r1/join").ok();
    for servers in [&joined["ice_servers"], &ask().ok()["iceServers"]] {
        let username = text(&servers[1]["username"]);
        assert!(username.ends_with(&format!(":{id}/r1")), "{username}");
    }
    alice.post("/api/rooms/r1/leave").ok();
    assert_eq!(refused(&ask()), is(403, "not-a-participant"));
    assert_eq!(
        refused(&alice.get("/api/ice-servers?room=none")),
        is(404, "not-found")
    );
}

#[test]
fn the_host_of_ice_urls_is_the_configured_one_or_that_of_the_request() {
    let stun = |fixture: &Fixture, host: &str| {
        let alice = fixture.bearer("alice");
        let answer = alice
            .send("GET", "/api/ice-servers", &[("Host", host)], b"")
            .ok();
        let url = text(&answer["iceServers"][0]["urls"][0]);
        url.rsplit_once(':').unwrap().0.to_owned()
    };
    let start = |change: fn(Builder) -> Builder| {
        Fixture::with(|builder| change(builder.env("PARLOR_AUTH__PROVISION_USERS", "true")))
    };
    let plain = start(|builder| builder);
    assert_eq!(stun(&plain, "talk.example:8000"), "stun:talk.example");
    assert_eq!(stun(&plain, "[2001:db8::1]:8000"), "stun:[2001:db8::1]");
    assert_eq!(stun(&plain, "Talk.example:"), "stun:talk.example");
    for odd in [
        "",
        ":80",
        "a..b",
        "talk.example:0",
        "talk.example:x",
        "[evil]",
    ] {
        let odd = plain
            .bearer("alice")
            .send("GET", "/api/ice-servers", &[("Host", odd)], b"");
        assert_eq!(odd.status, 400);
    }
    let public =
        start(|builder| builder.env("PARLOR_SERVER__PUBLIC_URL", "https://talk.example:8443"));
    assert_eq!(stun(&public, "elsewhere"), "stun:talk.example");
    let named = start(|builder| {
        builder
            .env("PARLOR_SERVER__PUBLIC_URL", "https://talk.example")
            .env("PARLOR_TURN__PUBLIC_HOST", "2001:db8::2")
    });
    assert_eq!(stun(&named, "elsewhere"), "stun:[2001:db8::2]");
}

#[test]
fn a_guest_gets_a_credential_while_they_are_in_their_room_and_for_it_alone() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let guest = fixture.guest("r1");
    let ask = || guest.get("/api/ice-servers");
    assert_eq!(refused(&ask()), is(403, "not-a-participant"));
    guest.post("/api/rooms/r1/join").ok();
    let username = text(&ask().ok()["iceServers"][1]["username"]);
    assert!(username.ends_with("/r1"), "{username}");
    guest.post("/api/rooms/r1/leave").ok();
    assert_eq!(refused(&ask()), is(403, "not-a-participant"));
}

#[test]
fn no_credential_of_a_guest_outlives_their_time() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_AUTH__TOKEN_TTL", "10m"));
    fixture.room("r1", &[]);
    let guest = fixture.guest("r1");
    let me = guest.get("/api/auth/me").ok();
    let (id, end) = (text(&me["id"]), utc(&me["expires_at"]));
    let joined = guest.post("/api/rooms/r1/join").ok();
    assert_eq!(expiry(&joined["ice_servers"]), end);
    for path in ["/api/ice-servers", "/api/ice-servers?room=r1"] {
        let ice = guest.get(path).ok();
        assert_eq!(expiry(&ice["iceServers"]), end);
        assert_eq!(utc(&ice["expiresAt"]), end);
        let ttl = ice["ttl"].as_u64().unwrap();
        assert!((1..=600).contains(&ttl), "{ttl}");
    }
    let at_the_desk = ["turn", "credential", &id, "--ttl", "1h"];
    assert_eq!(fixture.daemon.cli(&at_the_desk).status.code(), Some(1));
    let minted = fixture
        .daemon
        .cli_json(&[&at_the_desk[..], &["--room", "r1"]].concat());
    assert_eq!(utc(&minted["expires_at"]), end);
}

#[test]
fn a_token_for_one_room_gets_a_credential_for_it_and_one_for_more_has_to_name_one() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let id = fixture.user("alice");
    let for_rooms = |rooms: &[&str]| {
        fixture.claiming(Claims {
            rooms: Some(rooms.iter().map(|room| room.to_string()).collect()),
            ..claims(&id)
        })
    };
    let (one, two, none) = (for_rooms(&["r1"]), for_rooms(&["r1", "r2"]), for_rooms(&[]));
    let ask = |client: &Client| client.get("/api/ice-servers");
    assert_eq!(refused(&ask(&one)), is(403, "not-a-participant"));
    one.post("/api/rooms/r1/join").ok();
    let username = text(&ask(&one).ok()["iceServers"][1]["username"]);
    assert!(username.ends_with("/r1"), "{username}");
    for client in [&two, &none] {
        assert_eq!(refused(&ask(client)), is(403, "forbidden"));
        assert!(text(&ask(client).json()["detail"]).contains("`?room=`"));
    }
    two.get("/api/ice-servers?room=r1").ok();
}

#[test]
fn turn_over_tls_is_offered_last_where_it_is_there() {
    let place = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new().issue(place.path(), &["talk.example"]);
    let fixture = Fixture::with(|builder| {
        builder
            .env("PARLOR_TLS__MODE", "files")
            .env("PARLOR_TLS__CERT_FILE", cert.to_str().unwrap())
            .env("PARLOR_TLS__KEY_FILE", key.to_str().unwrap())
            .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0")
            .env("PARLOR_SERVER__PUBLIC_URL", "https://talk.example")
    });
    let (turn, tls) = (fixture.daemon.turn(), fixture.daemon.all("turn-tls")[0]);
    let urls = [
        format!("turn:talk.example:{}?transport=udp", turn.port()),
        format!("turn:talk.example:{}?transport=tcp", turn.port()),
        // On the page's public port.
        "turns:talk.example:443?transport=tcp".to_owned(),
    ];
    assert_ne!(tls.port(), 443, "TURN has a listener of its own, too");
    fixture.daemon.cli_json(&["user", "add", "alice"]);
    let minted = fixture.daemon.cli_json(&["turn", "credential", "alice"]);
    assert_eq!(minted["urls"], json!(urls));
}

/// Unix seconds until which the credential among these servers may allocate.
fn expiry(servers: &Value) -> u64 {
    let username = text(&servers[1]["username"]);
    username.split_once(':').unwrap().0.parse().unwrap()
}

fn utc(time: &Value) -> u64 {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(&text(time), format).expect("a time");
    time.unix_timestamp() as u64
}

#[test]
fn a_member_who_returns_gets_a_credential_of_a_new_generation() {
    let fixture = Fixture::new();
    fixture.room("open", &[]);
    let id = fixture.user("alice");
    let alice = fixture.bearer(&id);
    let subject = |ice: &Value| {
        let name = text(&ice[1]["username"]);
        name.split_once(':').expect("an expiry").1.to_owned()
    };
    for generation in ["", "/1", "/2"] {
        let bound = format!("{id}/open{generation}");
        for _ in 0..2 {
            let joined = alice.post_json("/api/rooms/open/join", &json!({})).ok();
            assert_eq!(subject(&joined["ice_servers"]), bound);
        }
        let servers = alice.get("/api/ice-servers?room=open").ok();
        assert_eq!(subject(&servers["iceServers"]), bound);
        let command = ["turn", "credential", "--room", "open", &id];
        let minted = fixture.daemon.cli_json(&command);
        assert!(text(&minted["username"]).ends_with(&bound), "{minted}");
        alice.post_json("/api/rooms/open/leave", &json!({})).ok();
    }
}

//! The JSON routes, over sockets, against the real binary.

mod support;

use parlor::config;
use parlor::secret::Secret;
use parlor::token::{Claims, Tokens};
use serde_json::{Value, json};
use support::http::{Answer, Client};
use support::{Builder, Daemon};

const SECRET: &str = "a shared secret of at least 32 bytes";

/// A daemon whose tokens the test can sign, with a few users and rooms.
struct House {
    daemon: Daemon,
    client: Client,
}

impl House {
    fn new() -> House {
        House::with(|builder| builder)
    }

    fn with(change: impl FnOnce(Builder) -> Builder) -> House {
        let daemon = change(Builder::new().env("SECRET_KEY", SECRET)).start();
        let client = Client::new(daemon.http());
        House { daemon, client }
    }

    /// Adds a user and gives their id.
    fn user(&self, name: &str) -> String {
        text(&self.daemon.cli_json(&["user", "add", name])["id"])
    }

    /// Adds a user who calls from now on.
    fn caller(&self, name: &str) -> Client {
        self.bearer(&self.user(name))
    }

    fn bearer(&self, sub: &str) -> Client {
        self.claiming(claims(sub))
    }

    fn claiming(&self, claims: Claims) -> Client {
        self.client.with_token(&sign(&claims))
    }

    fn room(&self, id: &str, options: &[&str]) {
        let create = ["room", "create", id, "--id", id];
        self.daemon.cli_json(&[&create, options].concat());
    }

    /// An invite's text.
    fn invite(&self, room: &str, options: &[&str]) -> String {
        let create = ["invite", "create", room];
        let invite = self.daemon.cli_json(&[&create, options].concat());
        let link = text(&invite["link"]);
        link.split_once('#')
            .expect("an invite in the fragment")
            .1
            .to_owned()
    }

    fn enter(&self, room: &str, invite: &str) -> Answer {
        let body = json!({"room": room, "invite": invite, "name": "Gast"});
        self.client.post_json("/api/auth/guest", &body)
    }

    /// A guest of the room, who calls from now on.
    fn guest(&self, room: &str) -> Client {
        let entered = self.enter(room, &self.invite(room, &[])).ok();
        self.client.with_token(&text(&entered["access_token"]))
    }
}

fn now() -> u64 {
    parlor::clock::now().unix
}

fn claims(sub: &str) -> Claims {
    Claims {
        sub: sub.to_owned(),
        exp: now() + 3600,
        ..Claims::default()
    }
}

fn sign(claims: &Claims) -> String {
    Tokens::new(&config::Auth::default(), &Secret::new(SECRET)).issue(claims)
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn refused(answer: &Answer) -> (u16, String) {
    answer.refusal()
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// The user ids of a room's participants.
fn members(client: &Client, room: &str) -> Vec<String> {
    let answer = client.get(&format!("/api/rooms/{room}/participants")).ok();
    let participants = answer["participants"].as_array().expect("a list");
    participants
        .iter()
        .map(|member| text(&member["user_id"]))
        .collect()
}

#[test]
fn a_join_answers_as_the_contract_says_under_both_names() {
    let house = House::new();
    let alice = house.caller("alice");
    house.room("r1", &[]);
    for prefix in ["/api/rooms", "/api/coworking/rooms"] {
        let answer = alice.post(&format!("{prefix}/r1/join"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let joined = answer.ok();
        assert_eq!(joined["success"], json!(true));
        assert_eq!(joined["websocket_url"], json!("/api/ws/rooms/r1"));
        assert_eq!(joined["message"], json!("Successfully joined r1"));
        assert_eq!(joined["room"]["id"], json!("r1"));
        let mut names: Vec<_> = joined.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            ["ice_servers", "message", "room", "success", "websocket_url"]
        );
        assert_eq!(
            joined["ice_servers"][0]["urls"].as_array().unwrap().len(),
            1
        );
    }
}

#[test]
fn a_full_room_answers_409_except_to_those_who_are_in() {
    let house = House::new();
    house.room("small", &["--max-participants", "1"]);
    let (alice, bob) = (house.caller("alice"), house.caller("bob"));
    alice.post("/api/rooms/small/join").ok();
    assert_eq!(
        refused(&bob.post("/api/rooms/small/join")),
        is(409, "room-full")
    );
    alice.post("/api/rooms/small/join").ok();
    alice.post("/api/rooms/small/leave").ok();
    bob.post("/api/rooms/small/join").ok();
}

#[test]
fn whoever_leaves_is_no_participant_any_more_and_may_leave_twice() {
    let house = House::new();
    house.room("r1", &[]);
    let (alice, bob) = (house.user("alice"), house.user("bob"));
    let (as_alice, as_bob) = (house.bearer(&alice), house.bearer(&bob));
    as_alice.post("/api/rooms/r1/join").ok();
    as_bob.post("/api/rooms/r1/join").ok();
    assert_eq!(members(&as_alice, "r1").len(), 2);
    let left = as_bob.post("/api/rooms/r1/leave").ok();
    assert_eq!(left["success"], json!(true));
    as_bob.post("/api/coworking/rooms/r1/leave").ok();
    assert_eq!(members(&as_alice, "r1"), [alice]);
}

#[test]
fn participants_have_names_and_say_whether_they_are_connected() {
    let house = House::new();
    house.room("r1", &[]);
    let guest = house.guest("r1");
    guest.post("/api/rooms/r1/join").ok();
    let answer = guest.get("/api/rooms/r1/participants").ok();
    let member = &answer["participants"][0];
    assert_eq!(member["display_name"], json!("Gast"));
    assert_eq!(
        (&member["guest"], &member["connected"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        text(&member["joined_at"]).len(),
        "2026-01-31T23:59:59Z".len()
    );
}

#[test]
fn a_private_room_opens_to_members_named_tokens_and_invites() {
    let house = House::new();
    house.room("den", &["--private"]);
    let (alice, bob) = (house.user("alice"), house.user("bob"));
    let door = "/api/rooms/den/join";
    let stranger = house.bearer(&alice);
    assert_eq!(refused(&stranger.post(door)), is(403, "room-private"));
    let looked = stranger.get("/api/rooms/den/participants");
    assert_eq!(refused(&looked), is(403, "not-a-participant"));
    let wrong = stranger.post_json(door, &json!({"invite": "wrong"}));
    assert_eq!(refused(&wrong), is(403, "bad-invite"));
    let invite = house.invite("den", &["--uses", "1"]);
    stranger.post_json(door, &json!({"invite": invite})).ok();

    house.daemon.cli_json(&["room", "add-member", "den", "bob"]);
    house.bearer(&bob).post(door).ok();
    let named = Claims {
        rooms: Some(vec!["den".into()]),
        ..claims(&house.user("carol"))
    };
    house.claiming(named).post(door).ok();
}

#[test]
fn a_token_that_names_rooms_opens_no_other() {
    let house = House::new();
    house.room("r1", &[]);
    house.room("r2", &[]);
    let named = Claims {
        rooms: Some(vec!["r1".into()]),
        ..claims(&house.user("alice"))
    };
    let alice = house.claiming(named);
    alice.post("/api/rooms/r1/join").ok();
    for answer in [
        alice.post("/api/rooms/r2/join"),
        alice.get("/api/rooms/r2/participants"),
        alice.get("/api/ice-servers?room=r2"),
    ] {
        assert_eq!(refused(&answer), is(403, "not-for-this-room"));
    }
}

#[test]
fn a_token_that_cannot_be_believed_answers_401_and_says_how_to_come_in() {
    let house = House::new();
    let alice = house.user("alice");
    let expired = Claims {
        exp: now() - 1,
        ..claims(&alice)
    };
    let other = Tokens::new(
        &config::Auth::default(),
        &Secret::new("another secret, just as long as it is"),
    );
    for (client, code) in [
        (house.client.clone(), "unauthorized"),
        (house.client.with_token("nonsense"), "unauthorized"),
        (
            house.client.with_token(&other.issue(&claims(&alice))),
            "unauthorized",
        ),
        (house.bearer("stranger"), "unauthorized"),
        // A name is no id.
        (house.bearer("alice"), "unauthorized"),
        (house.claiming(expired), "token-expired"),
    ] {
        for answer in [
            client.get("/api/auth/me"),
            client.post("/api/rooms/none/join"),
        ] {
            assert_eq!(refused(&answer), is(401, code));
            let challenge = answer.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer"), "{challenge}");
        }
    }
}

#[test]
fn provisioning_makes_the_user_that_a_token_names() {
    let house = House::with(|builder| builder.env("PARLOR_AUTH__PROVISION_USERS", "true"));
    let named = Claims {
        name: Some("Dora".into()),
        ..claims("sub-17")
    };
    let me = house.claiming(named).get("/api/auth/me").ok();
    assert_eq!(
        (&me["id"], &me["display_name"]),
        (&json!("sub-17"), &json!("Dora"))
    );
    assert_eq!((&me["role"], &me["guest"]), (&json!("user"), &json!(false)));
    let users = house.daemon.cli_json(&["user", "list"]);
    assert_eq!(users[0]["id"], json!("sub-17"));
}

#[test]
fn me_tells_who_one_is_and_until_when() {
    let house = House::new();
    let id = house.user("alice");
    let me = house.bearer(&id).get("/api/auth/me").ok();
    assert_eq!((&me["id"], &me["name"]), (&json!(id), &json!("alice")));
    assert!(text(&me["expires_at"]).ends_with('Z'));
    assert_eq!(me.get("rooms"), None);
}

#[test]
fn a_guest_gets_a_token_for_one_room() {
    let house = House::new();
    house.room("r1", &["--private"]);
    house.room("r2", &[]);
    let answer = house.enter("r1", &house.invite("r1", &[]));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let entered = answer.ok();
    assert_eq!(entered["token_type"], json!("bearer"));
    assert!(entered["expires_in"].as_u64().unwrap() > 0);
    assert_eq!(entered["user"]["display_name"], json!("Gast"));
    let guest = house.client.with_token(&text(&entered["access_token"]));
    guest.post("/api/rooms/r1/join").ok();
    let me = guest.get("/api/auth/me").ok();
    assert_eq!(
        (&me["role"], &me["rooms"]),
        (&json!("guest"), &json!(["r1"]))
    );
    assert_eq!(me["id"], entered["user"]["id"]);
    for answer in [
        guest.post("/api/rooms/r2/join"),
        guest.get("/api/rooms/r2/participants"),
        guest.get("/api/ice-servers?room=r2"),
    ] {
        assert_eq!(refused(&answer), is(403, "not-for-this-room"));
    }
    let username = text(&guest.get("/api/ice-servers").ok()["iceServers"][1]["username"]);
    assert!(username.ends_with("/r1"), "{username}");
}

#[test]
fn the_lobbys_printed_link_lets_two_people_in() {
    let house = House::new();
    let link = house.daemon.invite_link();
    let (page, invite) = link.split_once('#').expect("an invite in the fragment");
    let room = page.rsplit_once('/').unwrap().1;
    for _ in 0..2 {
        let entered = house.enter(room, invite).ok();
        let guest = house.client.with_token(&text(&entered["access_token"]));
        guest.post(&format!("/api/rooms/{room}/join")).ok();
    }
}

#[test]
fn an_invite_that_is_wrong_or_used_up_answers_403_and_a_full_room_409() {
    let house = House::new();
    house.room("r1", &["--max-participants", "1"]);
    house.room("r2", &[]);
    let once = house.invite("r2", &["--uses", "1"]);
    house.enter("r2", &once).ok();
    assert_eq!(refused(&house.enter("r2", &once)), is(403, "bad-invite"));
    let other = house.invite("r2", &[]);
    assert_eq!(refused(&house.enter("r1", &other)), is(403, "bad-invite"));
    assert_eq!(refused(&house.enter("none", &other)), is(403, "bad-invite"));
    let invite = house.invite("r1", &[]);
    house.caller("alice").post("/api/rooms/r1/join").ok();
    assert_eq!(refused(&house.enter("r1", &invite)), is(409, "room-full"));
}

#[test]
fn guessing_invites_is_slowed_down() {
    let house = House::new();
    let guesses = (0..200).map(|_| house.enter("lobby", "guess").refusal());
    let limited: Vec<_> = guesses.filter(|refusal| refusal.0 == 429).collect();
    assert!(limited.len() > 100, "{}", limited.len());
    assert_eq!(limited[0], is(429, "too-many-attempts"));
    assert!(
        house
            .enter("lobby", "guess")
            .header("retry-after")
            .is_some()
    );
}

#[test]
fn bodies_that_are_not_what_a_route_takes_are_refused() {
    let house = House::with(|builder| builder.env("PARLOR_HTTP__MAX_BODY", "1000"));
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        let answer = house.client.send("POST", "/api/auth/guest", headers, body);
        answer.refusal()
    };
    let json = [("Content-Type", "application/json; charset=utf-8")];
    assert_eq!(post(&[], b"{}"), is(415, "unsupported-media-type"));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(post(&form, b"a=b"), is(415, "unsupported-media-type"));
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"room":1,"invite":"i","name":"n"}"#,
        "\u{feff}{}",
    ] {
        assert_eq!(
            post(&json, body.as_bytes()),
            is(400, "bad-request"),
            "{body}"
        );
    }
    assert_eq!(post(&json, &[0xff, 0xfe]), is(400, "bad-request"));
    assert_eq!(post(&json, &b" ".repeat(1001)), is(413, "too-large"));
    house.room("r1", &[]);
    let named = |name: &str| {
        let body = json!({"room": "r1", "invite": house.invite("r1", &[]), "name": name});
        house.client.post_json("/api/auth/guest", &body).refusal()
    };
    assert_eq!(named(""), is(400, "bad-request"));
    assert_eq!(named("\u{0}"), is(400, "bad-request"));
}

#[test]
fn a_join_takes_no_body_an_empty_one_and_what_existing_frontends_send() {
    let house = House::new();
    house.room("r1", &[]);
    let alice = house.caller("alice");
    let kind = [("Content-Type", "application/json")];
    let join = |headers: &[_], body: &[u8]| alice.send("POST", "/api/rooms/r1/join", headers, body);
    for body in ["", "{}", "null", r#"{"user_id":"x"}"#] {
        join(&kind, body.as_bytes()).ok();
    }
    join(&[], b"anything").ok();
    assert_eq!(refused(&join(&kind, b"{")), is(400, "bad-request"));
}

#[test]
fn unknown_rooms_paths_and_methods_are_told_apart() {
    let house = House::new();
    let alice = house.caller("alice");
    for path in [
        "/api/rooms/none/join",
        "/api/rooms/none/leave",
        "/api/rooms/a%20b/join",
    ] {
        assert_eq!(refused(&alice.post(path)), is(404, "not-found"), "{path}");
    }
    let looked = alice.get("/api/rooms/none/participants");
    assert_eq!(refused(&looked), is(404, "not-found"));
    assert_eq!(refused(&alice.get("/api/nothing")), is(404, "not-found"));
    let wrong = alice.get("/api/rooms/none/join");
    assert_eq!(refused(&wrong), is(405, "method-not-allowed"));
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[test]
fn ice_servers_are_what_a_peer_connection_takes() {
    let house = House::with(|builder| {
        builder
            .env("PARLOR_TURN__SECRET", "north")
            .env("STUN_SERVER_URL", "stun:stun.example:3478")
            .env("TURN_SERVER_URL", "turn:turn.example:3478")
            .env("TURN_USERNAME", "user")
            .env("TURN_PASSWORD", "pass")
    });
    let id = house.user("alice");
    let answer = house.bearer(&id).get("/api/ice-servers");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let ice = answer.ok();
    let port = house.daemon.turn().port();
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
fn ice_servers_for_a_room_are_for_its_participants_and_bound_to_it() {
    let house = House::new();
    house.room("r1", &[]);
    let id = house.user("alice");
    let alice = house.bearer(&id);
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
    let stun = |house: &House, host: &str| {
        let alice = house.bearer("alice");
        let answer = alice
            .send("GET", "/api/ice-servers", &[("Host", host)], b"")
            .ok();
        let url = text(&answer["iceServers"][0]["urls"][0]);
        url.rsplit_once(':').unwrap().0.to_owned()
    };
    let start = |change: fn(Builder) -> Builder| {
        House::with(|builder| change(builder.env("PARLOR_AUTH__PROVISION_USERS", "true")))
    };
    let plain = start(|builder| builder);
    assert_eq!(stun(&plain, "talk.example:8000"), "stun:talk.example");
    assert_eq!(stun(&plain, "[2001:db8::1]:8000"), "stun:[2001:db8::1]");
    let odd = plain
        .bearer("alice")
        .send("GET", "/api/ice-servers", &[("Host", "")], b"");
    assert_eq!(odd.status, 400);
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
fn admins_invite_and_others_do_not() {
    let house = House::new();
    house.room("r1", &[]);
    let admin = text(&house.daemon.cli_json(&["user", "add", "root", "--admin"])["id"]);
    let invites = "/api/rooms/r1/invites";
    let alice = house.caller("alice");
    let body = json!({"ttl": "1h", "uses": 1});
    assert_eq!(
        refused(&alice.post_json(invites, &body)),
        is(403, "forbidden")
    );
    let admin = house.bearer(&admin);
    let made = admin.post_json(invites, &body);
    assert_eq!(made.status, 201);
    let made = made.ok();
    let link = text(&made["link"]);
    assert_eq!(
        link,
        format!(
            "http://{}/r/r1#{}",
            house.daemon.http(),
            text(&made["invite"])
        )
    );
    house.enter("r1", &text(&made["invite"])).ok();
    let none = admin.post_json(invites, &json!({"uses": 0}));
    assert_eq!(refused(&none), is(400, "bad-request"));
}

#[test]
fn a_pages_preflight_is_answered() {
    let house = House::new();
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let answer = house
        .client
        .send("OPTIONS", "/api/rooms/r1/join", &headers, b"");
    assert!((200..300).contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization")
    );
}

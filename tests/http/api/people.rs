//! Accounts: tokens, guests, invites.

use super::*;

#[test]
fn a_private_room_opens_to_members_named_tokens_and_invites() {
    let fixture = Fixture::new();
    fixture.room("den", &["--private"]);
    let (alice, bob) = (fixture.user("alice"), fixture.user("bob"));
    let join_path = "/api/rooms/den/join";
    let outsider = fixture.bearer(&alice);
    assert_eq!(refused(&outsider.post(join_path)), is(404, "not-found"));
    let looked = outsider.get("/api/rooms/den/participants");
    assert_eq!(refused(&looked), is(404, "not-found"));
    let wrong = outsider.post_json(join_path, &json!({"invite": "wrong"}));
    assert_eq!(refused(&wrong), is(403, "bad-invite"));
    let invite = fixture.invite("den", &["--uses", "1"]);
    outsider
        .post_json(join_path, &json!({"invite": invite}))
        .ok();

    fixture
        .daemon
        .cli_json(&["room", "add-member", "den", "bob"]);
    fixture.bearer(&bob).post(join_path).ok();
    let named = Claims {
        rooms: Some(vec!["den".into()]),
        ..claims(&fixture.user("carol"))
    };
    fixture.claiming(named).post(join_path).ok();
}

#[test]
fn a_token_that_names_rooms_opens_no_other() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    fixture.room("r2", &[]);
    let named = Claims {
        rooms: Some(vec!["r1".into()]),
        ..claims(&fixture.user("alice"))
    };
    let alice = fixture.claiming(named);
    alice.post("/api/rooms/r1/join").ok();
    for answer in [
        alice.post("/api/rooms/r2/join"),
        alice.get("/api/rooms/r2/participants"),
        alice.get("/api/ice-servers?room=r2"),
        alice.post("/api/rooms/r2/leave"),
        alice.post("/api/rooms/none/leave"),
    ] {
        assert_eq!(refused(&answer), is(403, "not-for-this-room"));
    }
}

#[test]
fn a_token_that_cannot_be_believed_answers_401_and_says_how_to_come_in() {
    let fixture = Fixture::new();
    let alice = fixture.user("alice");
    let expired = Claims {
        exp: now() - 1,
        ..claims(&alice)
    };
    let other = Tokens::new(
        &config::Auth::default(),
        &Secret::new("another secret, just as long as it is"),
    );
    for (client, code) in [
        (fixture.client.clone(), "unauthorized"),
        (fixture.client.with_token("nonsense"), "unauthorized"),
        (
            fixture.client.with_token(&other.issue(&claims(&alice))),
            "unauthorized",
        ),
        (fixture.bearer("stranger"), "unauthorized"),
        // A name is no id.
        (fixture.bearer("alice"), "unauthorized"),
        (fixture.claiming(expired), "token-expired"),
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
    let fixture = Fixture::with(|builder| builder.env("PARLOR_AUTH__PROVISION_USERS", "true"));
    let named = Claims {
        name: Some("Dora".into()),
        ..claims("sub-17")
    };
    let me = fixture.claiming(named).get("/api/auth/me").ok();
    assert_eq!(
        (&me["id"], &me["display_name"]),
        (&json!("sub-17"), &json!("Dora"))
    );
    assert_eq!((&me["role"], &me["guest"]), (&json!("user"), &json!(false)));
    let users = fixture.daemon.cli_json(&["user", "list"]);
    assert_eq!(users[0]["id"], json!("sub-17"));
}

#[test]
fn me_tells_who_one_is_and_until_when() {
    let fixture = Fixture::new();
    let id = fixture.user("alice");
    let me = fixture.bearer(&id).get("/api/auth/me").ok();
    assert_eq!((&me["id"], &me["name"]), (&json!(id), &json!("alice")));
    assert!(text(&me["expires_at"]).ends_with('Z'));
    assert_eq!(me.get("rooms"), None);
}

#[test]
fn a_guest_gets_a_token_for_one_room() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--private"]);
    fixture.room("r2", &[]);
    let answer = fixture.enter("r1", &fixture.invite("r1", &[]));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let entered = answer.ok();
    assert_eq!(entered["token_type"], json!("bearer"));
    assert!(entered["expires_in"].as_u64().unwrap() > 0);
    assert_eq!(entered["user"]["display_name"], json!("Gast"));
    let guest = fixture.client.with_token(&text(&entered["access_token"]));
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
}

#[test]
fn the_lobbys_printed_link_lets_two_people_in() {
    let fixture = Fixture::new();
    let link = fixture.daemon.invite_link();
    let (page, invite) = link.split_once('#').expect("an invite in the fragment");
    let room = page.rsplit_once('/').unwrap().1;
    for _ in 0..2 {
        let entered = fixture.enter(room, invite).ok();
        let guest = fixture.client.with_token(&text(&entered["access_token"]));
        guest.post(&format!("/api/rooms/{room}/join")).ok();
    }
}

#[test]
fn an_invite_that_is_wrong_or_used_up_answers_403_and_a_full_room_409() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--max-participants", "1"]);
    fixture.room("r2", &[]);
    let once = fixture.invite("r2", &["--uses", "1"]);
    fixture.enter("r2", &once).ok();
    assert_eq!(refused(&fixture.enter("r2", &once)), is(403, "bad-invite"));
    let other = fixture.invite("r2", &[]);
    assert_eq!(refused(&fixture.enter("r1", &other)), is(403, "bad-invite"));
    assert_eq!(
        refused(&fixture.enter("none", &other)),
        is(403, "bad-invite")
    );
    let invite = fixture.invite("r1", &[]);
    fixture.caller("alice").post("/api/rooms/r1/join").ok();
    assert_eq!(refused(&fixture.enter("r1", &invite)), is(409, "room-full"));
}

#[test]
fn guessing_invites_is_slowed_down() {
    let fixture = Fixture::new();
    let guesses = (0..200).map(|_| fixture.enter("lobby", "guess").refusal());
    let limited: Vec<_> = guesses.filter(|refusal| refusal.0 == 429).collect();
    assert!(limited.len() > 100, "{}", limited.len());
    assert_eq!(limited[0], is(429, "too-many-attempts"));
    assert!(
        fixture
            .enter("lobby", "guess")
            .header("retry-after")
            .is_some()
    );
}

#[test]
fn admins_invite_and_others_do_not() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let admin = text(&fixture.daemon.cli_json(&["user", "add", "root", "--admin"])["id"]);
    let invites = "/api/rooms/r1/invites";
    let alice = fixture.caller("alice");
    let body = json!({"ttl": "1h", "uses": 1});
    assert_eq!(
        refused(&alice.post_json(invites, &body)),
        is(403, "forbidden")
    );
    let admin = fixture.bearer(&admin);
    let made = admin.post_json(invites, &body);
    assert_eq!(made.status, 201);
    let made = made.ok();
    let link = text(&made["link"]);
    assert_eq!(
        link,
        format!(
            "http://{}/r/r1#{}",
            fixture.daemon.http(),
            text(&made["invite"])
        )
    );
    fixture.enter("r1", &text(&made["invite"])).ok();
    let none = admin.post_json(invites, &json!({"uses": 0}));
    assert_eq!(refused(&none), is(400, "bad-request"));
}

#[test]
fn invites_are_listed_and_revoked_by_who_may_make_them() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    fixture.room("r2", &[]);
    let admin = text(&fixture.daemon.cli_json(&["user", "add", "root", "--admin"])["id"]);
    let admin = fixture.bearer(&admin);
    let invites = "/api/rooms/r1/invites";
    let made = admin.post_json(invites, &json!({"uses": 3})).ok();
    let one = format!("{invites}/{}", text(&made["id"]));
    let listed = admin.get(invites).ok();
    assert_eq!(listed["invites"][0]["id"], made["id"]);
    assert_eq!(listed["invites"][0]["uses_left"], json!(3));
    assert!(!listed.to_string().contains(&text(&made["invite"])));

    let alice = fixture.caller("alice");
    assert_eq!(refused(&alice.get(invites)), is(403, "forbidden"));
    let delete = |client: &Client, path: &str| client.send("DELETE", path, &[], b"");
    assert_eq!(refused(&delete(&alice, &one)), is(403, "forbidden"));
    let elsewhere = one.replace("/r1/", "/r2/");
    assert_eq!(refused(&delete(&admin, &elsewhere)), is(404, "not-found"));
    assert_eq!(fixture.enter("r1", &text(&made["invite"])).status, 200);
    delete(&admin, &one).ok();
    assert_eq!(admin.get(invites).ok(), json!({"invites": []}));
    let late = fixture.enter("r1", &text(&made["invite"]));
    assert_eq!(refused(&late), is(403, "invite-withdrawn"));
    assert_eq!(refused(&delete(&admin, &one)), is(404, "not-found"));
}

#[test]
fn a_disabled_user_answers_403_and_a_deleted_one_401_provisioning_or_not() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_AUTH__PROVISION_USERS", "true"));
    let alice = fixture.bearer("alice");
    alice.get("/api/auth/me").ok();
    fixture.sql("UPDATE users SET disabled_at = '2020-01-01T00:00:00Z'");
    assert_eq!(
        refused(&alice.get("/api/auth/me")),
        is(403, "user-disabled")
    );
    assert_eq!(
        refused(&alice.post("/api/rooms/lobby/join")),
        is(403, "user-disabled")
    );
    fixture.sql("UPDATE users SET deleted_at = '2020-01-01T00:00:00Z'");
    assert_eq!(refused(&alice.get("/api/auth/me")), is(401, "unauthorized"));
}

#[test]
fn an_invite_finds_its_room_without_a_room_id() {
    let fixture = Fixture::new();
    fixture.room("r1", &["--private"]);
    fixture.room("r2", &[]);
    let invite = fixture.invite("r1", &[]);
    let body = json!({"invite": invite, "display_name": "Gast"});
    let entered = fixture.client.post_json("/api/auth/guest", &body).ok();
    let guest = fixture.client.with_token(&text(&entered["access_token"]));
    assert_eq!(guest.get("/api/auth/me").ok()["rooms"], json!(["r1"]));
    guest.post("/api/rooms/r1/join").ok();
    assert_eq!(
        fixture.enter("r2", &invite).status,
        403,
        "the two must agree"
    );
}

#[test]
fn a_name_that_deceives_is_refused_where_somebody_types_it_and_cleaned_in_a_token() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_AUTH__PROVISION_USERS", "true"));
    fixture.room("r1", &[]);
    let invite = fixture.invite("r1", &[]);
    let enter = |name: &str| {
        let body = json!({"room": "r1", "invite": invite, "name": name});
        fixture.client.post_json("/api/auth/guest", &body)
    };
    let alice = fixture.caller("alice");
    for name in [
        "",
        "\u{2800}",
        "a\u{202e}b",
        "a\u{e0041}b",
        "a\u{3164}b",
        "a\u{200d}b",
    ] {
        assert_eq!(refused(&enter(name)), is(400, "bad-request"), "{name:?}");
        let room = alice.post_json("/api/rooms", &json!({"name": name}));
        assert_eq!(refused(&room), is(400, "bad-request"), "{name:?}");
    }
    for name in ["❤\u{fe0f}", "👩\u{200d}💻", "می\u{200c}خواهم"] {
        let entered = enter(name).ok();
        assert_eq!(entered["user"]["display_name"], json!(name));
        alice.post_json("/api/rooms", &json!({"name": name})).ok();
    }
    for (sub, name, shown) in [
        (
            "eve",
            "\u{202e}eve\u{e0041} 👩\u{200d}💻",
            "eve 👩\u{200d}💻",
        ),
        ("dan@example.org", "\u{3164}\u{200b}", "dan@example.org"),
    ] {
        let named = Claims {
            name: Some(name.to_owned()),
            ..claims(sub)
        };
        let me = fixture.claiming(named).get("/api/auth/me").ok();
        assert_eq!(me["display_name"], json!(shown));
    }
}

//! Owners, moderators and admins moderate a room over HTTP.

use super::*;

/// A room of its owner, and people who are in it.
struct Room {
    fixture: Fixture,
    id: String,
    owner: Client,
    owner_id: String,
}

impl Room {
    fn new(body: &Value) -> Room {
        let fixture = Fixture::new();
        let owner_id = fixture.user("owner");
        let owner = fixture.bearer(&owner_id);
        let made = owner.post_json("/api/rooms", body).ok();
        let room = Room {
            fixture,
            id: text(&made["id"]),
            owner,
            owner_id,
        };
        room.join(&room.owner).ok();
        room
    }

    fn open() -> Room {
        Room::new(&json!({"name": "Den"}))
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/rooms/{}{rest}", self.id)
    }

    fn join(&self, caller: &Client) -> Answer {
        caller.post(&self.path("/join"))
    }

    /// Adds a user who has joined, with their id.
    fn member(&self, name: &str) -> (Client, String) {
        let id = self.fixture.user(name);
        let caller = self.fixture.bearer(&id);
        self.join(&caller).ok();
        (caller, id)
    }

    fn moderator(&self, name: &str) -> (Client, String) {
        let (caller, id) = self.member(name);
        self.set_role(&self.owner, &id, "moderator").ok();
        (caller, id)
    }

    /// A guest who has joined by an invite, with the id.
    fn guest(&self, invite: &str, name: &str) -> (Client, String) {
        let body = json!({"room": self.id, "invite": invite, "name": name});
        let entered = self.fixture.client.post_json("/api/auth/guest", &body).ok();
        let guest = self
            .fixture
            .client
            .with_token(&text(&entered["access_token"]));
        self.join(&guest).ok();
        (guest, text(&entered["user"]["id"]))
    }

    fn kick(&self, caller: &Client, user: &str) -> Answer {
        let path = self.path(&format!("/participants/{user}/kick"));
        caller.post_json(&path, &json!({"reason": "noise"}))
    }

    fn set_role(&self, caller: &Client, user: &str, role: &str) -> Answer {
        let path = self.path(&format!("/participants/{user}/role"));
        caller.post_json(&path, &json!({"role": role}))
    }

    fn ban(&self, caller: &Client, body: &Value) -> Answer {
        caller.post_json(&self.path("/bans"), body)
    }

    fn unban(&self, caller: &Client, user: &str) -> Answer {
        let path = self.path(&format!("/bans/{user}"));
        caller.send("DELETE", &path, &[], b"")
    }

    /// The roles of the participants, by their ids.
    fn role(&self, user: &str) -> Value {
        let listed = self.owner.get(&self.path("/participants")).ok();
        let listed = listed["participants"].as_array().unwrap();
        let mut found = listed.iter().filter(|one| one["user_id"] == user);
        found.next().map_or(Value::Null, |one| one["role"].clone())
    }
}

#[test]
fn a_moderator_kicks_a_member_until_the_cooldown_is_over() {
    let room = Room::open();
    let (moderator, moderator_id) = room.moderator("mo");
    let id = room.fixture.user("alice");
    let token = sign(&claims(&id));
    let alice = room.fixture.client.with_token(&token);
    room.join(&alice).ok();
    let mut socket = room.fixture.connect(&room.id, &token);
    let kicked = room.kick(&moderator, &id).ok();
    assert_eq!(
        kicked,
        json!({"success": true, "message": "Removed alice", "cooldown": 30})
    );
    assert_eq!(close_code(&mut socket), 4005);
    assert_eq!(refused(&room.join(&alice)), is(403, "kicked"));
    assert_eq!(refused(&room.kick(&moderator, &id)), is(404, "not-found"));
    let audit = moderator.get(&room.path("/audit")).ok();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["reason"]),
        (&json!("kick"), &json!("noise"))
    );
    assert_eq!(entry["actor"]["user_id"], json!(moderator_id));
    assert_eq!(
        entry["target"],
        json!({"user_id": id, "display_name": "alice"})
    );
}

#[test]
fn moderators_act_on_members_and_guests_alone_and_nobody_on_themselves() {
    let room = Room::open();
    let (moderator, moderator_id) = room.moderator("mo");
    let (_, other_id) = room.moderator("max");
    let (member, member_id) = room.member("alice");
    let admin = room
        .fixture
        .daemon
        .cli_json(&["user", "add", "root", "--admin"]);
    let admin_id = text(&admin["id"]);
    let admin = room.fixture.bearer(&admin_id);
    room.join(&admin).ok();
    let ban = |caller: &Client, user: &str| room.ban(caller, &json!({"user_id": user}));
    for act in [&|caller: &Client, user: &str| room.kick(caller, user), &ban]
        as [&dyn Fn(&Client, &str) -> Answer; 2]
    {
        for (caller, user, code) in [
            (&moderator, &moderator_id, "yourself"),
            (&moderator, &other_id, "protected"),
            (&moderator, &room.owner_id, "protected"),
            (&moderator, &admin_id, "protected"),
            (&room.owner, &room.owner_id, "yourself"),
            (&room.owner, &admin_id, "protected"),
            (&admin, &admin_id, "yourself"),
            (&member, &moderator_id, "forbidden"),
            // Permission is judged before existence.
            (&member, &"nobody".to_owned(), "forbidden"),
        ] {
            assert_eq!(refused(&act(caller, user)), is(403, code), "{user}");
        }
        // A user whom nobody in the room has met, or nobody at all.
        room.fixture.sql(
            "INSERT INTO users (id, name, display_name, created_at)
                 SELECT 'away', 'away', 'Away', '2026-01-01T00:00:00Z' WHERE NOT EXISTS (
                     SELECT 1 FROM users WHERE id = 'away')",
        );
        for user in ["away", "nobody"] {
            assert_eq!(
                refused(&act(&moderator, user)),
                is(404, "not-found"),
                "{user}"
            );
        }
    }
    assert_eq!(room.role(&admin_id), json!("owner"));
    room.kick(&room.owner, &other_id).ok();
    room.kick(&moderator, &member_id).ok();
    ban(&admin, &moderator_id).ok();
    assert_eq!(refused(&room.join(&moderator)), is(403, "banned"));
    // A kicked moderator waits, too.
    let max = room.fixture.bearer(&other_id);
    let lock = max.post(&room.path("/lock"));
    assert_eq!(refused(&lock), is(403, "kicked"));
    let delete = max.send("DELETE", &room.path("/messages/1"), &[], b"");
    assert_eq!(refused(&delete), is(403, "kicked"));
}

#[test]
fn an_owner_names_moderators_and_hands_the_room_over() {
    let room = Room::new(&json!({"name": "Den", "private": true}));
    let add = |name: &str| {
        let id = room.fixture.user(name);
        room.fixture
            .daemon
            .cli_json(&["room", "add-member", &room.id, name]);
        (room.fixture.bearer(&id), id)
    };
    let (alice, alice_id) = add("alice");
    let (bob, bob_id) = add("bob");
    assert_eq!(room.role(&alice_id), json!("member"));
    let named = room.set_role(&room.owner, &alice_id, "moderator").ok();
    let expected = json!({
        "success": true, "user_id": alice_id, "role": "moderator", "former_owner_id": null,
    });
    assert_eq!(named, expected);
    assert_eq!(room.role(&alice_id), json!("moderator"));
    for (caller, user, role, refusal) in [
        (&alice, &bob_id, "moderator", is(403, "forbidden")),
        (&bob, &alice_id, "member", is(403, "forbidden")),
        (&room.owner, &room.owner_id, "member", is(403, "yourself")),
        (
            &room.owner,
            &"nobody".to_owned(),
            "moderator",
            is(404, "not-found"),
        ),
        (&room.owner, &bob_id, "king", is(400, "bad-request")),
    ] {
        let answer = room.set_role(caller, user, role);
        assert_eq!(refused(&answer), refusal, "{user} {role}");
    }
    // The role outlives the membership, and opens the private room.
    alice.post(&room.path("/leave")).ok();
    room.join(&alice).ok();
    let handed = room.set_role(&room.owner, &alice_id, "owner").ok();
    assert_eq!(handed["former_owner_id"], json!(room.owner_id));
    let read = alice.get(&room.path("")).ok();
    assert_eq!(read["owner_id"], json!(alice_id));
    assert_eq!(room.role(&alice_id), json!("owner"));
    assert_eq!(room.role(&room.owner_id), json!("moderator"));
    let again = room.set_role(&room.owner, &bob_id, "owner");
    assert_eq!(refused(&again), is(403, "forbidden"));
    let admin = room
        .fixture
        .daemon
        .cli_json(&["user", "add", "root", "--admin"]);
    let admin = room.fixture.bearer(&text(&admin["id"]));
    let demoted = room.set_role(&admin, &alice_id, "member");
    assert_eq!(refused(&demoted), is(409, "last-owner"));
    room.set_role(&alice, &room.owner_id, "member").ok();
    assert_eq!(room.role(&room.owner_id), json!("member"));
    room.set_role(&admin, &bob_id, "owner").ok();
    assert_eq!(room.role(&alice_id), json!("moderator"));
}

#[test]
fn a_guest_has_no_other_role() {
    let room = Room::open();
    let invite = room.fixture.invite(&room.id, &[]);
    let (_, id) = room.guest(&invite, "Gast");
    assert_eq!(room.role(&id), json!("guest"));
    for role in ["moderator", "owner"] {
        let answer = room.set_role(&room.owner, &id, role);
        assert_eq!(refused(&answer), is(409, "ineligible"), "{role}");
    }
}

#[test]
fn a_locked_room_refuses_newcomers_and_lets_members_come_back() {
    let room = Room::open();
    let (moderator, _) = room.moderator("mo");
    let member_id = room.fixture.user("alice");
    let token = sign(&claims(&member_id));
    let member = room.fixture.client.with_token(&token);
    room.join(&member).ok();
    let invite = room.fixture.invite(&room.id, &["--uses", "2"]);
    let (guest, _) = room.guest(&invite, "Gast");
    let locked = moderator.post(&room.path("/lock")).ok();
    assert_eq!(locked["locked"], json!(true));
    let refusal = is(423, "room-locked");
    let newcomer_id = room.fixture.user("bob");
    let newcomer_token = sign(&claims(&newcomer_id));
    let newcomer = room.fixture.client.with_token(&newcomer_token);
    assert_eq!(refused(&room.join(&newcomer)), refusal);
    let body = json!({"room": room.id, "invite": invite, "name": "Late"});
    let late = room.fixture.client.post_json("/api/auth/guest", &body);
    assert_eq!(refused(&late), refusal);
    let mut socket = room.fixture.connect(&room.id, &newcomer_token);
    assert_eq!(close_code(&mut socket), 4003);
    let preview = |caller: &Client| caller.get(&room.path("/preview")).ok()["locked"].clone();
    assert_eq!(preview(&newcomer), json!(true));
    for insider in [&member, &guest, &moderator, &room.owner] {
        assert_eq!(preview(insider), json!(false));
        assert_eq!(room.join(insider).ok()["room"]["locked"], json!(true));
    }
    let mut socket = room.fixture.connect(&room.id, &token);
    let listed = newcomer.get("/api/rooms").ok();
    let listed = listed["rooms"].as_array().unwrap().iter();
    let states: Vec<(&Value, &Value)> = listed.map(|one| (&one["name"], &one["locked"])).collect();
    assert!(
        states.contains(&(&json!("Den"), &json!(true))),
        "{states:?}"
    );
    // A moderator comes back after leaving, and a member does not.
    moderator.post(&room.path("/leave")).ok();
    room.join(&moderator).ok();
    member.post(&room.path("/leave")).ok();
    assert_eq!(close_code(&mut socket), 4003);
    assert_eq!(refused(&room.join(&member)), refusal);
    let unlocked = moderator.post(&room.path("/unlock")).ok();
    assert_eq!(unlocked["locked"], json!(false));
    room.join(&newcomer).ok();
    // The locked room has not used up the invite.
    room.fixture.client.post_json("/api/auth/guest", &body).ok();
}

#[test]
fn a_guests_ban_revokes_the_invite_and_says_how_to_make_a_new_link() {
    let room = Room::open();
    let (moderator, moderator_id) = room.moderator("mo");
    let invite = room.fixture.invite(&room.id, &[]);
    let (mallory, mallory_id) = room.guest(&invite, "Mallory");
    let (dora, _) = room.guest(&invite, "Dora");
    let until = parlor::storage::utc::format(now() + 3600);
    let ban = json!({"user_id": mallory_id, "until": until, "reason": "noise"});
    let banned = room.ban(&moderator, &ban);
    assert_eq!(banned.status, 201);
    let banned = banned.ok();
    assert_eq!(
        (&banned["invite_revoked"], &banned["until"]),
        (&json!(true), &json!(until))
    );
    let said = text(&banned["message"]);
    let expected = format!("POST {}", room.path("/invites"));
    assert!(said.contains(&expected), "{said}");
    assert_eq!(refused(&room.join(&mallory)), is(403, "banned"));
    let body = json!({"room": room.id, "invite": invite, "name": "Mallory"});
    let again = room.fixture.client.post_json("/api/auth/guest", &body);
    assert_eq!(refused(&again), is(403, "invite-withdrawn"));
    room.join(&dora).ok();
    let bans = moderator.get(&room.path("/bans")).ok();
    let listed = &bans["bans"][0];
    assert_eq!(
        (&listed["user_id"], &listed["reason"], &listed["until"]),
        (&json!(mallory_id), &json!("noise"), &json!(until))
    );
    assert_eq!(listed["created_by"], json!(moderator_id));
    room.unban(&moderator, &mallory_id).ok();
    assert_eq!(
        refused(&room.unban(&moderator, &mallory_id)),
        is(404, "not-found")
    );
    room.join(&mallory).ok();

    let kept = room.fixture.invite(&room.id, &[]);
    let (_, mallory_id) = room.guest(&kept, "Mallory");
    let ban = json!({"user_id": mallory_id, "keepInvite": true});
    let banned = room.ban(&moderator, &ban).ok();
    assert_eq!(
        (&banned["invite_revoked"], &banned["until"]),
        (&json!(false), &Value::Null)
    );
    room.guest(&kept, "Dora");
}

#[test]
fn the_audit_has_pages_and_names_the_shell() {
    let room = Room::open();
    let daemon = &room.fixture.daemon;
    for _ in 0..2 {
        room.owner.post(&room.path("/lock")).ok();
        room.owner.post(&room.path("/unlock")).ok();
    }
    let (_, id) = room.member("alice");
    daemon.cli_json(&["room", "kick", &room.id, "alice"]);
    let mut actions = Vec::new();
    let mut before = String::new();
    loop {
        let page = room
            .owner
            .get(&room.path(&format!("/audit?limit=2{before}")))
            .ok();
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 2);
        actions.extend(entries.iter().map(|entry| text(&entry["action"])));
        let Some(next) = page["next_before"].as_i64() else {
            break;
        };
        before = format!("&before={next}");
    }
    assert_eq!(actions, ["kick", "unlock", "lock", "unlock", "lock"]);
    let newest = room.owner.get(&room.path("/audit?limit=1")).ok();
    let entry = &newest["entries"][0];
    assert_eq!(
        entry["actor"],
        json!({"user_id": null, "display_name": "admin shell"})
    );
    assert_eq!(entry["target"]["user_id"], json!(id));
    for query in ["limit=0", "limit=201", "before=x"] {
        let answer = room.owner.get(&room.path(&format!("/audit?{query}")));
        assert_eq!(refused(&answer), is(400, "bad-request"), "{query}");
    }
}

#[test]
fn a_moderation_that_is_not_valid_says_why() {
    let room = Room::open();
    let (_, id) = room.member("alice");
    let bad = is(400, "bad-request");
    let long = "x".repeat(501);
    for reason in ["", " ", "a\u{7}b", &long] {
        let kick = room.path(&format!("/participants/{id}/kick"));
        for (path, body) in [
            (kick, json!({"reason": reason})),
            (room.path("/lock"), json!({"reason": reason})),
            (room.path("/bans"), json!({"user_id": id, "reason": reason})),
        ] {
            let answer = room.owner.post_json(&path, &body);
            assert_eq!(refused(&answer), bad, "{path} {reason:?}");
        }
    }
    for body in [
        json!({}),
        json!({"user_id": id, "until": "tomorrow"}),
        json!({"user_id": id, "until": "2020-01-01T00:00:00Z"}),
        json!({"user_id": id, "keep_invite": true}),
        json!({"user_id": 7}),
        json!([]),
    ] {
        assert_eq!(refused(&room.ban(&room.owner, &body)), bad, "{body}");
    }
    let plain = room.owner.post(&room.path("/bans"));
    assert_eq!(refused(&plain), is(415, "unsupported-media-type"));
    room.owner.send("DELETE", &room.path(""), &[], b"").ok();
    for answer in [
        room.kick(&room.owner, &id),
        room.owner.post(&room.path("/lock")),
        room.owner.get(&room.path("/audit")),
    ] {
        assert_eq!(refused(&answer), is(410, "room-closed"));
    }
}

#[test]
fn a_moderator_changes_too_much_and_waits() {
    let room = Room::open();
    let answers = (0..40).map(|_| room.owner.post(&room.path("/lock")));
    let limited = answers.into_iter().find(|answer| answer.status == 429);
    let limited = limited.expect("a limit");
    assert_eq!(refused(&limited), is(429, "too-many-requests"));
}

#[test]
fn bans_are_read_in_pages() {
    let room = Room::open();
    let users: Vec<String> = (0..3)
        .map(|number| room.member(&format!("user-{number}")).1)
        .collect();
    for user in &users {
        room.ban(&room.owner, &json!({"user_id": user})).ok();
    }
    let mut listed = Vec::new();
    let mut path = room.path("/bans?limit=2");
    loop {
        let page = room.owner.get(&path).ok();
        let bans = page["bans"].as_array().expect("a list");
        listed.extend(bans.iter().map(|ban| text(&ban["user_id"])));
        let Some(next) = page["next_after"].as_str() else {
            break;
        };
        path = room.path(&format!("/bans?limit=2&after={next}"));
    }
    listed.sort();
    let mut users = users;
    users.sort();
    assert_eq!(listed, users);
    let unknown = room.owner.get(&room.path("/bans?after=nobody"));
    assert_eq!(refused(&unknown), is(400, "bad-request"));
    let shown = room
        .fixture
        .daemon
        .cli_json(&["room", "bans", &room.id, "--after", &listed[0]]);
    assert!(
        shown.as_array().is_some_and(|bans| bans.len() < 3),
        "{shown}"
    );
}

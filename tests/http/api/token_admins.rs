//! Users whom the token of another issuer makes admins (`auth.trust_roles`).

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::*;

/// A token of another issuer with the same secret.
fn foreign(sub: &str, role: &str) -> String {
    let claims = json!({"sub": sub, "exp": now() + 3600, "role": role});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token")
}

#[test]
fn a_connected_admin_by_token_is_protected_like_other_admins() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_AUTH__TRUST_ROLES", "true"));
    let owner = fixture.caller("owner");
    let made = owner.post_json("/api/rooms", &json!({"name": "Den"})).ok();
    let room = text(&made["id"]);
    let (root, member) = (fixture.user("root"), fixture.user("member"));
    let mut messages = Vec::new();
    let mut sockets = Vec::new();
    for (user, role) in [(&root, "admin"), (&member, "user")] {
        let token = foreign(user, role);
        let caller = fixture.client.with_token(&token);
        caller.post(&format!("/api/rooms/{room}/join")).ok();
        let message = json!({"content": "hello"});
        let written = caller.post_json(&format!("/api/rooms/{room}/messages"), &message);
        messages.push(written.ok()["id"].clone());
        sockets.push(fixture.connect(&room, &token));
    }
    let moderator = fixture.caller("moderator");
    fixture
        .daemon
        .cli_json(&["room", "role", &room, "moderator", "moderator"]);
    let kick = |caller: &Client, user: &str| {
        caller.post(&format!("/api/rooms/{room}/participants/{user}/kick"))
    };
    for caller in [&owner, &moderator] {
        assert_eq!(refused(&kick(caller, &root)), is(403, "protected"));
        let ban = json!({"user_id": root});
        let banned = caller.post_json(&format!("/api/rooms/{room}/bans"), &ban);
        assert_eq!(refused(&banned), is(403, "protected"));
    }
    let path = format!("/api/rooms/{room}/messages/{}", messages[0]);
    let deleted = moderator.send("DELETE", &path, &[], b"");
    assert_eq!(refused(&deleted), is(403, "protected"));
    // Somebody else with a token of the same issuer is not.
    kick(&moderator, &member).ok();
    // Without a connection, nothing here knows of the role.
    sockets.clear();
    let kicked = (0..1000).find_map(|_| {
        let answer = kick(&owner, &root);
        if answer.status == 200 {
            return Some(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        None
    });
    assert!(kicked.is_some());
}

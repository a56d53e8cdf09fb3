//! The renewal of a guest's token, which prolongs the access of a guest who may stay.

use super::*;

const TTL: i64 = 12 * 3600;

/// A guest in the room `den`, whose access ends soon.
struct Guest {
    fixture: Fixture,
    client: Client,
    id: String,
}

impl Guest {
    /// With an invite for one use, so that it is used up.
    fn new() -> Guest {
        let no_pause = ("PARLOR_ROOMS__KICK_COOLDOWN", "0s");
        let fixture = Fixture::with(|builder| builder.env(no_pause.0, no_pause.1));
        fixture.room("den", &["--private"]);
        fixture.room("study", &[]);
        let entered = fixture.enter("den", &fixture.invite("den", &["--uses", "1"]));
        let entered = entered.ok();
        let client = fixture.with_answer(&entered);
        client.post("/api/rooms/den/join").ok();
        let id = text(&entered["user"]["id"]);
        let guest = Guest {
            fixture,
            client,
            id,
        };
        guest.ends_soon();
        guest
    }

    /// The access ends within the minute.
    fn ends_soon(&self) {
        let soon = clock::now().unix + 50;
        let soon = time::OffsetDateTime::from_unix_timestamp(soon as i64).expect("a time");
        let soon = soon
            .format(&time::format_description::well_known::Rfc3339)
            .expect("a text");
        let sql = format!(
            "UPDATE users SET guest_until = '{soon}' WHERE id = '{}'",
            self.id
        );
        self.fixture.sql(&sql);
    }

    /// Renews the token; returns the client with the other one, and the seconds until it ends.
    fn renews(&self) -> (Client, i64) {
        let fresh = self.client.post("/api/auth/refresh").ok();
        let seconds = fresh["expires_in"].as_i64().expect("seconds");
        (self.fixture.with_answer(&fresh), seconds)
    }

    fn cli(&self, arguments: &[&str]) -> Value {
        self.fixture.daemon.cli_json(arguments)
    }
}

#[test]
fn a_guest_who_renews_the_token_stays_in_the_room_and_gets_no_other_rights() {
    let guest = Guest::new();
    let before = guest.client.get("/api/auth/me").ok();
    let (renewed, seconds) = guest.renews();
    assert_eq!(seconds, TTL);
    let mut after = renewed.get("/api/auth/me").ok();
    after["expires_at"] = before["expires_at"].clone();
    assert_eq!(after, before);
    assert_eq!(after["rooms"], json!(["den"]));
    renewed.post("/api/rooms/den/join").ok();
    let elsewhere = renewed.post("/api/rooms/study/join");
    assert_eq!(refused(&elsewhere), is(403, "not-for-this-room"));
    let made = renewed.post_json("/api/rooms", &json!({"name": "Own"}));
    assert_eq!(made.status, 403);
    let ice = renewed.get("/api/ice-servers?room=den").ok();
    assert!(ice["ttl"].as_i64().expect("seconds") > 60, "{ice}");
    // Again at once: the access lasts for as long as before.
    assert!(guest.renews().1 > TTL - 60);
}

#[test]
fn a_guest_who_may_not_stay_renews_no_access() {
    let guest = Guest::new();
    let still_ends = |what: &str| {
        let (_, seconds) = guest.renews();
        assert!(seconds <= 50, "{what}: {seconds}");
    };
    guest.client.post("/api/rooms/den/leave").ok();
    still_ends("left");
    guest.client.post("/api/rooms/den/join").ok();
    guest.cli(&["room", "kick", "den", &guest.id]);
    still_ends("kicked");
    guest.cli(&["room", "ban", "den", &guest.id, "--keep-invite"]);
    still_ends("banned");
    guest.cli(&["room", "unban", "den", &guest.id]);
    guest.client.post("/api/rooms/den/join").ok();
    assert_eq!(guest.renews().1, TTL);
    guest.ends_soon();
    guest
        .fixture
        .sql("UPDATE room_invites SET revoked_at = created_at");
    still_ends("with a revoked invite");
    guest
        .fixture
        .sql("UPDATE room_invites SET revoked_at = NULL");
    assert_eq!(guest.renews().1, TTL);
    guest.cli(&["user", "disable", &guest.id]);
    let disabled = guest.client.post("/api/auth/refresh");
    assert_eq!(refused(&disabled), is(403, "user-disabled"));
    // The token of before is not valid again.
    guest.cli(&["user", "enable", &guest.id]);
    let signed_out = guest.client.post("/api/auth/refresh");
    assert_eq!(refused(&signed_out), is(401, "signed-out"));
}

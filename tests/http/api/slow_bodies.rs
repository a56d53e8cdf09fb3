//! Callers who lose a right while they send the body of a request.

use super::*;

/// A request whose head the server has read and accepted, and whose body is still to come.
struct Begun {
    socket: TcpStream,
    body: String,
}

impl Begun {
    fn new(fixture: &Fixture, user: &str, (method, path): (&str, &str), body: &Value) -> Begun {
        let (body, address) = (body.to_string(), fixture.daemon.http());
        let mut socket = TcpStream::connect(address).expect("the server listens");
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            sign(&claims(user)),
            body.len()
        );
        socket.write_all(head.as_bytes()).expect("a head");
        // The server sends it when it begins to read the body.
        let mut answer = [0; 25];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
        Begun { socket, body }
    }

    /// Sends the body, and returns the status and the code of the error.
    fn finish(mut self) -> (u16, String) {
        self.socket.write_all(self.body.as_bytes()).expect("a body");
        let mut answer = String::new();
        self.socket.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let code = body["code"].as_str().unwrap_or("none");
        (status.parse().expect("a number"), code.to_owned())
    }
}

/// A private room with an owner, a moderator and a member, and an admin.
struct People {
    fixture: Fixture,
    room: String,
    owner: String,
    moderator: String,
    member: String,
    admin: String,
}

impl People {
    fn new() -> People {
        let fixture = Fixture::new();
        let [owner, moderator, member] =
            ["owner", "moderator", "member"].map(|name| fixture.user(name));
        let admin = fixture
            .daemon
            .cli_json(&["user", "add", "admin", "--admin"]);
        let body = json!({"name": "Den", "private": true});
        let made = fixture.bearer(&owner).post_json("/api/rooms", &body).ok();
        let people = People {
            room: text(&made["id"]),
            owner,
            moderator,
            member,
            admin: text(&admin["id"]),
            fixture,
        };
        people.cli(&["room", "add-member", &people.room, "member"]);
        people.set_roles();
        people
    }

    fn cli(&self, arguments: &[&str]) {
        self.fixture.daemon.cli_json(arguments);
    }

    fn set_roles(&self) {
        self.cli(&["room", "role", &self.room, "owner", "owner"]);
        self.cli(&["room", "role", &self.room, "moderator", "moderator"]);
        self.cli(&["room", "role", &self.room, "member", "member"]);
    }

    /// Begins a request of `user`, makes a change, and returns the answer.
    fn answer(
        &self,
        user: &str,
        (method, path): (&str, &str),
        body: &Value,
        change: impl FnOnce(),
    ) -> (u16, String) {
        let path = format!("/api/rooms/{}{path}", self.room);
        let begun = Begun::new(&self.fixture, user, (method, &path), body);
        change();
        begun.finish()
    }
}

#[test]
fn a_moderator_who_is_demoted_during_the_body_does_nothing() {
    let people = People::new();
    let member = &people.member;
    let kick = format!("/participants/{member}/kick");
    let reason = json!({"reason": "noise"});
    for (request, body) in [
        (("POST", kick.as_str()), &reason),
        (("POST", "/bans"), &json!({"user_id": member})),
        (("DELETE", &format!("/bans/{member}")), &reason),
        (("POST", "/lock"), &reason),
        (("POST", "/unlock"), &reason),
    ] {
        let demote = || people.cli(&["room", "role", &people.room, "moderator", "member"]);
        // Without the role, a private room does not exist for those who are not in it.
        let answer = people.answer(&people.moderator, request, body, demote);
        assert_eq!(answer, is(404, "not-found"), "{request:?}");
        people.set_roles();
    }
    let ban = || people.cli(&["room", "ban", &people.room, "moderator"]);
    let answer = people.answer(&people.moderator, ("POST", &kick), &reason, ban);
    assert_eq!(answer, is(403, "banned"));
    let owner = people.fixture.bearer(&people.owner);
    assert_eq!(members(&owner, &people.room), [member.as_str()]);
}

#[test]
fn an_owner_who_is_replaced_during_the_body_does_nothing() {
    let people = People::new();
    let role = format!("/participants/{}/role", people.member);
    for (request, body) in [
        (("POST", role.as_str()), json!({"role": "moderator"})),
        (("PATCH", ""), json!({"name": "Mine"})),
        (("POST", "/invites"), json!({})),
    ] {
        let replace = || people.cli(&["room", "role", &people.room, "moderator", "owner"]);
        let answer = people.answer(&people.owner, request, &body, replace);
        assert_eq!(answer, is(403, "forbidden"), "{request:?}");
        people.set_roles();
    }
}

#[test]
fn an_admin_who_is_demoted_during_the_body_does_not_enter_a_private_room() {
    let people = People::new();
    let demote = || {
        let id = &people.admin;
        let sql = format!("UPDATE users SET is_admin = (1 = 0) WHERE id = '{id}'");
        assert_eq!(people.fixture.daemon.change(&sql), 1);
    };
    let answer = people.answer(&people.admin, ("POST", "/join"), &json!({}), demote);
    assert_eq!(answer, is(404, "not-found"));
}

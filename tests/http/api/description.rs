//! `GET /api/openapi.json` against real answers: their statuses are described, and so is all that
//! is in them.

use std::collections::BTreeSet;

use super::*;

/// The description, and the operations that were tried.
struct Api<'a> {
    fixture: &'a Fixture,
    document: Value,
    tried: BTreeSet<(String, String)>,
}

impl<'a> Api<'a> {
    fn of(fixture: &'a Fixture) -> Api<'a> {
        Api {
            document: fixture.client.get("/api/openapi.json").ok(),
            fixture,
            tried: BTreeSet::new(),
        }
    }

    /// Sends `body` (nothing where that is `null`) to an operation, with the names in its path
    /// filled in, and holds the answer against what is described.
    fn try_it(&mut self, caller: &Client, call: &str, body: Value, status: u16) -> Value {
        let (method, call) = call.split_once(' ').expect("a method and a path");
        let (path, _) = call.split_once('?').unwrap_or((call, ""));
        let template = self.template(path);
        let kind = [("Content-Type", "application/json")];
        let (headers, body) = match body {
            Value::Null => (&kind[..0], String::new()),
            body => (&kind[..], body.to_string()),
        };
        let answer = caller.send(method, call, headers, body.as_bytes());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{method} {call}: {text}");
        let method = method.to_ascii_lowercase();
        let described = &self.document["paths"][&template][&method]["responses"];
        let described = self.resolve(&described[status.to_string()]);
        assert!(described.is_object(), "{method} {template}: {status}");
        self.tried.insert((method, template));
        let kind = answer.header("content-type").unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("");
        let content = &described["content"][kind];
        assert!(content.is_object(), "{call}: {kind} in {described}");
        if kind != "application/json" {
            return Value::Null;
        }
        self.check(&content["schema"], &answer.json(), call);
        answer.json()
    }

    /// The described path that fits.
    fn template(&self, path: &str) -> String {
        let fits = |template: &str| {
            let segments = template.split('/').count() == path.split('/').count();
            let mut pairs = template.split('/').zip(path.split('/'));
            segments && pairs.all(|(known, given)| known.starts_with('{') || known == given)
        };
        let paths = self.document["paths"].as_object().expect("paths");
        let mut fitting: Vec<_> = paths.keys().filter(|template| fits(template)).collect();
        fitting.sort_by_key(|template| template.matches('{').count());
        fitting
            .first()
            .unwrap_or_else(|| panic!("{path}"))
            .to_string()
    }

    fn resolve(&self, value: &Value) -> Value {
        match value["$ref"].as_str() {
            Some(reference) => self
                .document
                .pointer(reference.trim_start_matches('#'))
                .cloned()
                .unwrap_or_else(|| panic!("{reference}")),
            None => value.clone(),
        }
    }

    /// As JSON Schema, but that nothing may be there that is not described.
    fn check(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["enum"].as_array() {
            assert!(
                choices.contains(value),
                "{at}: {value} is none of {choices:?}"
            );
            return;
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(
            kinds.contains(&kind.into()),
            "{at}: {value} is no {kinds:?}"
        );
        if schema["format"] == "date-time" {
            let text = value.as_str().unwrap_or("");
            assert!(parlor::storage::utc::parse(text).is_some(), "{at}: {text}");
        }
        for item in value.as_array().into_iter().flatten() {
            self.check(&schema["items"], item, at);
        }
        let (Some(pairs), Some(described)) = (value.as_object(), schema["properties"].as_object())
        else {
            return;
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name");
            assert!(pairs.contains_key(name), "{at}: no {name} in {value}");
        }
        for (name, value) in pairs {
            let known = described.get(name);
            let known = known.unwrap_or_else(|| panic!("{at}: {name} is not described"));
            self.check(known, value, &format!("{at} {name}"));
        }
    }

    fn everything(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (method.clone(), path.clone()))
        });
        operations
            .filter(|(method, _)| method != "parameters")
            .collect()
    }
}

#[test]
fn real_answers_are_what_the_description_says() {
    let fixture = Fixture::new();
    fixture.room("r1", &[]);
    let mut api = Api::of(&fixture);
    let anonymous = fixture.client.clone();
    let owner = fixture.caller("alice");
    let other = fixture.caller("bob");
    let none = || Value::Null;

    for (path, status) in [
        ("/", 200),
        ("/r/r1", 200),
        ("/assets/style.css", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/api/version", 200),
        ("/api/openapi.json", 200),
    ] {
        api.try_it(&anonymous, &format!("GET {path}"), none(), status);
    }
    get_in(&mut api, &anonymous, &owner);
    let room = api.try_it(&owner, "POST /api/rooms", json!({"name": "Den"}), 201);
    let room = format!("/api/rooms/{}", text(&room["id"]));
    in_a_room(&mut api, &room, &owner, &other);
    moderation(&mut api, &room, &owner, &other);
    the_door(&mut api, &room, &owner, &other);
    let missing: Vec<_> = api.everything().difference(&api.tried).cloned().collect();
    assert!(missing.is_empty(), "never tried: {missing:?}");
}

/// Tokens, and who has none.
fn get_in(api: &mut Api<'_>, anonymous: &Client, owner: &Client) {
    let login = "POST /api/auth/login";
    let id = api.fixture.user("carol");
    let hash = parlor::password::hash(&parlor::secret::Secret::new("a good password")).unwrap();
    api.fixture.sql(&format!(
        "UPDATE users SET password_hash = '{hash}' WHERE id = '{id}'"
    ));
    let right = json!({"username": "carol", "password": "a good password"});
    let session = api.try_it(anonymous, login, right, 200);
    let carol = anonymous.with_token(&text(&session["access_token"]));
    let wrong = json!({"username": "carol", "password": "x"});
    api.try_it(anonymous, login, wrong, 401);
    api.try_it(anonymous, login, json!({}), 400);
    api.try_it(anonymous, login, Value::Null, 415);
    api.try_it(&carol, "POST /api/auth/refresh", Value::Null, 200);
    api.try_it(anonymous, "POST /api/auth/refresh", Value::Null, 401);
    api.try_it(&carol, "GET /api/auth/me", Value::Null, 200);
    api.try_it(anonymous, "GET /api/auth/me", Value::Null, 401);
    let guest = "POST /api/auth/guest";
    let invite = api.fixture.invite("r1", &[]);
    let entering = json!({"invite": invite, "name": "Gast"});
    let session = api.try_it(anonymous, guest, entering, 200);
    let visitor = anonymous.with_token(&text(&session["access_token"]));
    api.try_it(&visitor, "GET /api/auth/me", Value::Null, 200);
    api.try_it(anonymous, guest, json!({"invite": "x", "name": "G"}), 403);
    api.try_it(anonymous, guest, json!({}), 400);
    api.try_it(owner, "GET /api/ice-servers", Value::Null, 200);
    api.try_it(anonymous, "GET /api/ice-servers", Value::Null, 401);
    api.try_it(owner, "GET /api/ice-servers?room=none", Value::Null, 404);
    api.try_it(&visitor, "POST /api/rooms", json!({"name": "x"}), 403);
}

/// Requests of participants, and requests that others may not make.
fn in_a_room(api: &mut Api<'_>, room: &str, owner: &Client, other: &Client) {
    let none = || Value::Null;
    api.try_it(owner, "GET /api/rooms?limit=1", none(), 200);
    api.try_it(owner, "GET /api/rooms?limit=0", none(), 400);
    api.try_it(owner, "POST /api/rooms", json!({"name": "Den"}), 409);
    api.try_it(owner, &format!("GET {room}"), none(), 200);
    let change = json!({"max_participants": 1});
    api.try_it(owner, &format!("PATCH {room}"), change.clone(), 200);
    api.try_it(other, &format!("PATCH {room}"), change, 403);
    api.try_it(owner, &format!("POST {room}/join"), none(), 200);
    api.try_it(other, &format!("POST {room}/join"), none(), 409);
    api.try_it(owner, &format!("GET {room}/participants"), none(), 200);
    let preview = format!("GET {room}/preview");
    api.try_it(owner, &preview, none(), 200);
    let nobody = api.fixture.client.clone();
    api.try_it(&nobody, &preview, none(), 401);
    api.try_it(owner, "GET /api/rooms/none/preview", none(), 404);
    let message = json!({"content": "Hello"});
    let messages = format!("{room}/messages");
    api.try_it(owner, &format!("POST {messages}"), message.clone(), 201);
    api.try_it(owner, &format!("POST {messages}"), none(), 415);
    api.try_it(other, &format!("POST {messages}"), message, 403);
    api.try_it(owner, &format!("GET {messages}?limit=1"), none(), 200);
    api.try_it(other, &format!("GET {messages}"), none(), 403);
    let written = api.try_it(
        owner,
        &format!("POST {messages}"),
        json!({"content": "x"}),
        201,
    );
    let delete = format!("DELETE {messages}/{}", written["id"]);
    api.try_it(other, &delete, none(), 403);
    api.try_it(owner, &delete, none(), 200);
    api.try_it(owner, &delete, none(), 404);
}

/// Kicks, bans, roles and locks. The room has one place, and the owner is in it.
fn moderation(api: &mut Api<'_>, room: &str, owner: &Client, other: &Client) {
    let none = || Value::Null;
    let change = json!({"max_participants": null});
    api.try_it(owner, &format!("PATCH {room}"), change, 200);
    let lock = format!("POST {room}/lock");
    api.try_it(owner, &lock, json!({"reason": "a talk"}), 200);
    api.try_it(owner, &lock, json!({"reason": ""}), 400);
    api.try_it(other, &lock, none(), 403);
    api.try_it(other, &format!("POST {room}/join"), none(), 423);
    api.try_it(other, &format!("GET {room}/preview"), none(), 200);
    let invite = api.fixture.invite(&room.replace("/api/rooms/", "id:"), &[]);
    let entering = json!({"invite": invite, "name": "Gast"});
    let nobody = api.fixture.client.clone();
    api.try_it(&nobody, "POST /api/auth/guest", entering, 423);
    let unlock = format!("POST {room}/unlock");
    api.try_it(owner, &unlock, none(), 200);
    api.try_it(other, &unlock, none(), 403);
    api.try_it(other, &format!("POST {room}/join"), none(), 200);
    let me = api.try_it(other, "GET /api/auth/me", none(), 200);
    let id = text(&me["id"]);
    let role = format!("POST {room}/participants/{id}/role");
    api.try_it(owner, &role, json!({"role": "moderator"}), 200);
    api.try_it(owner, &role, json!({"role": "member"}), 200);
    api.try_it(owner, &role, json!({"role": "king"}), 400);
    api.try_it(owner, &role, none(), 415);
    api.try_it(other, &role, json!({"role": "owner"}), 403);
    let kick = format!("POST {room}/participants/{id}/kick");
    let mute = format!("POST {room}/participants/{id}/mute");
    api.try_it(other, &mute, none(), 403);
    api.try_it(owner, &mute, none(), 409);
    api.try_it(other, &kick, none(), 403);
    api.try_it(owner, &kick, none(), 200);
    api.try_it(owner, &kick, none(), 404);
    let bans = format!("{room}/bans");
    let ban = json!({"user_id": id, "until": "2999-01-01T00:00:00Z", "reason": "noise"});
    api.try_it(owner, &format!("POST {bans}"), ban.clone(), 201);
    api.try_it(owner, &format!("POST {bans}"), json!({}), 400);
    api.try_it(owner, &format!("POST {bans}"), none(), 415);
    api.try_it(owner, &format!("POST {bans}"), json!({"user_id": "x"}), 404);
    api.try_it(other, &format!("POST {bans}"), ban, 403);
    api.try_it(owner, &format!("GET {bans}"), none(), 200);
    api.try_it(owner, &format!("GET {room}/audit?limit=5"), none(), 200);
    api.try_it(owner, &format!("GET {room}/audit?limit=0"), none(), 400);
    let unban = format!("DELETE {bans}/{id}");
    api.try_it(owner, &unban, none(), 200);
    api.try_it(owner, &unban, none(), 404);
    api.try_it(other, &format!("GET {bans}"), none(), 403);
    api.try_it(other, &format!("GET {room}/audit"), none(), 403);
}

/// Invites, leaving and closing.
fn the_door(api: &mut Api<'_>, room: &str, owner: &Client, other: &Client) {
    let none = || Value::Null;
    let invites = format!("{room}/invites");
    let made = api.try_it(owner, &format!("POST {invites}"), json!({"uses": 2}), 201);
    api.try_it(other, &format!("POST {invites}"), json!({}), 403);
    api.try_it(owner, &format!("GET {invites}"), none(), 200);
    let one = format!("DELETE {invites}/{}", text(&made["id"]));
    api.try_it(owner, &one, none(), 200);
    api.try_it(owner, &one, none(), 404);
    api.try_it(owner, &format!("POST {room}/leave"), none(), 200);
    api.try_it(owner, "POST /api/rooms/none/leave", none(), 404);
    api.try_it(other, &format!("DELETE {room}"), none(), 403);
    api.try_it(owner, &format!("DELETE {room}"), none(), 200);
    api.try_it(owner, &format!("GET {room}"), none(), 410);
    api.try_it(owner, &format!("GET {room}/preview"), none(), 410);
    api.try_it(other, &format!("DELETE {room}/messages/1"), none(), 410);
    let path = room.replace("/api/rooms/", "/api/ws/rooms/");
    api.try_it(owner, &format!("GET {path}"), none(), 426);
}

//! Every route of a room for every kind of caller. The statuses are those of `docs/reference/permissions.md`, which
//! `UPDATE=1` renews.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::*;

const HEAD: &str = "# Permissions

The status of each response, by route and caller. A test sends every request and compares; `UPDATE=1 cargo test --test http permissions` renews the tables. [The HTTP API](../build/http-api.md#errors) has the codes.

| caller | |
|---|---|
| none, expired | no token; an expired one |
| user | a user who never was in the room |
| member, guest | in the room |
| other guest | a guest of another room |
| moderator, owner | of the room, and in it |
| admin | not in the room |
| disabled, banned | the account; from the room |

Requests name a member of the room, a ban, a message of that member, and a valid invite; a join brings no invite. A mute concerns a member who is not connected. `WS` is a WebSocket: the close code, or `open`. `FRAME` is [a frame](../build/extended-protocol.md#frames-of-a-client) of `parlor.v1`: `ack`, the code of the `error`, or the close code of a caller who may not connect.
";

/// The callers, in the order of the columns.
const CALLERS: [&str; 11] = [
    "none",
    "expired",
    "user",
    "member",
    "guest",
    "other guest",
    "moderator",
    "owner",
    "admin",
    "disabled",
    "banned",
];

/// The operations, and their bodies.
const ROUTES: [(&str, &str); 26] = [
    ("GET /api/rooms/{room}", ""),
    ("PATCH /api/rooms/{room}", r#"{"max_participants": 50}"#),
    ("DELETE /api/rooms/{room}", ""),
    ("POST /api/rooms/{room}/join", ""),
    ("POST /api/rooms/{room}/leave", ""),
    ("GET /api/rooms/{room}/participants", ""),
    ("GET /api/rooms/{room}/preview", ""),
    ("GET /api/rooms/{room}/messages", ""),
    ("POST /api/rooms/{room}/messages", r#"{"content": "Hello"}"#),
    ("DELETE /api/rooms/{room}/messages/{message}", ""),
    ("GET /api/rooms/{room}/invites", ""),
    ("POST /api/rooms/{room}/invites", "{}"),
    ("DELETE /api/rooms/{room}/invites/{invite}", ""),
    (
        "POST /api/rooms/{room}/participants/{user}/kick",
        r#"{"reason": "noise"}"#,
    ),
    ("POST /api/rooms/{room}/participants/{user}/mute", ""),
    (
        "POST /api/rooms/{room}/participants/{user}/role",
        r#"{"role": "moderator"}"#,
    ),
    ("GET /api/rooms/{room}/bans", ""),
    ("POST /api/rooms/{room}/bans", r#"{"user_id": "target"}"#),
    ("DELETE /api/rooms/{room}/bans/{banned}", ""),
    ("POST /api/rooms/{room}/lock", ""),
    ("POST /api/rooms/{room}/unlock", ""),
    ("GET /api/rooms/{room}/audit", ""),
    // Of a locked room.
    ("POST /api/rooms/{locked}/join", ""),
    ("GET /api/rooms/{locked}/preview", ""),
    ("WS /api/ws/rooms/{room}", ""),
    ("WS /api/ws/rooms/{locked}", ""),
];

/// The frames of `parlor.v1` that concern the store or other people, and what they have besides their type.
const FRAMES: [(&str, &str); 13] = [
    ("offer", ""),
    ("message", r#","data":1"#),
    ("seen", r#","data":{"seq":0}"#),
    ("update", r#","data":{"handRaised":true}"#),
    ("chat", r#","data":{"content":"Hello"}"#),
    ("chat-delete", r#","data":{"id":{message}}"#),
    ("kick", r#","to":"target""#),
    ("ban", r#","to":"target""#),
    ("unban", r#","to":"banned""#),
    ("mute", r#","to":"target""#),
    ("lock", r#","data":{"locked":true}"#),
    ("role", r#","to":"target","data":{"role":"moderator"}"#),
    ("token", r#","data":{"token":"{token}"}"#),
];

const KIND: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// Users with their name as their id, except for guests, who are made for each room.
fn users(fixture: &Fixture) {
    fixture.sql(
        "INSERT INTO users (id, name, display_name, is_admin, created_at)
         SELECT id, id, id, id = 'admin', '2026-01-01T00:00:00Z'
         FROM (SELECT 'user' AS id UNION ALL SELECT 'member' UNION ALL SELECT 'moderator' UNION ALL SELECT 'owner'
               UNION ALL SELECT 'admin' UNION ALL SELECT 'disabled' UNION ALL SELECT 'banned' UNION ALL SELECT 'target'
              ) ids;
         UPDATE users SET disabled_at = '2026-01-01T00:00:00Z' WHERE id = 'disabled'",
    );
}

/// Makes the room of one request, with a message and an invite.
fn room(fixture: &Fixture, number: usize, is_private: bool, is_locked: bool) {
    let time = "'2026-01-01T00:00:00Z'";
    let locked_at = if is_locked { time } else { "NULL" };
    let mut sql = String::new();
    for room in ["r", "other"] {
        write!(
            sql,
            "INSERT INTO coworking_rooms (id, name, is_private, owner_id, created_at, locked_at)
                 VALUES ('{room}{number}', '{room}{number}', 1 = {}, 'owner', {time}, {locked_at});
             INSERT INTO users (id, name, display_name, guest_room_id, guest_until, created_at)
                 VALUES ('guest-{room}{number}', 'guest-{room}{number}', 'G', '{room}{number}',
                         '2999-01-01T00:00:00Z', {time});",
            u8::from(is_private)
        )
        .unwrap();
    }
    for member in ["member", "moderator", "owner", "target", "disabled"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("guest-r{number}")])
    {
        write!(
            sql,
            "INSERT INTO room_participants (room_id, user_id, joined_at) VALUES ('r{number}', '{member}', {time});"
        )
        .unwrap();
    }
    let message = message_id(number);
    let hash = match std::env::var("PARLOR_TEST_STORE").as_deref() {
        Ok("postgres") => format!("'h{number}'"),
        _ => format!("CAST('h{number}' AS BLOB)"),
    };
    write!(
        sql,
        "INSERT INTO room_moderators (room_id, user_id, created_at) VALUES ('r{number}', 'moderator', {time});
         INSERT INTO room_bans (room_id, user_id, created_at) VALUES ('r{number}', 'banned', {time});
         INSERT INTO room_messages (id, room_id, user_id, content, created_at)
             VALUES ({message}, 'r{number}', 'target', 'Hello', {time});
         INSERT INTO room_invites (id, room_id, hash, created_at, expires_at)
             VALUES ('i{number}', 'r{number}', {hash}, {time}, '2999-01-01T00:00:00Z');"
    )
    .unwrap();
    fixture.sql(&sql);
}

/// The id of the message in a room; those between are of messages that a request writes to SQLite. PostgreSQL counts these
/// from 1.
fn message_id(number: usize) -> usize {
    1_000_000 + 10 * number
}

/// The token of a caller; `None` for one without.
fn token(name: &str, number: usize) -> Option<String> {
    let claims = match name {
        "none" => return None,
        "expired" => Claims {
            exp: now() - 1,
            ..claims("owner")
        },
        "guest" => claims(&format!("guest-r{number}")),
        "other guest" => claims(&format!("guest-other{number}")),
        name => claims(name),
    };
    Some(sign(&claims))
}

/// The close code of a WebSocket, or that it is open: then the server answers a ping.
fn websocket(fixture: &Fixture, room: &str, token: Option<&str>) -> String {
    let mut socket = fixture.connect(room, token.unwrap_or_default());
    // A ping with a mask and without data. The server may have closed already.
    let _ = socket.write_all(&[0x89, 0x80, 0, 0, 0, 0]);
    let mut head = [0; 2];
    socket.read_exact(&mut head).expect("a frame");
    if head[0] == 0x8a {
        return "open".to_owned();
    }
    assert_eq!(head[0], 0x88, "a close frame");
    let mut code = [0; 2];
    socket.read_exact(&mut code).expect("a close code");
    u16::from_be_bytes(code).to_string()
}

/// The answer to a frame of `parlor.v1`, or the close code of a caller who may not connect.
fn answer_to_frame(fixture: &Fixture, room: &str, token: Option<&str>, frame: &str) -> String {
    let token = token.unwrap_or_default();
    let address = fixture.daemon.http();
    let url = format!("ws://{address}/api/ws/rooms/{room}?token={token}");
    let mut request = url.into_client_request().expect("a request");
    let protocol = "parlor.v1".parse().expect("a header");
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", protocol);
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut socket, _) = tungstenite::client(request, stream).expect("an upgrade");
    loop {
        let received = match socket.read().expect("a message") {
            Message::Text(received) => received,
            Message::Close(close) => return u16::from(close.expect("a code").code).to_string(),
            _ => continue,
        };
        let received: Value = serde_json::from_str(&received).expect("JSON");
        match received["type"].as_str() {
            Some("welcome") => socket.send(Message::text(frame)).expect("sent"),
            Some("ack") => return "ack".to_owned(),
            Some("error") => return text(&received["data"]["code"]),
            _ => {}
        }
    }
}

/// A table of statuses.
fn table(fixture: &Fixture, is_private: bool, number: &mut usize) -> String {
    let mut table = format!("| route | {} |\n|---", CALLERS.join(" | "));
    table += &"|---".repeat(CALLERS.len());
    table += "|\n";
    for (route, body) in ROUTES {
        let is_locked = route.contains("{locked}");
        let shown = route
            .replace("{locked}", "{room}")
            .replace("{banned}", "{user}");
        let remark = if is_locked { ", locked" } else { "" };
        write!(table, "| `{shown}`{remark} |").unwrap();
        for name in CALLERS {
            *number += 1;
            room(fixture, *number, is_private, is_locked);
            let (method, path) = route.split_once(' ').unwrap();
            let path = path
                .replace("{room}", &format!("r{number}"))
                .replace("{locked}", &format!("r{number}"))
                .replace("{message}", &message_id(*number).to_string())
                .replace("{invite}", &format!("i{number}"))
                .replace("{user}", "target")
                .replace("{banned}", "banned");
            let token = token(name, *number);
            if method == "WS" {
                let status = websocket(fixture, &format!("r{number}"), token.as_deref());
                write!(table, " {status} |").unwrap();
                continue;
            }
            let caller = match token {
                Some(token) => fixture.client.with_token(&token),
                None => fixture.client.clone(),
            };
            let headers = if body.is_empty() { &KIND[..0] } else { &KIND };
            let answer = caller.send(method, &path, headers, body.as_bytes());
            write!(table, " {} |", answer.status).unwrap();
        }
        table += "\n";
    }
    for (kind, rest) in FRAMES {
        write!(table, "| `FRAME {kind}` |").unwrap();
        for name in CALLERS {
            *number += 1;
            room(fixture, *number, is_private, false);
            let token = token(name, *number);
            let rest = rest
                .replace("{message}", &message_id(*number).to_string())
                .replace("{token}", token.as_deref().unwrap_or_default());
            let frame =
                format!(r#"{{"type":"{kind}","from":"me","roomId":"here","id":"f"{rest}}}"#);
            let room = format!("r{number}");
            let answer = answer_to_frame(fixture, &room, token.as_deref(), &frame);
            write!(table, " {answer} |").unwrap();
        }
        table += "\n";
    }
    table
}

#[test]
fn every_caller_gets_the_documented_status_of_every_route() {
    let fixture = Fixture::new();
    users(&fixture);
    let mut number = 0;
    let open = table(&fixture, false, &mut number);
    let private = table(&fixture, true, &mut number);
    let found = format!("{HEAD}\n## An open room\n\n{open}\n## A private room\n\n{private}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/permissions.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    for (found, documented) in found.lines().zip(documented.lines()) {
        assert_eq!(found, documented);
    }
    assert_eq!(found, documented, "UPDATE=1 renews it");
}

#[test]
fn the_table_of_permissions_has_every_frame_of_the_document() {
    let document = include_str!("../../../docs/build/extended-protocol.md");
    let tables = document.split("| from a client |").skip(1);
    let tables = tables.map(|table| table.split("\n\n").next().unwrap_or_default());
    let rows = tables.flat_map(|table| table.lines().skip(2));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let documented = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let documented: BTreeSet<&str> = documented.filter(|word| *word != "to").collect();
    assert!(documented.contains("chat-delete") && documented.contains("kick"));
    let listed: BTreeSet<&str> = FRAMES.iter().map(|(kind, _)| *kind).collect();
    let missing: Vec<_> = documented.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_table_of_permissions_has_every_route_of_a_room() {
    let fixture = Fixture::new();
    let described = fixture.client.get("/api/openapi.json").ok();
    let paths = described["paths"].as_object().unwrap();
    let described: BTreeSet<String> = paths
        .iter()
        .filter(|(path, _)| path.starts_with("/api/rooms/"))
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            let methods = methods.filter(|method| *method != "parameters");
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let listed = ROUTES.iter().filter(|(route, _)| !route.starts_with("WS "));
    let listed = listed.map(|(route, _)| {
        route
            .replace("{locked}", "{room}")
            .replace("{banned}", "{user}")
    });
    assert_eq!(listed.collect::<BTreeSet<_>>(), described);
}

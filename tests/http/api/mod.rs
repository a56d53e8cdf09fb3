//! The JSON routes, over sockets, against the real binary.

mod bodies;
mod chat_history;
mod deleted_messages;
mod described_bodies;
mod description;
mod guests;
mod ice;
mod login;
mod manage;
mod messages;
mod moderation;
mod moderation_limits;
mod moderators;
mod people;
mod permissions;
mod preview;
mod proxies;
mod rooms;
mod signing_out;
mod slow_bodies;
mod token_admins;

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::http::{Answer, Client};
use crate::support::{Builder, DEADLINE, Daemon};
use parlor::secret::Secret;
use parlor::token::{Claims, Tokens};
use parlor::{clock, config};
use serde_json::{Value, json};

const SECRET: &str = "a shared secret of at least 32 bytes";

/// A daemon whose tokens the test can sign, with a few users and rooms.
struct Fixture {
    daemon: Daemon,
    client: Client,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with(|builder| builder)
    }

    fn with(change: impl FnOnce(Builder) -> Builder) -> Fixture {
        let daemon = change(Builder::new().env("SECRET_KEY", SECRET)).start();
        let client = Client::new(daemon.http());
        Fixture { daemon, client }
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

    /// Another process's hand in the database.
    fn sql(&self, sql: &str) {
        self.daemon.sql(sql);
    }

    /// A WebSocket, opened by hand.
    fn connect(&self, room: &str, token: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.daemon.http()).expect("the server listens");
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!(
            "GET /api/ws/rooms/{room}?token={token} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.daemon.http()
        );
        socket.write_all(request.as_bytes()).expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        socket
    }

    /// A guest of the room, who calls from now on.
    fn guest(&self, room: &str) -> Client {
        let entered = self.enter(room, &self.invite(room, &[])).ok();
        self.client.with_token(&text(&entered["access_token"]))
    }
}

/// Reads until the server closes, and gives the code it closed with (RFC 6455 section 5.5.1).
fn close_code(socket: &mut TcpStream) -> u16 {
    let mut frame = [0; 4];
    socket.read_exact(&mut frame).expect("a frame");
    assert_eq!(frame[0], 0x88, "a close frame");
    u16::from_be_bytes([frame[2], frame[3]])
}

fn now() -> u64 {
    clock::now().unix
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

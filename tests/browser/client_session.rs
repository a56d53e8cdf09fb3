//! `client.js` with a scripted WebSocket: its frames when it resumes a session, and when it begins one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;
use crate::{ADA, folder};

/// The WebSockets of the client, and the events that it reports.
const SCRIPT: &str = r#"
window.sockets = [];
window.WebSocket = class {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  constructor(url, protocols) {
    this.url = new URL(url);
    this.protocols = protocols;
    sockets.push(this);
  }
  get query() { return Object.fromEntries(this.url.searchParams); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close(code) { this.closedWith = code; }
  accept() {
    this.protocol = 'parlor.v1';
    this.readyState = 1;
    this.onopen();
  }
  give(...frames) { for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) }); }
  end(code) {
    this.readyState = 3;
    this.onclose({ code });
  }
};
window.noted = [];
window.events = (name) => noted.filter(([event]) => event === name).map(([, ...values]) => values);
window.one = (userId, more) => ({
  userId, displayName: userId, role: 'member', connected: true, state: { muted: false, handRaised: false }, ...more,
});
window.welcome = (token, ...participants) => ({ type: 'welcome', data: {
  session: 'name', resume: { token, within: 30 }, userId: 'ada', role: 'member', room: {},
  participants: [one('ada'), ...participants], iceServers: { iceServers: [], ttl: 3600 },
  limits: { maxMessageBytes: 1000, byteBurst: 100000 },
} });
window.resumed = (token) => ({ type: 'resumed', data: { missed: 0, resume: { token, within: 30 } } });
window.text = (seq) => ({ seq, type: 'message', from: 'bob', data: seq });
// The outcome of a promise, once there is one.
window.outcomes = {};
window.follow = (name, promise) => promise.then(() => outcomes[name] = 'done', ({ code }) => outcomes[name] = code);
window.begin = async () => {
  const { Client } = await import('/assets/client.js');
  const on = new Proxy({}, { get: (_, name) => (...values) => noted.push([name, ...values]) });
  window.client = new Client({ room: 'lobby', on });
  client.connect('jwt');
  sockets[0].accept();
  sockets[0].give(welcome('first', one('bob')));
};
// The next connection, after a loss.
window.again = () => {
  client.hurry();
  sockets.at(-1).accept();
  return sockets.at(-1);
};
"#;

in_a_namespace! {
    fn a_resumption_continues_after_the_last_frame_and_sends_unanswered_frames_again() {
        let (mut ada, _folder) = begun();
        assert_eq!(ada.ask("sockets[0].query.session ?? null"), Value::Null);
        ada.ask("sockets[0].give(text(1), text(2))");
        ada.ask("['a', 'b'].forEach((name) => { follow(name, client.message(name)); })");
        ada.ask("sockets[0].give({ seq: 3, type: 'ack', ref: sockets[0].sent[0].id, data: {} })");
        ada.ask("sockets[0].end(1006)");
        ada.ask("follow('c', client.message('c')), true");
        ada.ask("follow('hand', client.update({ handRaised: true })), true");
        ada.ask("again(), true");
        let query = ada.ask("[sockets[1].query.session, sockets[1].query.seq, sockets[1].protocols]");
        assert_eq!(query, json!(["first", "3", ["parlor.v1", "bearer", "jwt"]]));
        assert_eq!(ada.ask("sockets[1].sent"), json!([]), "nothing before `resumed`");
        ada.ask("sockets[1].give(resumed('second'))");
        let sent = "sockets[1].sent.map(({ type, data }) => [type, data])";
        let expected = json!([
            ["message", "b"],
            ["message", "c"],
            ["update", {"handRaised": true}],
            ["seen", {"seq": 3}],
        ]);
        assert_eq!(ada.ask(sent), expected);
        assert_eq!(ada.ask("sockets[1].sent[0].id === sockets[0].sent[1].id"), true, "the same id");
        // Of two that are equal, one has arrived before.
        ada.ask("sockets[1].give(text(3), text(4))");
        assert_eq!(ada.ask("events('message').map(([, data]) => data)"), json!([1, 2, 4]));
        ada.ask("sockets[1].give(...sockets[1].sent.slice(0, 2).map(({ id }, n) => ({ seq: 5 + n, type: 'ack', ref: id, data: {} })))");
        assert_eq!(ada.ask("outcomes"), json!({"a": "done", "b": "done", "c": "done"}));
        // The next resumption uses the new token, and sends what is still unanswered.
        ada.ask("sockets[1].end(1012), again(), sockets[2].give(resumed('third'))");
        assert_eq!(ada.ask("[sockets[2].query.session, sockets[2].query.seq]"), json!(["second", "6"]));
        assert_eq!(ada.ask("sockets[2].sent.map(({ type }) => type)"), json!(["update", "seen"]));
        assert_eq!(ada.ask("events('open').map(([{ resumed }]) => resumed)"), json!([false, true, true]));
        assert_eq!(ada.ask("[...events('left'), ...events('joined'), ...events('closed')]"), json!([]));
        ada.has_seen_no_errors();
    }

    fn a_new_session_ends_the_earlier_one() {
        let (mut ada, _folder) = begun();
        ada.ask("sockets[0].give({ seq: 1, type: 'user-joined', from: 'eve', data: { participant: one('eve') } })");
        ada.ask("follow('lost', client.message('a')), follow('muted', client.update({ muted: true })), true");
        ada.ask("sockets[0].end(1006), again(), sockets[1].give(welcome('second', one('bob'), one('dan')))");
        ada.wait("for the outcome", "outcomes.lost !== undefined");
        assert_eq!(ada.ask("outcomes.lost"), "lost");
        // The own state is that of before, and nothing else is sent again.
        let sent = "sockets[1].sent.map(({ type, data }) => [type, data])";
        assert_eq!(ada.ask(sent), json!([["update", {"muted": true}]]));
        assert_eq!(ada.ask("events('left')"), json!([["eve", "absent"]]));
        assert_eq!(ada.ask("[...client.participants.keys()]"), json!(["ada", "bob", "dan"]));
        assert_eq!(ada.ask("events('open')"), json!([
            [{"again": false, "resumed": false}],
            [{"again": true, "resumed": false}],
        ]));
        // Numbers begin anew, and the next resumption is one of the new session.
        ada.ask("sockets[1].give(text(1)), sockets[1].end(1006), again(), true");
        assert_eq!(ada.ask("events('message').length"), 1);
        assert_eq!(ada.ask("[sockets[2].query.session, sockets[2].query.seq]"), json!(["second", "1"]));
        ada.has_seen_no_errors();
    }

    fn a_session_ends_with_the_close_codes_that_end_it() {
        let (mut ada, _folder) = begun();
        let known = "sockets.at(-1).query.session ?? null";
        // After these, the session is kept.
        for (number, code) in [1001, 1006, 1011, 1012, 4000, 4010].into_iter().enumerate() {
            ada.ask(&format!("sockets.at(-1).end({code}), again(), sockets.at(-1).give(resumed('{number}'))"));
            let expected = number.checked_sub(1).map_or("first".to_owned(), |before| before.to_string());
            assert_eq!(ada.ask(known), expected, "{code}");
        }
        // After these, the client reconnects without it: the frame that was refused is not sent again.
        for code in [1002, 1007, 1009, 4008] {
            ada.ask("outcomes.bad = undefined, follow('bad', client.message('bad')), true");
            ada.ask(&format!("sockets.at(-1).end({code}), again(), sockets.at(-1).give(welcome('new'))"));
            assert_eq!(ada.ask(known), Value::Null, "{code}");
            assert_eq!(ada.ask("sockets.at(-1).sent"), json!([]), "{code}");
            ada.wait("for the outcome", "outcomes.bad === 'lost'");
        }
        assert_eq!(ada.ask("events('closed')"), json!([]));
        // After these, it does not reconnect by itself.
        for code in [4001, 4003, 4004, 4005, 4009] {
            let before = ada.ask("sockets.length");
            ada.ask(&format!("sockets.at(-1).end({code}), client.hurry()"));
            assert_eq!(ada.ask("events('closed').at(-1)"), json!([code]));
            assert_eq!(ada.ask("sockets.length"), before, "{code}");
            let refused = ada.ask("client.message('late').catch(({ code }) => code)");
            assert_eq!(refused, "lost", "{code}");
            ada.ask("client.retry('other'), again(), sockets.at(-1).give(welcome('new'))");
            assert_eq!(ada.ask(known), Value::Null, "{code}");
            assert_eq!(ada.ask("sockets.at(-1).protocols[2]"), "other");
        }
        ada.has_seen_no_errors();
    }

    fn frames_are_acknowledged_now_and_then_and_none_of_an_earlier_connection_is_taken() {
        let (mut ada, _folder) = begun();
        ada.ask("for (let seq = 1; seq < 32; seq++) sockets[0].give(text(seq))");
        assert_eq!(ada.ask("sockets[0].sent"), json!([]));
        ada.ask("sockets[0].give(text(32))");
        let sent = "sockets[0].sent.map(({ type, data }) => [type, data])";
        assert_eq!(ada.ask(sent), json!([["seen", {"seq": 32}]]));
        ada.ask("for (let seq = 33; seq < 97; seq++) sockets[0].give(text(seq))");
        let expected = [32, 64, 96].map(|seq| json!(["seen", {"seq": seq}]));
        assert_eq!(ada.ask(sent), json!(expected));
        ada.ask("sockets[0].end(1006), again(), sockets[0].give(text(97))");
        assert_eq!(ada.ask("events('message').length"), 96);
        // The end of the earlier connection is not the end of this one.
        ada.ask("sockets[1].give(resumed('second')), sockets[0].end(1006)");
        assert_eq!(ada.ask("events('lost').length"), 1);
        ada.ask("follow('last', client.message('last')), client.close(), true");
        ada.wait("for the outcome", "outcomes.last === 'lost'");
        assert_eq!(ada.ask("sockets[1].closedWith"), 1000);
        ada.ask("client.hurry(), true");
        assert_eq!(ada.ask("sockets.length"), 2);
        ada.has_seen_no_errors();
    }
}

/// A page whose client has received the `welcome` of its first session.
fn begun() -> (Person, TempDir) {
    let folder = folder();
    let prelude = prelude(Via::Any) + SCRIPT;
    let mut ada = Person::opens_after(&site(), ADA, &prelude, folder.path());
    ada.wait("for the page", "document.title === 'the modules'");
    ada.ask("begin()");
    (ada, folder)
}

/// The URL of an empty page, whose server has the modules of the source.
fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = client.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (kind, body) = file(path);
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type";
            let length = body.len();
            let _ = write!(
                client,
                "{head}: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}/")
}

fn file(path: &str) -> (&'static str, String) {
    let Some(name) = path.strip_prefix("/assets/") else {
        return (
            "text/html",
            "<!doctype html><title>the modules</title>".to_owned(),
        );
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page");
    let body = fs::read_to_string(folder.join(name)).expect("a module of the source");
    ("text/javascript", body)
}

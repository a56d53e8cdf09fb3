//! `/assets/client.js` on pages that are not the built-in one, and what the page does by it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use parlor::clock;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;
use crate::support::{Builder, Daemon};
use crate::{ADA, GRACE, OWN_ID, enters, folder};

in_a_namespace! {
    fn two_clients_see_each_other_and_exchange_messages_and_states() {
        let (daemon, folder) = (Daemon::start(), folder());
        let [mut ada, mut grace] = [ADA, GRACE].map(|person| bare_page(person, "", folder.path()));
        let ada_id = starts(&mut ada, &daemon);
        assert_eq!(ada.ask("client.protocol"), "parlor.v1");
        assert_eq!(ada.ask("noted.slice(0, 3).map(([name]) => name)"), json!(["iceServers", "open", "roster"]));
        assert_eq!(ada.ask("names()"), json!(["Ada"]));
        let grace_id = starts(&mut grace, &daemon);
        assert_eq!(grace.ask("names()"), json!(["Ada", "Grace"]));
        ada.wait("for Grace", "events('joined').length === 1");
        assert_eq!(ada.ask("events('joined')[0].displayName"), "Grace");
        assert_eq!(ada.ask("names()"), json!(["Ada", "Grace"]));

        ada.ask("client.message({ slide: 7 })");
        ada.ask(&format!("client.message('for you', {grace_id})"));
        let absent = ada.ask("client.message('for nobody', 'nobody').catch((error) => error.code)");
        assert_eq!(absent, "not-connected");
        // The server would close the connection, and again after each resumption.
        let large = "client.message('x'.repeat(client.limits.maxMessageBytes)).catch((error) => error.code)";
        assert_eq!(ada.ask(large), "too-large");
        grace.wait("for both messages", "events('message').length === 2");
        let messages = json!([[ada_id, {"slide": 7}], [ada_id, "for you"]]);
        assert_eq!(grace.ask("calls('message')"), messages);
        assert_eq!(ada.ask("events('message')"), json!([]));

        ada.ask("client.update({ muted: true })");
        let muted = format!("client.participants.get({ada_id}).state.muted === true");
        grace.wait("to see that Ada is muted", &muted);

        ada.ask("client.leave()");
        grace.wait("for Ada to leave", "events('left').length === 1");
        assert_eq!(grace.ask("calls('left')"), json!([[ada_id, "left"]]));
        assert_eq!(grace.ask("names()"), json!(["Grace"]));
        for person in [&mut ada, &mut grace] {
            person.has_seen_no_errors();
        }
    }

    fn a_client_that_loses_its_websocket_misses_no_message_and_nobody_sees_it_leave() {
        let (daemon, folder) = (Daemon::start(), folder());
        let [mut ada, mut grace] = [ADA, GRACE].map(|person| bare_page(person, "", folder.path()));
        let line = Line::to(daemon.http());
        let ada_id = starts_at(&mut ada, &daemon, line.address);
        let grace_id = starts(&mut grace, &daemon);
        ada.wait("for Grace", "events('joined').length === 1");
        grace.ask("client.message('before')");
        ada.wait("for the message", "events('message').length === 1");

        line.cut();
        ada.wait("to lose the server", "events('lost').length > 0");
        grace.ask("client.message('missed')");
        // Not sent yet: the client has no connection.
        ada.ask("window.sent = client.message('from the tunnel').then(() => true), true");
        ada.ask("client.update({ handRaised: true }), true");
        line.restore();
        ada.ask("client.hurry(), true");
        ada.wait("to be back", "events('open').length === 2");
        assert_eq!(ada.ask("events('open')[1]"), json!({"again": true, "resumed": true}));
        assert_eq!(ada.ask("window.sent"), true);
        grace.wait("for the other message", "events('message').length === 1");
        grace.ask("client.message('after')");
        ada.wait("for the last message", "calls('message').length === 3");
        let all = ["before", "missed", "after"].map(|text| json!([grace_id, text]));
        assert_eq!(ada.ask("calls('message')"), json!(all));
        assert_eq!(grace.ask("calls('message')"), json!([[ada_id, "from the tunnel"]]));
        let raised = format!("client.participants.get({ada_id}).state.handRaised");
        grace.wait("for Ada's hand", &raised);
        assert_eq!(grace.ask("[...events('left'), ...events('joined')]"), json!([]));
        assert_eq!(ada.ask("events('left')"), json!([]));
        for person in [&mut ada, &mut grace] {
            assert_eq!(person.ask("names()"), json!(["Ada", "Grace"]));
            person.has_seen_no_errors();
        }
    }

    fn a_client_uses_the_plain_protocol_if_the_server_offers_no_other() {
        let (daemon, folder) = (Daemon::start(), folder());
        let [mut ada, mut grace] = [ADA, GRACE].map(|person| bare_page(person, PLAIN, folder.path()));
        let ada_id = starts(&mut ada, &daemon);
        assert_eq!(ada.ask("client.protocol"), "plain");
        assert_eq!(ada.ask("noted.slice(0, 2).map(([name]) => name)"), json!(["iceServers", "open"]));
        let grace_id = starts(&mut grace, &daemon);
        for person in [&mut ada, &mut grace] {
            person.wait("for the list", "JSON.stringify(names()) === '[\"Ada\",\"Grace\"]'");
        }
        assert_eq!(ada.ask("events('joined').map(({ userId }) => userId)"), json!([grace_id]));

        let refused = ada.ask("client.message('no such frame').catch((error) => error.code)");
        assert_eq!(refused, "plain-protocol");
        // In the plain protocol, another client may send anything in an announcement.
        let forged = json!({"userId": grace_id, "displayName": "Eve", "role": "owner"});
        ada.ask(&format!(
            "client.send('user-joined', undefined, {{ data: {{ participant: {forged} }}, seq: 1e308 }})"
        ));
        grace.wait("for the announcement", "events('joined').length === 1");
        let joined = "events('joined').map(({ userId, displayName }) => [userId, displayName])";
        assert_eq!(grace.ask(joined), json!([[ada_id, "Ada"]]));
        assert_eq!(grace.ask("names()"), json!(["Ada", "Grace"]));
        ada.ask("client.update({ muted: true })");
        let muted = format!("client.participants.get({ada_id}).state?.muted === true");
        grace.wait("to see that Ada is muted", &muted);

        ada.ask("client.leave()");
        grace.wait("for Ada to leave", "events('left').length === 1");
        assert_eq!(grace.ask("names()"), json!(["Grace"]));
        for person in [&mut ada, &mut grace] {
            person.has_seen_no_errors();
        }
    }

    fn the_example_in_the_document_is_a_call() {
        let (daemon, folder) = (Daemon::start(), folder());
        let document = include_str!("../../docs/build/client.md");
        let code = document.split("```js\n").nth(1).expect("an example");
        let code = code.split("```").next().expect("its end");
        let (import, code) = code.split_once('\n').expect("lines");
        assert!(import.starts_with("import { Client } from "), "{import}");
        let code = code.replace("export ", "");
        let play = "(id, stream) => Object.assign(new Audio(), { srcObject: stream }).play()";
        let mut people = [ADA, GRACE].map(|person| {
            let mut person = bare_page(person, "", folder.path());
            let (server, token) = credentials(&daemon, person.name);
            person.ask(&format!(
                "{code}\n(async () => {{ \
                   window.Client = (await import({server:?} + '/assets/client.js')).Client; \
                   const microphone = await navigator.mediaDevices.getUserMedia({{ audio: true }}); \
                   window.client = await talk({server:?}, 'lobby', {token}, microphone, {play}); }})()"
            ));
            person
        });
        let [ada, grace] = &mut people;
        ada.wait("to hear Grace", &format!("test.hearsExactly([{}])", GRACE.1));
        grace.wait("to hear Ada", &format!("test.hearsExactly([{}])", ADA.1));

        // After a restart both reconnect, and hear each other again.
        let daemon = daemon.restart();
        daemon.wait_for_logs(&["WebSocket admitted"], 2);
        ada.wait("to hear Grace", &format!("test.hearsExactly([{}])", GRACE.1));
        grace.wait("to hear Ada", &format!("test.hearsExactly([{}])", ADA.1));
        ada.ask("client.leave()");
        grace.wait("for Ada to be gone", "test.open().length === 0");
        for person in people.each_mut() {
            person.has_seen_no_errors();
        }
    }

    fn a_call_continues_while_a_page_has_no_websocket() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let line = Line::to(daemon.http());
        let (_, path) = link.split_once("/r/").expect("a room's link");
        let mut ada = enters(&format!("http://{}/r/{path}", line.address), ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);

        ada.ask("test.frames = []");
        grace.ask("test.frames = []");
        line.cut();
        ada.sees("Reconnecting");
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        line.restore();
        ada.wait("for the connection", "document.querySelector('#link').hidden");
        for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
            person.hears(&[other]);
            assert_eq!(person.ask("test.connections.length"), 1, "{}: the same call", person.name);
            person.has_seen_no_errors();
        }
        let gone = "test.frames.filter((type) => ['user-left', 'user-joined', 'offer'].includes(type))";
        assert_eq!(grace.ask(gone), json!([]));
        assert_eq!(ada.ask("test.frames[0]"), "resumed");
        // What is signaled from now on arrives.
        grace.click("#mute");
        ada.hears(&[("Grace", 0)]);
        let muted = "document.querySelector('.person:not(.me)').classList.contains('muted')";
        ada.wait("to see that Grace is muted", muted);
    }

    fn a_page_shows_raised_hands_and_who_has_lost_the_server() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let line = Line::to(daemon.http());
        let (_, path) = link.split_once("/r/").expect("a room's link");
        let mut ada = enters(&format!("http://{}/r/{path}", line.address), ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        grace.hears(&[ADA]);
        let states = "[...document.querySelectorAll('.person:not(.me) .state')].map((one) => one.textContent)";
        let shows = |text: &str| format!("{states}.some((state) => state.includes('{text}'))");
        assert_eq!(grace.ask(states), json!([""]));

        line.cut();
        grace.wait("to see that Ada is away", &shows("away"));
        // The call continues.
        grace.wait("to hear Ada", &format!("test.hearsExactly([{}])", ADA.1));
        line.restore();
        grace.wait("to see that Ada is back", &format!("!{}", shows("away")));
        ada.wait("for the connection", "document.querySelector('#link').hidden");

        let mut emmy = bare_page(("Emmy", 1103), "", folder.path());
        starts(&mut emmy, &daemon);
        grace.sees("Emmy joined.");
        emmy.ask("client.update({ handRaised: true, muted: true })");
        grace.sees("Emmy raised a hand.");
        grace.wait("to see the hand", &shows("hand raised, muted"));
        emmy.ask("client.update({ handRaised: false })");
        grace.wait("to see no hand", &format!("!{}", shows("hand raised")));

        let id = grace.ask(OWN_ID);
        daemon.cli_json(&["room", "mute", "lobby", id.as_str().expect("an id")]);
        grace.sees("A moderator muted you.");
        assert_eq!(grace.ask("document.querySelector('#mute').ariaPressed"), "true");
        ada.hears_as_documented(("Grace", 0));
        ada.wait("to see it", "document.querySelectorAll('.person.muted:not(.me)').length === 2");
        for person in [&mut ada, &mut grace] {
            person.has_seen_no_errors();
        }
    }

    fn a_client_renews_its_token_and_its_ice_servers_in_one_session() {
        let daemon = Builder::new().env("PARLOR_TURN__CREDENTIAL_TTL", "8s").start();
        let folder = folder();
        let mut ada = bare_page(ADA, "", folder.path());
        daemon.cli_json(&["user", "add", "Ada"]);
        let token = |ttl: &str| daemon.cli_json(&["token", "issue", "Ada", "--ttl", ttl])["token"].clone();
        let server = format!("http://{}", daemon.http());
        ada.wait("for the page", "document.title === 'another origin'");
        // Each token is shorter-lived than the warning: the client is warned at once. It asks again if it gets its own token.
        let first = token("15s");
        ada.ask(&format!("window.tokens = [{first}, {}, {}, {}], true", token("50s"), token("40s"), token("1h")));
        ada.ask(&format!("start({server:?}, {first}, {{ tokenExpiring: () => tokens.shift() }})"));
        ada.wait("to use all tokens", "tokens.length === 0");
        ada.wait("for other ICE servers", "events('iceServers').length > 2");
        let usernames = "new Set(events('iceServers').map((one) => one.iceServers[1].username)).size";
        ada.wait("for a later credential", &format!("{usernames} > 2"));
        let since = "performance.now() - performance.getEntriesByName('started')[0].startTime";
        ada.wait("for the end of the first token", &format!("{since} > 16000"));
        assert_eq!(ada.ask("client.protocol"), "parlor.v1");
        assert_eq!(ada.ask("[events('open').length, events('lost'), events('closed')]"), json!([1, [], []]));
        let fetched = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('ice-servers'))";
        assert_eq!(ada.ask(fetched), json!([]), "the server sends them");
        ada.has_seen_no_errors();
    }

    fn a_client_refreshes_a_token_of_parlor_by_itself() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = bare_page(ADA, "", folder.path());
        daemon.cli_json(&["user", "add", "Ada"]);
        let token = daemon.cli_json(&["token", "issue", "Ada", "--ttl", "20s"])["token"].clone();
        let server = format!("http://{}", daemon.http());
        ada.wait("for the page", "document.title === 'another origin'");
        ada.ask(&format!("start({server:?}, {token}, {{ tokenExpiring: undefined }})"));
        let refreshed = "performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/auth/refresh'))";
        ada.wait("for another token", refreshed);
        let since = "performance.now() - performance.getEntriesByName('started')[0].startTime";
        ada.wait("for the end of the first token", &format!("{since} > 21000"));
        assert_eq!(ada.ask("[client.protocol, events('lost'), events('closed')]"), json!(["parlor.v1", [], []]));
        ada.has_seen_no_errors();
    }

    fn the_call_of_a_guest_on_the_page_outlives_the_first_end_of_the_access() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        ada.hears(&[GRACE]);
        let id = ada.ask(OWN_ID);
        let end = clock::now().unix + 20;
        let until = OffsetDateTime::from_unix_timestamp(end as i64).expect("a time");
        let until = until.format(&Rfc3339).expect("a text");
        daemon.sql(&format!("UPDATE users SET guest_until = '{until}' WHERE id = '{}'", id.as_str().expect("an id")));
        // The connection reads the end of the access.
        ada.browser.tell(&ada.tab, "Page.reload", json!({}));
        ada.hears(&[GRACE]);
        grace.ask("test.frames = []");
        while clock::now().unix <= end + 1 {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        ada.click("#mute");
        grace.hears(&[("Ada", 0)]);
        ada.is_in_the_room();
        assert_eq!(ada.ask(OWN_ID), id);
        assert_eq!(grace.ask("test.frames.filter((type) => type !== 'participant-updated')"), json!([]));
        for person in [&mut ada, &mut grace] {
            person.has_seen_no_errors();
        }
    }

    fn a_page_ends_the_call_at_once_with_who_was_removed() {
        let daemon = Builder::new().env("PARLOR_ROOMS__KICK_COOLDOWN", "0s").start();
        let (link, folder) = (daemon.invite_link(), folder());
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        // In the same order as the frames: a later timer of the page has not run then.
        grace.ask(
            "test.states = [], test.onFrame = ({ type, data }) => type === 'user-left' && setTimeout(() => \
               test.states.push([data.reason, test.connections.at(-1).signalingState]))",
        );
        // Ada's page does not close its own side.
        let mut ada = Person::clings(&link, ADA, Via::Any, folder.path());
        let id = ada.ask(OWN_ID);
        let id = id.as_str().expect("an id");
        let removals: [(&str, &[&str], &[&str]); 3] = [
            ("kicked", &["room", "kick", "lobby", id], &[]),
            ("banned", &["room", "ban", "lobby", id, "--keep-invite"], &["room", "unban", "lobby", id]),
            ("disabled", &["user", "disable", id], &[]),
        ];
        let mut expected = Vec::new();
        for (reason, command, undo) in removals {
            grace.hears(&[ADA]);
            daemon.cli_json(command);
            expected.push(json!([reason, "closed"]));
            grace.wait("for the frame", &format!("test.states.length === {}", expected.len()));
            assert_eq!(grace.ask("test.states"), json!(expected));
            ada.sees("You were removed from the room");
            if reason != "disabled" {
                if !undo.is_empty() {
                    daemon.cli_json(undo);
                }
                ada.click("#again");
                ada.is_in_the_room();
            }
        }
        grace.hears(&[]);
        grace.has_seen_no_errors();
    }
}

/// A browser whose WebSockets offer the plain protocol alone.
pub(crate) const PLAIN: &str = "window.WebSocket = class extends WebSocket { \
     constructor(url, protocols) { super(url, protocols.filter((one) => one !== 'parlor.v1')); } };";

const NOTES: &str = "
window.noted = [];
window.calls = (name) => noted.filter(([event]) => event === name).map(([, ...values]) => values);
window.events = (name) => calls(name).map(([value]) => value);
window.names = () => [...client.participants.values()].map((one) => one.displayName).sort();
window.start = async (server, token, own = {}) => {
  const { Client } = await import(`${server}/assets/client.js`);
  const note = (name) => (...values) => void noted.push([name, ...values]);
  const on = new Proxy(own, { get: (_, name) => (name in own ? own[name] : note(name)) });
  performance.mark('started');
  window.client = new Client({ room: 'lobby', on });
  await client.join(token);
};
";

/// A person on an empty page of another origin than the server's.
pub(crate) fn bare_page(person: (&'static str, u32), more: &str, folder: &Path) -> Person {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
            let body = "<!doctype html><title>another origin</title>";
            let _ = write!(client, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    let prelude = prelude(Via::Any) + more + NOTES;
    Person::opens_after(&format!("http://{address}/"), person, &prelude, folder)
}

/// Adds a user, and returns the URL of the server and the user's token as JavaScript values.
pub(crate) fn credentials(daemon: &Daemon, name: &str) -> (String, Value) {
    daemon.cli_json(&["user", "add", name]);
    let issued = daemon.cli_json(&["token", "issue", name]);
    (format!("http://{}", daemon.http()), issued["token"].clone())
}

/// Starts a client on a bare page, and returns its user's id.
pub(crate) fn starts(person: &mut Person, daemon: &Daemon) -> Value {
    starts_at(person, daemon, daemon.http())
}

/// [`starts`], with this address of the server.
fn starts_at(person: &mut Person, daemon: &Daemon, address: SocketAddr) -> Value {
    let (_, token) = credentials(daemon, person.name);
    let server = format!("http://{address}");
    person.wait("for the page", "document.title === 'another origin'");
    person.ask(&format!("start({server:?}, {token})"));
    person.wait("to be connected", "events('open').length === 1");
    person.ask("client.me")
}

/// A TCP proxy that can be cut: then it closes its connections, and new ones at once.
struct Line {
    address: SocketAddr,
    /// `None` while it is cut.
    connections: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Line {
    fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let known = connections.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Some(open) = &mut *known.lock().unwrap() {
                    let server = TcpStream::connect(server).expect("the server");
                    for one in [&client, &server] {
                        open.push(one.try_clone().expect("a copy"));
                    }
                    copies(&client, &server);
                    copies(&server, &client);
                }
            }
        });
        Line {
            address,
            connections,
        }
    }

    fn cut(&self) {
        let open = self.connections.lock().unwrap().take();
        for one in open.into_iter().flatten() {
            let _ = one.shutdown(Shutdown::Both);
        }
    }

    fn restore(&self) {
        *self.connections.lock().unwrap() = Some(Vec::new());
    }
}

/// Copies bytes one way, in a thread of its own.
fn copies(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

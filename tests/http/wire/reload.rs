//! The configuration reloaded on SIGHUP: what changes at once, what does not, and that nobody who is
//! connected notices.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parlor::credential::Credentials;
use parlor::secret::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::Client as Http;
use crate::support::turn::{self, Client as Relayed};
use crate::support::{Builder, Daemon, token};
use crate::wire::world::{Client, LOBBY, SECRET, World, offer};

const READ: &str = "configuration reloaded";
const REFUSED: &str = "configuration rejected";

/// A world whose settings stand in a file.
struct Settled {
    world: World,
    file: PathBuf,
    outcomes: usize,
    _place: TempDir,
}

impl Settled {
    fn with(settings: &str) -> Settled {
        let place = TempDir::new().expect("a temporary directory");
        let file = place.path().join("parlor.toml");
        fs::write(&file, settings).unwrap();
        let daemon = Builder::new()
            .env("PARLOR_LOG__LEVEL", "")
            .arg("--config")
            .arg(file.to_str().unwrap())
            .start();
        Settled {
            world: World::of(daemon),
            file,
            outcomes: 0,
            _place: place,
        }
    }

    /// Writes the file and reloads. Gives what is logged of it, in one text.
    fn change(&mut self, settings: &str) -> String {
        fs::write(&self.file, settings).unwrap();
        self.reload()
    }

    fn reload(&mut self) -> String {
        let before = self.daemon().log().len();
        self.outcomes += 1;
        self.daemon().signal("HUP");
        self.daemon().wait_for_logs(&[READ, REFUSED], self.outcomes);
        let log = self.daemon().log();
        // What the daemon says of a reload it says before the line that ends it.
        log[before..].join("\n")
    }

    fn daemon(&self) -> &Daemon {
        &self.world.daemon
    }

    /// The status of a request that needs a token.
    fn status(&self, token: &str) -> u16 {
        self.world.http(token).get("/api/auth/me").status
    }
}

/// The keys that a reload names under `field`.
fn named(log: &str, field: &str) -> Vec<String> {
    let line = log.lines().rfind(|line| line.contains(READ));
    let event: Value = serde_json::from_str(line.expect(log)).expect("JSON");
    let keys = event["fields"][field].as_str().expect(field);
    keys.split_whitespace().map(str::to_owned).collect()
}

fn settings(auth: &str, turn: &str, more: &str) -> String {
    format!(
        "auth.secret = \"{auth}\"\nauth.provision_users = true\nturn.secret = \"{turn}\"\n{more}"
    )
}

fn usual(more: &str) -> String {
    settings(SECRET, turn::SECRET, more)
}

fn hears(from: &mut Client, to: &mut Client, word: &str) {
    from.send(&offer("anybody", None, word));
    assert_eq!(to.read()["data"]["sdp"], word);
}

#[test]
fn a_secret_is_rotated_while_calls_continue() {
    let mut settled = Settled::with(&usual(""));
    let [mut alice, mut bob] = settled.world.lobby(["alice", "bob"]);
    let mut relayed = Relayed::udp(settled.daemon().turn(), "alice", None);
    relayed.allocated();
    let (old, new) = (
        token(SECRET, "alice"),
        "another secret of thirty-two bytes, and more",
    );
    let fresh = token(new, "alice");
    assert_eq!((settled.status(&old), settled.status(&fresh)), (200, 401));

    // Both are good for a while …
    let both = format!(
        "auth.previous_secrets = \"{SECRET}\"\nturn.previous_secrets = \"{}\"",
        turn::SECRET
    );
    let log = settled.change(&settings(new, "also another", &both));
    assert_eq!(
        named(&log, "changed"),
        [
            "auth.secret",
            "auth.previous_secrets",
            "turn.secret",
            "turn.previous_secrets"
        ]
    );
    assert_eq!((settled.status(&old), settled.status(&fresh)), (200, 200));
    let issued = settled.world.http(&fresh).post("/api/auth/refresh").ok();
    let issued = issued["access_token"].as_str().unwrap().to_owned();
    let mut again = Relayed::udp(settled.daemon().turn(), "bob", None);
    again.allocated();

    // … and then the old one is not.
    let log = settled.change(&settings(new, "also another", ""));
    assert_eq!(
        named(&log, "changed"),
        ["auth.previous_secrets", "turn.previous_secrets"]
    );
    assert_eq!((settled.status(&old), settled.status(&fresh)), (401, 200));
    assert_eq!(settled.status(&issued), 200, "the new secret signs");
    let mut late = Relayed::udp(settled.daemon().turn(), "carol", None);
    assert_eq!(late.allocate().code(), Some(401));

    hears(&mut alice, &mut bob, "still here");
    hears(&mut bob, &mut alice, "me too");
    let refresh = relayed.request(parlor::stun::Method::REFRESH, &[]);
    assert_eq!(refresh.code(), None, "a living allocation keeps its key");
    assert!(
        !settled.daemon().log().concat().contains(new),
        "a secret in the log"
    );
}

#[test]
fn a_secret_in_a_file_of_its_own_is_read_anew() {
    let place = TempDir::new().unwrap();
    let kept = place.path().join("kept");
    fs::write(&kept, SECRET).unwrap();
    let file = kept.display();
    let mut settled = Settled::with(&format!(
        "auth.secret_file = \"{file}\"\nauth.provision_users = true\n"
    ));
    assert_eq!(settled.status(&token(SECRET, "alice")), 200);
    let new = "another secret of thirty-two bytes, and more";
    fs::write(&kept, new).unwrap();
    assert_eq!(named(&settled.reload(), "changed"), ["auth.secret"]);
    assert_eq!(settled.status(&token(SECRET, "alice")), 401);
    assert_eq!(settled.status(&token(new, "alice")), 200);
    assert_eq!(
        named(&settled.reload(), "changed"),
        [""; 0],
        "nothing is new"
    );
}

/// A generated secret is parlor's own: nobody rotates it by chance.
#[test]
fn a_generated_secret_stays_until_the_next_start() {
    let auth = format!("auth.secret = \"{SECRET}\"\nauth.provision_users = true\n");
    let mut settled = Settled::with(&auth);
    let path = settled.daemon().data_dir().join("turn.secret");
    let generated = Secret::new(fs::read_to_string(&path).unwrap().trim());
    fs::write(&path, "something else altogether").unwrap();
    let log = settled.change(&format!("{auth}turn.max_channels = 5\n"));
    assert_eq!(named(&log, "changed"), ["turn.max_channels"]);
    let token = settled.world.token("alice");
    let servers = settled.world.http(&token).get("/api/ice-servers").ok();
    let server = &servers["iceServers"][1];
    let username = server["username"].as_str().unwrap();
    let expires = username.split(':').next().unwrap().parse().unwrap();
    let minted = Credentials::new(&generated, &[]).mint("alice", None, expires);
    assert_eq!(
        (username, &server["credential"]),
        (&*minted.username, &minted.credential.into())
    );
}

#[test]
fn a_bad_configuration_is_rejected_whole_with_every_problem() {
    let mut settled = Settled::with(&usual(""));
    let token = settled.world.token("alice");
    let makes_a_room = |settled: &Settled, name: &str| {
        let http = settled.world.http(&token);
        http.post_json("/api/rooms", &json!({ "name": name }))
            .status
    };
    let log = settled.change(&usual(
        "rooms.create = \"admins\"\nsignaling.rate = \"x\"\nturn.relm = 5\nsignaling.burst = 0",
    ));
    for line in [
        "parlor.toml:5: signaling.rate must be a whole number",
        "parlor.toml:6: turn.relm is not a known key; did you mean turn.realm?",
        "parlor.toml:7: signaling.burst must be at least 1",
    ] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    assert!(log.contains(REFUSED), "{log}");
    assert_eq!(
        makes_a_room(&settled, "one"),
        201,
        "the old configuration stays"
    );
    fs::remove_file(&settled.file).unwrap();
    let log = settled.reload();
    assert!(
        log.contains("does not exist") && log.contains(REFUSED),
        "{log}"
    );
    assert_eq!(makes_a_room(&settled, "two"), 201);
    let log = settled.change(&usual("rooms.create = \"admins\""));
    assert_eq!(named(&log, "changed"), ["rooms.create"]);
    assert_eq!(makes_a_room(&settled, "three"), 403);
}

#[test]
fn policy_origins_limits_and_the_log_change_at_once() {
    let mut settled = Settled::with(&usual("log.level = \"info\""));
    let (http, page) = (
        Http::new(settled.daemon().http()),
        "https://elsewhere.example",
    );
    let status = || {
        http.send("GET", "/api/auth/me", &[("Origin", page)], b"")
            .status
    };
    let mut alice = Relayed::udp(settled.daemon().turn(), "alice", None);
    alice.allocated();
    let peer = "10.9.9.9:9".parse().unwrap();
    assert_eq!(alice.permit(peer).code(), Some(403));
    assert_eq!(status(), 401);
    let [mut bob, mut carol] = settled.world.lobby(["bob", "carol"]);
    let quiet = settled.daemon().log().concat();
    assert!(!quiet.contains("\"request completed\""));
    let log = settled.change(&usual(
        "log.level = \"debug\"\nturn.allowed_peers = \"10.9.9.9\"\n\
         turn.unauthenticated_rate = 0\n\
         http.allowed_origins = \"https://app.example\"\n\
         [signaling]\nrate = 1\nburst = 3\nmax_message = 1000\n",
    ));
    assert_eq!(
        named(&log, "changed"),
        [
            "http.allowed_origins",
            "signaling.max_message",
            "signaling.rate",
            "signaling.burst",
            "turn.allowed_peers",
            "turn.unauthenticated_rate",
            "log.level"
        ]
    );
    assert!(
        log.contains("turn.unauthenticated_rate is 0"),
        "a warning in {log}"
    );
    assert_eq!(alice.permit(peer).code(), None);
    assert_eq!(status(), 403);
    assert_eq!(settled.status("no token"), 401);
    settled.daemon().wait_for_log("\"request completed\"");
    // Those who are connected are held to the new rate too.
    for word in ["1", "2", "3", "4", "5", "6"] {
        bob.send(&offer("bob", None, word));
    }
    assert_eq!(bob.close_code(), 4008);
    assert_eq!(carol.read()["data"]["sdp"], "1");
    let mut dave = settled.world.enter(LOBBY, "dave");
    dave.send(&offer("dave", None, &"x".repeat(1000)));
    assert_eq!(
        dave.close_code(),
        1009,
        "a new connection has the new limit"
    );
}

#[test]
fn settings_that_need_a_restart_are_listed_and_unchanged() {
    let mut settled = Settled::with(&usual(""));
    let elsewhere = "turn.realm = \"elsewhere\"\nhttp.max_connections = 7\n\
                     turn.relay_ports = \"50000-60000\"\nlog.format = \"text\"";
    for _ in 0..2 {
        // The log is JSON for the environment says so: that is no difference.
        let log = settled.change(&usual(elsewhere));
        assert_eq!(
            named(&log, "needs_restart"),
            ["http.max_connections", "turn.realm", "turn.relay_ports"]
        );
        assert_eq!(named(&log, "changed"), [""; 0]);
    }
    // The tests' client knows the old realm alone.
    Relayed::udp(settled.daemon().turn(), "alice", None).allocated();
    let log = settled.change(&usual("rooms.max_messages = 5"));
    assert_eq!(named(&log, "needs_restart"), [""; 0]);
    assert_eq!(named(&log, "changed"), ["rooms.max_messages"]);
}

#[test]
fn files_of_public_keys_are_read_anew() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("jwks.json");
    let keys =
        |x: &str| json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string();
    fs::write(&file, keys("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE")).unwrap();
    let mut settled = Settled::with(&format!(
        "auth.algorithm = \"EdDSA\"\nauth.jwks_file = \"{}\"\n",
        file.display()
    ));
    fs::write(&file, "{").unwrap();
    let log = settled.reload();
    assert!(
        log.contains("auth.jwks_file names") && log.contains(REFUSED),
        "{log}"
    );
    fs::write(&file, keys("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
    assert_eq!(named(&settled.reload(), "changed"), ["auth.jwks_file"]);
}

#[test]
fn fifty_reloads_under_load_lose_no_connection_and_no_message() {
    let roomy = "signaling.rate = 1000000\nsignaling.burst = 1000000\n";
    let mut settled = Settled::with(&usual(roomy));
    settled.world.room("second");
    let [alice, bob] = settled.world.lobby(["alice", "bob"]);
    let mut carol = settled.world.enter("second", "carol");
    let dave = settled.world.enter("second", "dave");
    assert_eq!(carol.read()["type"], "user-joined");
    let over = AtomicBool::new(false);
    let talk = |mut one: Client, mut other: Client| {
        let mut said = 0u64;
        while !over.load(Ordering::Relaxed) {
            said += 1;
            hears(&mut one, &mut other, &said.to_string());
            hears(&mut other, &mut one, &said.to_string());
        }
        said
    };
    let said = thread::scope(|scope| {
        let talks = [(alice, bob), (carol, dave)];
        let talks = talks.map(|(one, other)| scope.spawn(|| talk(one, other)));
        for turn in 0..50 {
            let limits = format!("{roomy}rooms.max_messages = {}\n", 100 + turn);
            let channels = format!("turn.max_channels = {}\n", 10 + turn);
            let log = settled.change(&usual(&(limits + &channels)));
            assert_eq!(
                named(&log, "changed"),
                ["rooms.max_messages", "turn.max_channels"]
            );
        }
        over.store(true, Ordering::Relaxed);
        talks.map(|talk| talk.join().expect("they hear each other to the end"))
    });
    assert!(said.iter().all(|said| *said > 0), "{said:?}");
}

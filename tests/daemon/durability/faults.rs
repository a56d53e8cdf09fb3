//! Faults of the database: each gives one sentence, changes nothing, and leaves the relay running.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::support::command::Cli;
use crate::support::http::{Answer, Client};
use crate::support::namespace::{may_mount, mount};
use crate::support::{Builder, Daemon, turn};

/// The path of the messages of a room.
const MESSAGES: &str = "/api/rooms/lobby/messages";

/// A data directory that a daemon has used, and where to start the next one.
struct Used {
    cli: Cli,
}

impl Used {
    fn new() -> Used {
        let cli = Cli::new()
            .env("PARLOR_HTTP__LISTEN", "127.0.0.1:0")
            .env("PARLOR_TURN__LISTEN", "127.0.0.1:0")
            .env("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0")
            .env("PARLOR_TURN__SECRET", turn::SECRET);
        let used = Used { cli };
        used.serve().stop();
        used.cli.json(&["user", "add", "alice"]);
        used
    }

    /// A daemon that starts.
    fn serve(&self) -> Daemon {
        in_directory(self.cli.data_dir())
    }

    fn path(&self) -> PathBuf {
        self.cli.data_dir().join("parlor.db")
    }

    fn database(&self) -> Connection {
        Connection::open(self.path()).expect("the database opens")
    }

    /// As [`Used::assert_start_fails`], and asserts that no byte of the database has changed.
    fn assert_rejects_unchanged(&self, path: &Path, expected: &str) {
        let before = fs::read(self.path()).expect("a database");
        self.assert_start_fails(path, expected);
        let after = fs::read(self.path()).expect("a database");
        assert!(before == after, "the database was changed");
    }

    /// `serve` ends with one sentence that names `path` and contains `expected`.
    fn assert_start_fails(&self, path: &Path, expected: &str) {
        let mut serve = self.cli.command(&["serve"]);
        let mut serve = serve.stderr(Stdio::piped()).spawn().expect("a start");
        let lines = BufReader::new(serve.stderr.take().expect("a pipe")).lines();
        let mut errors = Vec::new();
        for line in lines.map_while(Result::ok) {
            if line.ends_with(" ready") {
                serve.kill().expect("a kill");
                panic!("it serves, although {expected:?} was expected");
            }
            errors.extend(line.strip_prefix("error: ").map(str::to_owned));
        }
        assert_eq!(serve.wait().expect("an end").code(), Some(1));
        let path = path.to_str().expect("a plain path");
        let [error] = &errors[..] else {
            panic!("one sentence, not {errors:?}");
        };
        assert!(error.contains(path) && error.contains(expected), "{error}");
    }
}

fn in_directory(path: &Path) -> Daemon {
    let path = path.to_str().expect("a plain path");
    Builder::new()
        .env("PARLOR_SERVER__DATA_DIR", path)
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start()
}

/// Overwrites the middle half of a file.
fn damage(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).expect("a file");
    let size = file.metadata().expect("its size").len();
    let junk = vec![0xa5; size as usize / 2];
    file.write_all_at(&junk, size / 4).expect("a write");
}

/// A caller for the user `name`.
fn caller(daemon: &Daemon, name: &str) -> Client {
    let issued = daemon.cli_json(&["token", "issue", name]);
    let token = issued["token"].as_str().expect("a token");
    Client::new(daemon.http()).with_token(token)
}

fn post_message(author: &Client, content: &str) -> Answer {
    author.post_json(MESSAGES, &json!({ "content": content }))
}

/// A call of two clients that began before the fault.
struct Call {
    alice: turn::Client,
    bob: turn::Client,
}

impl Call {
    fn begins(daemon: &Daemon) -> Call {
        let client = |user| turn::Client::udp(daemon.turn(), user, None);
        let (alice, bob) = turn::connected(client("alice"), client("bob"));
        let mut call = Call { alice, bob };
        call.assert_works();
        call
    }

    /// Asserts that data passes both ways on the existing allocations.
    fn assert_works(&mut self) {
        turn::both_hear_each_other(&mut self.alice, &mut self.bob, false);
    }
}

#[test]
fn a_damaged_database_is_reported_at_the_start_and_not_changed() {
    let used = Used::new();
    damage(&used.path());
    used.assert_rejects_unchanged(&used.path(), "is damaged; restore it from a backup");
}

#[test]
fn damage_under_a_running_server_fails_only_the_reads_it_affects() {
    let used = Used::new();
    used.database()
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO room_messages (room_id, user_id, content, created_at)
             SELECT 'lobby', id, hex(zeroblob(2000)), '2026-01-01T00:00:00Z' FROM users, n",
        )
        .expect("messages");
    damage(&used.path());
    let daemon = used.serve();
    let mut call = Call::begins(&daemon);
    let alice = caller(&daemon, "alice");
    alice.post("/api/rooms/lobby/join").ok();
    let refusal = alice.get(&format!("{MESSAGES}?before=250")).refusal();
    assert_eq!(refusal.0, 500);
    let logged = daemon.wait_for_log("is damaged; restore it from a backup");
    assert!(logged.contains(used.path().to_str().unwrap()), "{logged}");
    alice.get("/api/rooms/lobby/participants").ok();
    call.assert_works();
    Call::begins(&daemon);
}

#[test]
fn a_newer_schema_is_reported_at_the_start_and_not_changed() {
    let used = Used::new();
    let database = used.database();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    used.assert_rejects_unchanged(
        &used.path(),
        "has schema 99, and this parlor knows schemas up",
    );
}

#[test]
fn a_database_that_stays_locked_is_reported_at_the_start_and_not_changed() {
    let used = Used::new();
    let before = fs::read(used.path()).expect("a database");
    let other = used.database();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .expect("a lock");
    // Reading the file in this process would give its locks up: POSIX ends them with any close.
    used.assert_start_fails(&used.path(), "locked; try again when it has finished");
    drop(other);
    let after = fs::read(used.path()).expect("a database");
    assert!(before == after, "the database was changed");
    used.serve();
}

#[test]
fn a_read_only_directory_is_reported_at_the_start_and_not_changed() {
    if !may_mount(
        "durability::faults::a_read_only_directory_is_reported_at_the_start_and_not_changed",
    ) {
        return;
    }
    let used = Used::new();
    let folder = used.cli.data_dir().to_str().expect("a plain path");
    mount(&["--bind", folder, folder]);
    mount(&["-o", "remount,bind,ro", folder]);
    used.assert_rejects_unchanged(used.cli.data_dir(), "Read-only file system");
    let expected = "cannot be written; check the owner and mode";
    used.cli.refused(&["user", "add", "bob"], expected);
    used.cli.refused(&["user", "add", "bob"], "parlor.db");
}

#[test]
fn a_full_disk_rejects_new_writes_and_keeps_acknowledged_ones() {
    if !may_mount("durability::faults::a_full_disk_rejects_new_writes_and_keeps_acknowledged_ones")
    {
        return;
    }
    let disk = TempDir::new().expect("a folder");
    mount(&[
        "-t",
        "tmpfs",
        "-o",
        "size=2m",
        "none",
        disk.path().to_str().unwrap(),
    ]);
    let daemon = in_directory(disk.path());
    daemon.cli_json(&["user", "add", "alice"]);
    let alice = caller(&daemon, "alice");
    alice.post("/api/rooms/lobby/join").ok();
    assert_eq!(post_message(&alice, "first").status, 201);
    let mut call = Call::begins(&daemon);

    let ballast = fill(disk.path());
    let mut kept = 1;
    let long = "x".repeat(4000);
    let refused = loop {
        let answer = post_message(&alice, &long);
        if answer.status != 201 {
            break answer;
        }
        kept += 1;
    };
    assert_eq!(refused.refusal(), (503, "unavailable".to_owned()));
    let logged = daemon.wait_for_log("no space is left for the database");
    assert!(logged.contains("make room on its file system"), "{logged}");
    let count = |daemon: &Daemon| {
        let page = caller(daemon, "alice").get(MESSAGES).ok();
        page["messages"].as_array().expect("a list").len()
    };
    let ready = Client::new(daemon.http()).get("/readyz");
    assert_eq!(ready.refusal(), (503, "not-ready".to_owned()));
    let checks = &ready.json()["checks"];
    assert_eq!(checks["store"], "the database accepts no writes");
    assert_eq!(checks["relay"], "ok");
    assert_eq!(count(&daemon), kept);
    call.assert_works();
    Call::begins(&daemon);

    fs::remove_file(&ballast).expect("room again");
    assert_eq!(post_message(&alice, "last").status, 201);
    Client::new(daemon.http()).get("/readyz").ok();
    let daemon = daemon.restart();
    assert_eq!(count(&daemon), kept + 1);
    daemon.stop();
}

#[test]
fn a_lock_of_another_process_rejects_writes_and_the_call_continues() {
    let used = Used::new();
    let daemon = used.serve();
    let alice = caller(&daemon, "alice");
    alice.post("/api/rooms/lobby/join").ok();
    let mut call = Call::begins(&daemon);

    let other = used.database();
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    let refused = thread::scope(|scope| {
        let writing = scope.spawn(|| post_message(&alice, "hello"));
        // While the store waits for the lock, and when it has given up.
        while !writing.is_finished() {
            call.assert_works();
        }
        writing.join().expect("an answer")
    });
    assert_eq!(refused.refusal(), (503, "unavailable".to_owned()));
    call.assert_works();
    Call::begins(&daemon);
    alice.get(MESSAGES).ok();

    other.execute_batch("ROLLBACK").expect("an end");
    assert_eq!(post_message(&alice, "hello").status, 201);
}

#[test]
fn a_disk_that_becomes_read_only_rejects_writes_and_the_call_continues() {
    if !may_mount(
        "durability::faults::a_disk_that_becomes_read_only_rejects_writes_and_the_call_continues",
    ) {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let Some(disk) = disk_of_its_own(folder.path()) else {
        eprintln!("left out: a file cannot be mounted as a disk here");
        return;
    };
    let daemon = in_directory(&disk.join("data"));
    daemon.cli_json(&["user", "add", "alice"]);
    let alice = caller(&daemon, "alice");
    alice.post("/api/rooms/lobby/join").ok();
    let mut call = Call::begins(&daemon);
    assert_eq!(post_message(&alice, "hello").status, 201);

    // What the kernel does itself when a disk fails: nothing may be written from now on.
    mount(&["-o", "remount,abort", disk.to_str().unwrap()]);
    assert!(
        post_message(&alice, "hello").status >= 500,
        "a message was acknowledged"
    );
    let logged = daemon.wait_for_log("\"level\":\"ERROR\"");
    assert!(logged.contains("parlor.db"), "{logged}");
    call.assert_works();
    Call::begins(&daemon);
    let page = alice.get(MESSAGES).ok();
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_removed_or_replaced_database_is_reported_and_acknowledges_no_write() {
    let used = Used::new();
    let daemon = used.serve();
    let alice = caller(&daemon, "alice");
    alice.post("/api/rooms/lobby/join").ok();
    let mut call = Call::begins(&daemon);
    assert_eq!(post_message(&alice, "hello").status, 201);

    let aside = used.path().with_extension("aside");
    fs::rename(used.path(), &aside).expect("a removal");
    let logged =
        daemon.wait_for_log("the database file was removed or replaced: nothing more is written");
    assert!(logged.contains(used.path().to_str().unwrap()), "{logged}");
    assert_eq!(
        post_message(&alice, "hello").refusal(),
        (503, "unavailable".to_owned())
    );
    fs::copy(&aside, used.path()).expect("another file");
    assert_eq!(
        post_message(&alice, "hello").refusal(),
        (503, "unavailable".to_owned())
    );
    let ready = Client::new(daemon.http()).get("/readyz");
    assert_eq!(ready.refusal(), (503, "not-ready".to_owned()));
    let expected = "the database file was removed or replaced";
    assert_eq!(ready.json()["checks"]["store"], expected);
    daemon.wait_for_log("not ready: the database accepts no writes");
    call.assert_works();
    Call::begins(&daemon);

    fs::rename(&aside, used.path()).expect("the file is back");
    assert_eq!(post_message(&alice, "hello").status, 201);
    Client::new(daemon.http()).get("/readyz").ok();
    daemon.wait_for_log("database file restored");
    let daemon = daemon.restart();
    let page = caller(&daemon, "alice").get(MESSAGES).ok();
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_full_disk_is_reported_at_the_start_and_nothing_is_changed() {
    if !may_mount("durability::faults::a_full_disk_is_reported_at_the_start_and_nothing_is_changed")
    {
        return;
    }
    let used = Used::new();
    let disk = used.cli.data_dir();
    let aside = TempDir::new().expect("a folder");
    let copy = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    };
    copy(disk, aside.path());
    mount(&[
        "-t",
        "tmpfs",
        "-o",
        "size=1m",
        "none",
        disk.to_str().unwrap(),
    ]);
    copy(aside.path(), disk);
    let ballast = fill(disk);
    let expected = "no space is left for the database";
    used.assert_rejects_unchanged(&used.path(), expected);
    used.cli.refused(&["user", "list"], expected);
    fs::remove_file(&ballast).expect("room again");
    let daemon = used.serve();
    assert_eq!(daemon.cli_json(&["user", "list"])[0]["name"], "alice");
}

/// A file inside `folder`, mounted as a file system; `None` where that is not granted.
fn disk_of_its_own(folder: &Path) -> Option<PathBuf> {
    let (image, disk) = (folder.join("image"), folder.join("disk"));
    File::create(&image)
        .and_then(|file| file.set_len(16 << 20))
        .expect("a file");
    fs::create_dir(&disk).expect("a folder");
    let succeeds = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let made = succeeds(Command::new("mkfs.ext4").arg("-q").arg(&image));
    let mut mount = Command::new("mount");
    mount
        .args(["-o", "loop,errors=remount-ro"])
        .arg(image)
        .arg(&disk);
    (made && succeeds(&mut mount)).then_some(disk)
}

/// Takes all the space that is left, and gives the file that holds it.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut file = File::create(&path).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

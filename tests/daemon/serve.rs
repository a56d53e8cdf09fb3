//! The start of `parlor serve`: flags, and reasons for failure.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::support::command::Cli;
use crate::support::{Builder, Daemon};

/// A command line whose `serve` uses ports that the kernel selects.
fn cli() -> Cli {
    Cli::new()
        .env("PARLOR_HTTP__LISTEN", "127.0.0.1:0")
        .env("PARLOR_TURN__LISTEN", "127.0.0.1:0")
        .env("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0")
}

#[test]
fn flags_override_the_environment() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("made/here");
    let daemon = Builder::new()
        .arg("--listen=127.0.0.2:0")
        .arg("--turn-listen=127.0.0.3:0")
        .arg("--public-url=https://talk.example.org")
        .arg("--data-dir")
        .arg(path.to_str().unwrap())
        .start();
    assert_eq!(daemon.http().ip().to_string(), "127.0.0.2");
    assert_eq!(daemon.turn().ip().to_string(), "127.0.0.3");
    assert!(
        daemon
            .invite_link()
            .starts_with("https://talk.example.org/r/lobby#")
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn each_start_prints_how_to_join_and_invite_prints_a_new_link() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().join("data");
    let start = |args: &[&str]| {
        let builder = Builder::new().env("PARLOR_SERVER__DATA_DIR", place.to_str().unwrap());
        args.iter()
            .fold(builder, |builder, arg| builder.arg(arg))
            .start()
    };
    let first = start(&[]);
    let link = first.invite_link();
    first.stop();
    let second = start(&[]);
    let hint = second.printed("invite create");
    assert!(hint.starts_with("For a link into Lobby: "), "{hint}");
    assert!(hint.ends_with("parlor invite create lobby"), "{hint}");
    second.stop();
    let third = start(&["--invite"]);
    let fresh = third.invite_link();
    assert!(fresh.contains("/r/lobby#") && fresh != link, "{fresh}");
    let invites = third.cli_json(&["invite", "list"]);
    assert_eq!(invites.as_array().unwrap().len(), 2);
    third.cli_json(&["room", "close", "lobby"]);
    third.stop();
    let fourth = start(&["--invite"]);
    fourth.printed("There is no open room: ");
    fourth.cli_json(&["room", "create", "Other", "--id", "other"]);
    fourth.stop();
    let hint = start(&[]).printed("invite create");
    assert!(hint.ends_with("parlor invite create other"), "{hint}");
}

#[test]
fn a_port_in_use_is_reported_with_address_and_setting() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let over_tcp = tcp.local_addr().unwrap();
    let over_udp = udp.local_addr().unwrap();
    for (key, address) in [
        ("http.listen", over_tcp),
        ("turn.listen", over_tcp),
        ("turn.listen", over_udp),
        ("admin.metrics_listen", over_tcp),
    ] {
        // The kernel may select a port in the relay's range, which causes a warning.
        let cli = cli().env("PARLOR_LOG__LEVEL", "error");
        let cli = cli.env(&parlor::config::variable(key), &address.to_string());
        cli.refused(&["serve"], &address.to_string());
        cli.refused(&["serve"], key);
    }
}

#[test]
fn a_second_server_on_a_data_directory_is_rejected() {
    let daemon = Daemon::start();
    let path = daemon.data_dir().to_str().unwrap();
    let args = ["serve", "--data-dir", path];
    cli().refused(&args, path);
    cli().refused(&args, &format!("(process {})", daemon.pid()));
}

#[test]
fn a_directory_that_cannot_be_created_is_reported() {
    let cli = cli();
    let file = cli.place().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let path = path.to_str().unwrap();
        cli.refused(&["serve", "--data-dir", path], path);
    }
}

#[test]
fn an_invalid_setting_is_reported_before_any_file_is_created() {
    let cli = cli().env("SECRET_KEY", "short");
    let path = cli.data_dir().join("new");
    let args = ["serve", "--data-dir", path.to_str().unwrap()];
    cli.misused(&args, "SECRET_KEY must have at least 32 bytes");
    assert!(!path.exists());
    cli.misused(
        &["serve", "--listen", "8000"],
        "--listen is wrong at \"8000\": it must be an address and a port: write 0.0.0.0:8000 and",
    );
    cli.misused(
        &["serve", "--config", "absent.toml"],
        "absent.toml does not exist",
    );
}

#[test]
fn commands_beside_a_server_use_the_same_database() {
    let daemon = Daemon::start();
    let rooms = daemon.cli_json(&["room", "list"]);
    assert_eq!(rooms[0]["id"], "lobby");
    let alice = daemon.cli_json(&["user", "add", "alice"]);
    let member = daemon.cli_json(&["room", "add-member", "Lobby", "alice"]);
    assert_eq!(member["user"]["id"], alice["id"]);
    assert_eq!(
        daemon.cli_json(&["user", "list"]),
        serde_json::json!([alice])
    );
}

#[test]
fn files_that_root_creates_do_not_lock_out_the_owner() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root can make files in another user's directory");
        return;
    }
    const OWNER: u32 = 65_534;
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(OWNER), Some(OWNER)).unwrap();
    let path = data.to_str().unwrap();
    let daemon = Builder::new()
        .env("PARLOR_SERVER__DATA_DIR", path)
        .env("PARLOR_TLS__MODE", "self-signed")
        .start();
    daemon.cli_json(&["user", "add", "alice"]);
    let names = || {
        let entries = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap());
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    for name in [
        "parlor.db-wal",
        "parlor.db-shm",
        "parlor.lock",
        "parlor.sock",
        "self-signed.pem",
    ] {
        assert!(
            names().iter().any(|found| found == name),
            "{name} in {:?}",
            names()
        );
    }
    for name in names() {
        let found = fs::symlink_metadata(data.join(&name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (OWNER, OWNER), "{name}");
    }
    // The server crashes, and its socket remains.
    drop(daemon);
    let cli = cli();
    let mut serve = cli.command(&["serve", "--data-dir", path]);
    let serve = serve.current_dir("/").uid(OWNER).gid(OWNER);
    let serve = serve.stderr(Stdio::piped()).spawn();
    let mut serve = serve.expect("a start");
    let mut lines = BufReader::new(serve.stderr.take().unwrap()).lines();
    let ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.ends_with(" ready"));
    serve.kill().unwrap();
    serve.wait().unwrap();
    assert!(ready, "the directory's owner can't serve");
}

#[test]
fn a_planted_link_or_fifo_is_reported_and_not_followed() {
    let cli = cli();
    cli.json(&["user", "add", "alice"]);
    let outside = cli.place().join("outside");
    fs::write(&outside, "kept").unwrap();
    let fifo =
        |path: &std::path::Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let link = |path: &std::path::Path| symlink(&outside, path).unwrap();
    let commands: [(&str, &[&str]); 3] = [
        ("auth.secret", &["token", "issue", "alice"]),
        ("parlor.db-wal", &["user", "list"]),
        ("parlor.lock", &["serve"]),
    ];
    for (name, command) in commands {
        let path = cli.data_dir().join(name);
        let _ = fs::remove_file(&path);
        link(&path);
        cli.refused(
            command,
            &format!("{name} is a symbolic link, where parlor keeps a file"),
        );
        fs::remove_file(&path).unwrap();
        fifo(&path);
        cli.refused(
            command,
            &format!("{name} is a FIFO, where parlor keeps a file"),
        );
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
}

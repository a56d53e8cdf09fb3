//! Clients of the admin socket that send no valid command.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::commands::start;
use crate::support::{DEADLINE, Daemon};

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.data_dir().join("parlor.sock")
}

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(socket(daemon)).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn message(stream: &mut UnixStream) -> Value {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length");
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).expect("a message");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn send(stream: &mut UnixStream, bytes: &[u8]) {
    stream
        .write_all(&(bytes.len() as u32).to_be_bytes())
        .unwrap();
    stream.write_all(bytes).unwrap();
}

fn refusal(stream: &mut UnixStream) -> String {
    message(stream)["failed"]["problems"][0]
        .as_str()
        .expect("a sentence")
        .to_owned()
}

#[test]
fn an_invalid_request_is_rejected_without_harm() {
    let daemon = start();
    for nonsense in [&b"nonsense"[..], b"{}", b"\"user-forget\"", b"", &[0xff; 3]] {
        let mut stream = connect(&daemon);
        assert!(message(&mut stream)["welcome"]["process"].is_number());
        send(&mut stream, nonsense);
        let said = refusal(&mut stream);
        assert!(said.contains("rejected the request"), "{said}");
    }
    let mut stream = connect(&daemon);
    message(&mut stream);
    stream.write_all(&[0xff; 4]).unwrap();
    let said = refusal(&mut stream);
    assert!(said.contains("65536 are allowed"), "{said}");
    daemon.cli_json(&["status"]);
}

#[test]
fn idle_connections_do_not_block_commands() {
    let daemon = start();
    // Far more than the limit: the server evicts the oldest idle connection.
    let mut idle: Vec<_> = (0..80).map(|_| connect(&daemon)).collect();
    let result = daemon.command(&["status", "--json"]).output();
    assert!(result.expect("parlor runs").status.success());
    for stream in &mut idle[..60] {
        let mut rest = Vec::new();
        // Closing a connection with an unread greeting may cause a reset.
        let _ = stream.read_to_end(&mut rest);
    }
    for _ in 0..50 {
        let mut stream = connect(&daemon);
        message(&mut stream);
        stream.write_all(&[0, 0, 1, 0, b'{']).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    daemon.cli_json(&["status"]);
}

#[test]
fn only_root_and_the_servers_own_user_may_send_commands() {
    let daemon = start();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(socket(&daemon)), 0o600);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root can be somebody else");
        return;
    }
    // With open permissions, the server still rejects the user by the peer credentials.
    for (path, open) in [
        (daemon.data_dir().to_owned(), 0o755),
        (socket(&daemon), 0o666),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
    }
    let output = daemon
        .command(&["user", "list"])
        .uid(65_534)
        .gid(65_534)
        .output();
    let output = output.expect("parlor runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("accepts commands only from root and from its own user"),
        "{said}"
    );
    daemon.wait_for_log("admin command rejected: user has no permission");
}

//! A Redis Sentinel, and the servers that it watches.
#![allow(dead_code)]

use std::fs;
use std::process::{Child, Command, Stdio};

use redis::{FromRedisValue, cmd};

use super::redis::Server;
use super::wait_until;

/// The name of the master.
pub(crate) const SERVICE: &str = "main";
/// The sentinel takes a silent server for dead after this many milliseconds.
const DOWN_AFTER_MS: u32 = 500;

/// Runs the sentinel until standard input closes: its other end is in the process of the tests alone.
const RUN: &str = r#"
    trap '' INT HUP TERM
    redis-server "$1/sentinel.conf" --sentinel >"$1/log" 2>&1 </dev/null &
    pid=$!
    read -r _
    kill -KILL $pid
    wait $pid 2>/dev/null
    rm -rf "$1"
"#;

/// A master, its replica, and a sentinel that promotes the replica when the master dies.
pub(crate) struct Watched {
    pub master: Server,
    pub replica: Server,
    pub replica_port: u16,
    pub sentinel_port: u16,
    _sentinel: Child,
}

impl Watched {
    /// Starts all three, and waits until the sentinel knows the replica.
    pub(crate) fn start() -> Watched {
        let [master_port, replica_port, sentinel_port] = [(); 3].map(|()| Server::unused_port());
        let master = Server::start_with(&format!(
            "--port {master_port} --bind 127.0.0.1 --repl-diskless-sync-delay 0"
        ));
        let replica = Server::start_with(&format!(
            "--port {replica_port} --bind 127.0.0.1 --replicaof 127.0.0.1 {master_port}"
        ));
        let is_in_step = |info: String| info.contains("master_link_status:up");
        wait_until("the replica is in step", || {
            ask(replica_port, &["INFO", "replication"]).is_some_and(is_in_step)
        });
        let sentinel = start_sentinel(sentinel_port, master_port);
        let knows_replica = |fields: Vec<String>| {
            let mut fields = fields.chunks(2);
            fields.any(|field| field == ["num-slaves", "1"])
        };
        let known = ["SENTINEL", "MASTER", SERVICE];
        wait_until("the sentinel knows the replica", || {
            ask(sentinel_port, &known).is_some_and(knows_replica)
        });
        Watched {
            master,
            replica,
            replica_port,
            sentinel_port,
            _sentinel: sentinel,
        }
    }
}

fn start_sentinel(port: u16, master_port: u16) -> Child {
    let directory = tempfile::Builder::new()
        .prefix("sentinel")
        .tempdir()
        .unwrap()
        .keep();
    let lines = [
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", directory.display()),
        format!("sentinel monitor {SERVICE} 127.0.0.1 {master_port} 1"),
        format!("sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}"),
        format!("sentinel failover-timeout {SERVICE} 2000\n"),
    ];
    fs::write(directory.join("sentinel.conf"), lines.join("\n")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", RUN, "sh"]).arg(&directory);
    shell.stdin(Stdio::piped()).spawn().unwrap()
}

/// Asks a server on loopback; `None` if it does not answer. A server that is promoted closes its connections.
pub(crate) fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> Option<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_connection().ok()?;
    let mut command = cmd(words[0]);
    command.arg(&words[1..]).query(&mut connection).ok()
}

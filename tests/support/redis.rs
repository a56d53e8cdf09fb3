//! A private Redis server for the tests of one process.
//!
//! The server listens on a Unix socket in a temporary directory, and ends with the process, however that ends.
#![allow(dead_code)]

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Databases of the server. Each test takes its own.
const DATABASES: i64 = 4096;

/// Obeys commands on standard input. When it closes (its other end is in the process of the tests alone), the server
/// ends, and its directory is removed.
const RUN: &str = r#"
    trap '' INT HUP TERM
    while read -r command; do
        case $command in
        start)
            redis-server --port 0 --unixsocket "$1/redis.sock" --dir "$1" --save '' --appendonly no \
                --databases "$2" $3 >>"$1/log" 2>&1 </dev/null &
            pid=$!
            ;;
        end)
            kill -KILL $pid
            wait $pid 2>/dev/null
            ;;
        *)
            kill "-$command" $pid
            ;;
        esac
        echo >"$1/done"
    done
    kill -KILL $pid 2>/dev/null
    wait
    rm -rf "$1"
"#;

/// A server in a directory of its own.
pub(crate) struct Server {
    directory: PathBuf,
    commands: Mutex<ChildStdin>,
    _shell: Child,
}

/// Returns the server that the tests of this process share, and starts it at first.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    /// Starts a server. It runs until this process ends.
    pub(crate) fn start() -> Server {
        Server::start_with("")
    }

    /// Starts a server with further options of `redis-server`, separated by blanks.
    pub(crate) fn start_with(options: &str) -> Server {
        let directory = tempfile::Builder::new()
            .prefix("redis")
            .tempdir()
            .unwrap()
            .keep();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", RUN, "sh"])
            .arg(&directory)
            .arg(DATABASES.to_string())
            .arg(options)
            .stdin(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let server = Server {
            commands: Mutex::new(shell.stdin.take().unwrap()),
            _shell: shell,
            directory,
        };
        server.restart();
        server
    }

    /// Starts a server that has ended, and waits until it answers. It is empty.
    pub(crate) fn restart(&self) {
        self.command("start");
        for _ in 0..600 {
            if let Ok(client) = redis::Client::open(self.url(0))
                && client.get_connection().is_ok()
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        panic!("Redis does not start; install redis-server 7 or newer: {log}");
    }

    /// Kills the server, and all that it has.
    pub(crate) fn kill(&self) {
        self.command("end");
    }

    /// Freezes the server.
    pub(crate) fn freeze(&self) {
        self.command("STOP");
    }

    pub(crate) fn resume(&self) {
        self.command("CONT");
    }

    /// Sends a command, and waits until it is carried out.
    fn command(&self, command: &str) {
        let done = self.directory.join("done");
        let mut commands = self.commands.lock().unwrap();
        let _ = std::fs::remove_file(&done);
        writeln!(commands, "{command}").unwrap();
        while !done.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A TCP port of loopback that no other program uses now, for an option of [`Server::start_with`].
    pub(crate) fn unused_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    /// Ends all connections of the server but this one.
    pub(crate) fn kill_connections(&self) {
        let client = redis::Client::open(self.url(0)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut kill = redis::cmd("CLIENT");
        kill.arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
        kill.exec(&mut connection).unwrap();
    }

    /// The path of the socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("redis.sock")
    }

    fn url(&self, database: i64) -> String {
        format!("redis+unix://{}?db={database}", self.socket().display())
    }

    /// The URL of a database that no other test uses.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let database = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(database < DATABASES, "more databases than the server has");
        self.url(database)
    }
}

//! A private Redis server for the tests of one process.
//!
//! The server listens on a Unix socket in a temporary directory, and ends with the process, however that ends.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Databases of the server. Each test takes its own.
const DATABASES: i64 = 4096;

/// Runs the server until standard input closes: its other end is in the process of the tests alone.
const RUN: &str = r#"
    trap '' INT HUP TERM
    redis-server --port 0 --unixsocket "$1/redis.sock" --dir "$1" --save '' --appendonly no \
        --databases "$2" >"$1/log" 2>&1 </dev/null &
    pid=$!
    read -r line
    kill -KILL $pid
    wait
    rm -rf "$1"
"#;

/// A server in a directory of its own.
pub(crate) struct Server {
    directory: PathBuf,
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
            .stdin(Stdio::piped());
        let server = Server {
            _shell: shell.spawn().unwrap(),
            directory,
        };
        for _ in 0..600 {
            if let Ok(client) = redis::Client::open(server.url(0))
                && client.get_connection().is_ok()
            {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(server.directory.join("log")).unwrap_or_default();
        panic!("Redis does not start; install redis-server 7 or newer: {log}");
    }

    fn url(&self, database: i64) -> String {
        let socket = self.directory.join("redis.sock");
        format!("redis+unix://{}?db={database}", socket.display())
    }

    /// The URL of a database that no other test uses.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let database = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(database < DATABASES, "more databases than the server has");
        self.url(database)
    }
}

//! The server under test: the same binary, on ports that the kernel selects, in a temporary directory.

use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::admin::Failure;
use crate::secret::Secret;

/// Timeout for the start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings without limits that the load would reach; all others have their defaults.
const SETTINGS: &str = r#"
[http]
listen = ["127.0.0.1:0"]
max_connections = 16

[turn]
listen = ["127.0.0.1:0"]
max_allocations_per_address = 1000000
unauthenticated_rate = 0
bandwidth_per_allocation = 0
bandwidth_per_user = 0

[admin]
metrics_listen = []

[log]
format = "json"
level = "info"
"#;

/// A running server; dropping it ends the process and removes its directory.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    directory: PrivateDir,
}

/// A private directory; removed when dropped.
struct PrivateDir(PathBuf);

impl Server {
    /// # Errors
    /// The server could not be started.
    pub(super) fn start() -> Result<Server, Failure> {
        let directory = PrivateDir::make()?;
        let config = directory.0.join("config.toml");
        fs::write(&config, SETTINGS)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--config")
            .arg(config)
            .arg("--data-dir")
            .arg(directory.data())
            // The environment may hold settings and secrets of another server.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take();
        // From here on, an error drops the server and ends the child.
        let mut server = Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory,
        };
        let (lines, log) = mpsc::sync_channel(64);
        if let Some(stderr) = stderr {
            let forward = move |line: String| lines.send(line).is_ok();
            thread::Builder::new()
                .name("bench-log".into())
                .spawn(move || read(stderr, forward))?;
        }
        server.address = wait_until_ready(&log)?;
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the secret for TURN credentials.
    pub(super) fn secret(&self) -> Result<Secret, Failure> {
        let text = fs::read_to_string(self.directory.data().join("turn.secret"))?;
        Ok(Secret::new(text.trim()))
    }

    /// # Errors
    /// The server has ended.
    pub(super) fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(Failure::new(format!(
                "the server under test has ended unexpectedly ({status})"
            ))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // All of its data is removed, so that it need not shut down cleanly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PrivateDir {
    fn make() -> Result<PrivateDir, Failure> {
        // Short, because the path of a Unix socket is limited to about 100 bytes.
        let unique = Uuid::new_v4().simple().to_string();
        let path = std::env::temp_dir().join(format!("parlor-bench-{}", &unique[..12]));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            Failure::new(format!("{} can't be created: {error}", path.display()))
        })?;
        Ok(PrivateDir(path))
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Reads the log to its end, so that the server never waits for its reader. Passes lines to `forward` until
/// it returns false.
fn read(stderr: ChildStderr, mut forward: impl FnMut(String) -> bool) {
    let mut forwarding = true;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        forwarding = forwarding && forward(line);
    }
}

/// Waits until the server is ready. Returns the address of its TURN listener.
fn wait_until_ready(log: &Receiver<String>) -> Result<SocketAddr, Failure> {
    let mut address = None;
    let mut last = String::new();
    while let Ok(line) = log.recv_timeout(START_TIMEOUT) {
        let line: Value = match serde_json::from_str(&line) {
            Ok(value) => value,
            Err(_) => {
                // An error that was printed before the log started.
                last = line;
                continue;
            }
        };
        let fields = &line["fields"];
        if fields["what"] == "turn-udp" {
            address = fields["address"]
                .as_str()
                .and_then(|text| text.parse().ok());
        }
        if let (Some(address), "ready") = (address, fields["message"].as_str().unwrap_or("")) {
            return Ok(address);
        }
    }
    Err(Failure::new(format!(
        "the server under test did not start: {last}"
    )))
}

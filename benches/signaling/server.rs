//! The two servers, each a process of its own, and what they spend.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use parlor::config::Auth;
use parlor::secret::Secret;
use parlor::storage::{JoinGrant, NewRoom, Store};
use parlor::token::{Claims, Tokens};
use tempfile::TempDir;

const SECRET: &str = "a secret of the benches, thirty-two bytes and more";
/// People in a room.
pub(crate) const ROOM: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Returns every message to its sender.
    Floor,
    /// parlor with plain clients.
    Plain,
    /// parlor with `parlor.v1` clients.
    Extended,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub address: SocketAddr,
    pub contender: Contender,
    tokens: Tokens,
    _data_dir: TempDir,
}

/// Somebody who connects.
pub(crate) struct Person {
    /// Of the request that opens their WebSocket.
    pub path: String,
    user: String,
    neighbour: String,
    room: String,
}

/// A command on one core, where that can be arranged.
pub(crate) fn on_core(core: usize, program: &Path) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 || !crate::installed("taskset") {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

impl Server {
    pub(crate) fn start(contender: Contender, people: usize) -> Rc<Server> {
        let data_dir = TempDir::new().expect("a temporary directory");
        let mut command = match contender {
            Contender::Floor => floor(),
            Contender::Plain | Contender::Extended => parlor(data_dir.path(), people),
        };
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a server");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = lines.by_ref().find_map(|line| address_in(&line.ok()?));
        // Nobody may find the pipe full.
        std::thread::spawn(move || lines.for_each(drop));
        Rc::new(Server {
            child,
            address: address.expect("the server says where it listens"),
            contender,
            tokens: tokens(),
            _data_dir: data_dir,
        })
    }

    /// Nanoseconds of all threads on a core so far.
    pub(crate) fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let ran = tasks.expect("a process").filter_map(|task| {
            let figures = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            figures.split(' ').next()?.parse::<f64>().ok()
        });
        ran.sum()
    }

    /// Bytes of memory that the process has.
    pub(crate) fn memory(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        1024.0
            * kilobytes
                .and_then(|text| text.parse().ok())
                .unwrap_or(f64::NAN)
    }

    pub(crate) fn person(&self, number: usize) -> Person {
        let claims = claims(number);
        let room = room(number);
        let neighbour = match self.contender {
            Contender::Floor => number,
            Contender::Plain | Contender::Extended => number - number % ROOM + (number + 1) % ROOM,
        };
        Person {
            path: format!("/api/ws/rooms/{room}?token={}", self.tokens.issue(&claims)),
            user: user(number),
            neighbour: user(neighbour),
            room,
        }
    }
}

impl Person {
    /// A message of the length of an ICE candidate to the neighbour in the room, with this text in it.
    pub(crate) fn message(&self, text: &str) -> String {
        let to = format!(r#""to":"{}","#, self.neighbour);
        self.candidate(text, &to)
    }

    /// A message of this length to all others in the room.
    pub(crate) fn broadcast(&self, bytes: usize) -> String {
        self.candidate(&"x".repeat(bytes), "")
    }

    fn candidate(&self, text: &str, to: &str) -> String {
        format!(
            r#"{{"type":"ice-candidate","data":{{"candidate":"{text:x<100}"}},"from":"{}",{to}"roomId":"{}"}}"#,
            self.user, self.room,
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn tokens() -> Tokens {
    Tokens::new(&Auth::default(), &Secret::new(SECRET))
}

pub(crate) fn claims(number: usize) -> Claims {
    Claims {
        sub: user(number),
        exp: parlor::clock::now().unix + 3600,
        ..Claims::default()
    }
}

fn user(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

pub(crate) fn room(number: usize) -> String {
    format!("00000000-0000-4000-a000-{:012x}", number / ROOM)
}

fn floor() -> Command {
    let program = std::env::current_exe().expect("a path of this program");
    let mut command = on_core(0, &program);
    command.arg("--floor");
    command
}

fn parlor(data_dir: &Path, people: usize) -> Command {
    let data_dir = data_dir.join("data");
    fs::create_dir(&data_dir).expect("a data directory");
    populate(&data_dir.join("parlor.db"), people);
    let mut command = on_core(0, Path::new(env!("CARGO_BIN_EXE_parlor")));
    command
        .arg("serve")
        .stdout(Stdio::null())
        // Not where a config.toml lies.
        .current_dir(&data_dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // As in the service file.
        .env("MALLOC_ARENA_MAX", "1")
        .env("SECRET_KEY", SECRET)
        .env("PARLOR_SERVER__DATA_DIR", data_dir)
        .env("PARLOR_HTTP__LISTEN", "127.0.0.1:0")
        .env("PARLOR_TURN__LISTEN", "127.0.0.1:0")
        .env("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0")
        .env("PARLOR_SIGNALING__RATE", "1000000")
        .env("PARLOR_SIGNALING__BURST", "1000000")
        .env("PARLOR_SIGNALING__BYTE_RATE", "0")
        .env("PARLOR_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "1000000")
        .env("PARLOR_LOG__FORMAT", "json");
    command
}

/// Everybody is a participant already: what is measured is signaling.
pub(crate) fn populate(database: &Path, people: usize) {
    let store = Store::open(database).expect("a database");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let rooms = (0..people).step_by(ROOM).map(|number| NewRoom {
            id: Some(room(number)),
            name: room(number),
            ..NewRoom::default()
        });
        for new in rooms {
            store.create_room(new).await.expect("a room");
        }
        let joining = (0..people).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let user = user(number);
                store.provision(&user, None).await.expect("a user");
                let joined = store.join(&room(number), &user, JoinGrant::None, 0).await;
                joined.expect("a participant");
            })
        });
        for joined in joining.collect::<Vec<_>>() {
            joined.await.expect("a participant");
        }
    });
}

/// The address in a line of parlor's log or of the floor's.
fn address_in(line: &str) -> Option<SocketAddr> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = &event["fields"];
    (fields["what"] == "http").then(|| fields["address"].as_str()?.parse().ok())?
}

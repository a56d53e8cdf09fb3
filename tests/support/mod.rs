//! Starts the real binary on ports that the kernel picks, in a temporary data directory.
//!
//! Each test target uses a part of this module.
#![allow(dead_code)]

pub(crate) mod balancer;
pub(crate) mod browser;
pub(crate) mod call;
pub(crate) mod certificate;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod delayed_udp;
pub(crate) mod extended;
pub(crate) mod firefox;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod leaks;
pub(crate) mod media;
pub(crate) mod namespace;
pub(crate) mod notify;
pub(crate) mod pebble;
pub(crate) mod postgres;
pub(crate) mod prefix_proxy;
pub(crate) mod redis;
pub(crate) mod room_view;
pub(crate) mod screen;
pub(crate) mod sentinel;
pub(crate) mod socket;
pub(crate) mod tcp_proxy;
pub(crate) mod turn;
pub(crate) mod watcher;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use parlor::clock;
use parlor::config::Auth;
use parlor::secret::Secret;
use parlor::token::{Claims, Tokens};
use serde_json::Value;
use tempfile::TempDir;

/// Limit of every wait. Generous for slow machines; a passing test never reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Pause between two checks of a condition.
const POLL_PAUSE: Duration = Duration::from_millis(50);

/// The variable of a [`Builder`] with the path of a binary to execute.
pub(crate) const BINARY: &str = "TEST_BINARY";

/// Starts of a daemon whose port another process has.
const MAX_STARTS: u32 = 200;

/// Waits until a condition holds; `subject` names it in the panic message.
#[track_caller]
pub(crate) fn wait_until(subject: &str, mut is_true: impl FnMut() -> bool) {
    let start = clock::now().mono;
    while !is_true() {
        assert!(clock::now().mono.since(start) < DEADLINE, "{subject}");
        thread::sleep(POLL_PAUSE);
    }
}

/// A token for `user`, valid for an hour, signed with `secret`.
pub(crate) fn token(secret: &str, user: &str) -> String {
    let claims = Claims {
        sub: user.to_owned(),
        exp: clock::now().unix + 3600,
        ..Claims::default()
    };
    Tokens::new(&Auth::default(), &Secret::new(secret)).issue(&claims)
}

/// Environment and arguments of a daemon that a test starts.
pub(crate) struct Builder {
    env: HashMap<String, String>,
    args: Vec<String>,
    data_dir: TempDir,
    /// The store, if `PARLOR_TEST_STORE` is `postgres`: then every daemon of the tests uses PostgreSQL.
    database: Option<postgres::Database>,
}

/// A running `parlor serve`; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    env: HashMap<String, String>,
    data_dir: TempDir,
    database: Option<postgres::Database>,
    output: Arc<Captured>,
    listening: HashMap<String, Vec<SocketAddr>>,
}

/// Lines that the daemon has printed so far.
#[derive(Default)]
struct Captured {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    stdout: Vec<String>,
    stderr: Vec<String>,
    ended: usize,
    /// Whether the reader waits, so that the daemon's log stays in its pipe.
    paused: bool,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        let data_dir = TempDir::new().expect("a temporary directory");
        let env = [
            ("PARLOR_HTTP__LISTEN", "127.0.0.1:0"),
            ("PARLOR_TURN__LISTEN", "127.0.0.1:0"),
            ("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0"),
            ("PARLOR_LOG__FORMAT", "json"),
            // Connections that a test leaves open must not delay the end.
            ("PARLOR_SERVER__DRAIN_TIMEOUT", "0s"),
            ("PARLOR_LOG__LEVEL", "debug"),
        ];
        let mut env: HashMap<String, String> = env
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let dir = data_dir.path().join("data");
        env.insert(
            "PARLOR_SERVER__DATA_DIR".into(),
            dir.to_str().unwrap().into(),
        );
        let on_postgres = std::env::var("PARLOR_TEST_STORE").is_ok_and(|store| store == "postgres");
        let database = on_postgres.then(|| postgres::server().create(None));
        if let Some(database) = &database {
            env.insert("PARLOR_STORE__URL".into(), database.url());
        }
        Builder {
            env,
            args: vec!["serve".into()],
            data_dir,
            database,
        }
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Builder {
        self.env.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Uses a database of a PostgreSQL server as the store.
    pub(crate) fn on(mut self, server: &'static postgres::Server) -> Builder {
        let database = server.create(None);
        self.env.insert("PARLOR_STORE__URL".into(), database.url());
        self.database = Some(database);
        self
    }

    /// The URL of the store, if it is on PostgreSQL.
    pub(crate) fn postgres_url(&self) -> Option<&str> {
        self.env.get("PARLOR_STORE__URL").map(String::as_str)
    }

    /// Removes a setting that test daemons have by default.
    pub(crate) fn without(mut self, key: &str) -> Builder {
        self.env.remove(key);
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Builder {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts the daemon, whose start fails, and returns its standard error.
    pub(crate) fn fails(self) -> String {
        let mut command = parlor(&self.env);
        command.args(&self.args).stderr(Stdio::piped());
        let mut child = command.spawn().expect("parlor runs");
        let deadline = clock::now().mono + DEADLINE;
        while child.try_wait().expect("a status").is_none() {
            if clock::now().mono >= deadline {
                let _ = child.kill();
                panic!("parlor runs, and does not fail");
            }
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().expect("its output");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// The kernel may have given the port of a stopped daemon to another process; its end is waited for.
    pub(crate) fn start(self) -> Daemon {
        let mut attempts = 0;
        let (child, output) = loop {
            let (mut child, output) = self.spawn();
            if output.wait_until(|lines| lines.has("ready")) {
                break (child, output);
            }
            let lines = output.lines.lock().unwrap();
            attempts += 1;
            let is_taken = lines.has("it is in use") && attempts < MAX_STARTS;
            assert!(is_taken, "no `ready` in the log: {:#?}", lines.stderr);
            child.wait().expect("parlor ends");
            thread::sleep(Duration::from_millis(200));
        };
        let mut daemon = Daemon {
            child,
            env: self.env,
            data_dir: self.data_dir,
            database: self.database,
            output,
            listening: HashMap::new(),
        };
        daemon.listening = daemon.addresses();
        leaks::note_secrets_of(&daemon.env, daemon.data_dir());
        daemon
    }

    fn spawn(&self) -> (Child, Arc<Captured>) {
        let mut child = parlor(&self.env)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("parlor starts");
        let output = Arc::new(Captured::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let note = |line: &str| {
            if line.contains("/r/") {
                leaks::note(line);
            }
        };
        capture(stdout, &output, |l| &mut l.stdout, note);
        let mut kept = leaks::log_file();
        let keep = move |line: &str| {
            if let Some(file) = &mut kept {
                writeln!(file, "{line}").expect("a log is kept");
            }
        };
        capture(stderr, &output, |l| &mut l.stderr, keep);
        (child, output)
    }
}

impl Lines {
    /// Whether a line of the log contains `text`.
    fn has(&self, text: &str) -> bool {
        self.stderr.iter().any(|line| line.contains(text))
    }
}

impl Captured {
    /// Waits until the lines fit. `false` at the end of the output, or after [`DEADLINE`].
    fn wait_until(&self, fits: impl Fn(&Lines) -> bool) -> bool {
        let lines = self.lines.lock().unwrap();
        let (lines, _) = self
            .grown
            .wait_timeout_while(lines, DEADLINE, |l| !fits(l) && l.ended < 2)
            .unwrap();
        fits(&lines)
    }
}

impl Daemon {
    /// A daemon with the default settings and free ports.
    pub(crate) fn start() -> Daemon {
        Builder::new().start()
    }

    /// Says which database the daemon uses as its store.
    pub(crate) fn use_database(&mut self, database: postgres::Database) {
        self.database = Some(database);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn data_dir(&self) -> &Path {
        Path::new(&self.env["PARLOR_SERVER__DATA_DIR"])
    }

    /// Runs SQL in the store, as another process does.
    pub(crate) fn sql(&self, sql: &str) {
        if let Some(database) = &self.database {
            database.sql(&format!("SET search_path = parlor; {sql}"));
            return;
        }
        let path = self.data_dir().join("parlor.db");
        let database = rusqlite::Connection::open(path).expect("the database opens");
        database.busy_timeout(DEADLINE).unwrap();
        database.execute_batch(sql).expect(sql);
    }

    /// Runs one statement in the store's database, as another process does; returns the number of changed rows.
    pub(crate) fn change(&self, sql: &str) -> usize {
        if self.database.is_some() {
            let sql =
                format!("WITH changed AS ({sql} RETURNING 1) SELECT count(*)::text FROM changed");
            return self.query(&sql)[0].parse().expect("a number");
        }
        let path = self.data_dir().join("parlor.db");
        let database = rusqlite::Connection::open(path).expect("the database opens");
        database.busy_timeout(DEADLINE).unwrap();
        database.execute(sql, ()).expect(sql)
    }

    /// Runs a query for one column of text in the store, as another process does.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        if let Some(database) = &self.database {
            let rows = database.sql(&format!("SET search_path = parlor; {sql}"));
            return rows.lines().map(str::to_owned).collect();
        }
        let path = self.data_dir().join("parlor.db");
        let database = rusqlite::Connection::open(path).expect("the database opens");
        database.busy_timeout(DEADLINE).unwrap();
        let mut statement = database.prepare(sql).expect(sql);
        let rows = statement.query_map((), |row| row.get(0)).expect(sql);
        rows.collect::<Result<_, _>>().expect(sql)
    }

    /// Whether the store is PostgreSQL.
    pub(crate) fn is_on_postgres(&self) -> bool {
        self.database.is_some()
    }

    /// The first HTTP address, or the first HTTPS address where TLS is on.
    pub(crate) fn http(&self) -> SocketAddr {
        let main = self.listening.get("https");
        main.unwrap_or_else(|| &self.listening["http"])[0]
    }

    pub(crate) fn metrics(&self) -> SocketAddr {
        self.listening["metrics"][0]
    }

    /// The first TURN address; UDP and TCP share the port.
    pub(crate) fn turn(&self) -> SocketAddr {
        self.listening["turn-udp"][0]
    }

    /// Every address of a kind: `http`, `https`, `metrics`, `turn-udp`, `turn-tcp`, `turn-tls`.
    pub(crate) fn all(&self, what: &str) -> &[SocketAddr] {
        &self.listening[what]
    }

    /// The invite link that the first start printed.
    pub(crate) fn invite_link(&self) -> String {
        let line = self.printed("/r/");
        let mut words = line.split_whitespace();
        words.rfind(|w| w.contains("/r/")).unwrap().to_owned()
    }

    /// Waits until a line on standard output contains `text`, and returns the last such line; a separate
    /// thread reads the output.
    pub(crate) fn printed(&self, text: &str) -> String {
        let fits = |line: &&String| line.contains(text);
        let lines = self.output.lines.lock().unwrap();
        let (lines, _) = self
            .output
            .grown
            .wait_timeout_while(lines, DEADLINE, |l| {
                l.ended < 2 && !l.stdout.iter().any(|line| fits(&line))
            })
            .unwrap();
        let line = lines.stdout.iter().rfind(fits).cloned();
        line.unwrap_or_else(|| panic!("no `{text}` on stdout: {:#?}", lines.stdout))
    }

    /// Runs a CLI command beside the daemon, with the daemon's environment.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("parlor runs")
    }

    /// A CLI command as in [`Daemon::cli`], not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = parlor(&self.env);
        command.args(args);
        command
    }

    /// Runs a CLI command with `--json` that must succeed, and returns its value.
    pub(crate) fn cli_json(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        let value = serde_json::from_slice(&output.stdout).expect("one JSON value on stdout");
        leaks::note_all(&value);
        value
    }

    /// Stops reading the daemon's output, so that its pipe fills up, or resumes reading.
    pub(crate) fn pause_reading(&self, paused: bool) {
        self.output.lines.lock().unwrap().paused = paused;
        self.output.grown.notify_all();
    }

    /// The log lines so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.output.lines.lock().unwrap().stderr.clone()
    }

    /// Waits until a log line contains `text`, and returns that line.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_log_of(text, |line| line.contains(text))
    }

    /// Waits until a log line fits, and returns that line; the panic message names `what`.
    pub(crate) fn wait_for_log_of(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.output
            .wait_until(|lines| lines.stderr.iter().any(|line| fits(line)));
        let lines = self.output.lines.lock().unwrap();
        let line = lines.stderr.iter().find(|line| fits(line));
        line.unwrap_or_else(|| panic!("no `{what}` in the log: {:#?}", lines.stderr))
            .clone()
    }

    /// Waits until `count` log lines contain one of `texts`.
    pub(crate) fn wait_for_logs(&self, texts: &[&str], count: usize) {
        let lines = self.output.lines.lock().unwrap();
        let is_one = |line: &&String| texts.iter().any(|text| line.contains(text));
        let found = |l: &Lines| l.stderr.iter().filter(is_one).count();
        let (lines, _) = self
            .output
            .grown
            .wait_timeout_while(lines, DEADLINE, |l| found(l) < count && l.ended < 2)
            .unwrap();
        assert!(found(&lines) >= count, "{texts:?}: {:#?}", lines.stderr);
    }

    /// Waits for the daemon to end by itself, and returns its status.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("parlor ends")
    }

    /// Sends SIGTERM, and returns the exit status.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().expect("parlor ends")
    }

    /// Stops the daemon and starts another, in the same data directory and on the same addresses.
    pub(crate) fn restart(self) -> Daemon {
        self.restart_after(|| {})
    }

    /// Like [`Daemon::restart`]; `meanwhile` runs between the two processes.
    pub(crate) fn restart_after(self, meanwhile: impl FnOnce()) -> Daemon {
        self.restart_with(|_| meanwhile())
    }

    /// Like [`Daemon::restart`]; `meanwhile` runs between the two processes and may change the environment.
    pub(crate) fn restart_with(
        mut self,
        meanwhile: impl FnOnce(&mut HashMap<String, String>),
    ) -> Daemon {
        self.signal("TERM");
        self.child.wait().expect("parlor ends");
        let mut env = self.env.clone();
        let main = if self.listening.contains_key("https") {
            "https"
        } else {
            "http"
        };
        for (what, key) in [
            (main, "PARLOR_HTTP__LISTEN"),
            ("turn-udp", "PARLOR_TURN__LISTEN"),
        ] {
            let addresses = self.all(what).iter().map(|a| a.to_string());
            env.insert(key.into(), addresses.collect::<Vec<_>>().join(","));
        }
        meanwhile(&mut env);
        let data_dir = std::mem::replace(&mut self.data_dir, TempDir::new().unwrap());
        let args = vec!["serve".into()];
        let database = self.database.take();
        Builder {
            env,
            args,
            data_dir,
            database,
        }
        .start()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    fn addresses(&self) -> HashMap<String, Vec<SocketAddr>> {
        let mut addresses: HashMap<String, Vec<SocketAddr>> = HashMap::new();
        for line in self.log() {
            if let Some((what, address)) = listening(&line) {
                let address = address.parse().unwrap();
                addresses.entry(what).or_default().push(address);
            }
        }
        addresses
    }
}

/// Returns the fields of a log line in JSON together with those of its spans.
pub(crate) fn log_fields(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).expect("JSON");
    let spans = line["spans"].take();
    let spans = spans.as_array().into_iter().flatten();
    let fields = [line["fields"].take()];
    let all = spans.chain(&fields).filter_map(Value::as_object);
    let all = all.flat_map(|fields| fields.clone());
    Value::Object(all.collect())
}

/// Kind and address in a log line about a listener, in either format.
fn listening(line: &str) -> Option<(String, String)> {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        let (what, address) = line
            .split_once(" listening what=\"")?
            .1
            .split_once("\" address=")?;
        return Some((what.to_owned(), address.trim_end().to_owned()));
    };
    let fields = &event["fields"];
    let field = |name: &str| fields[name].as_str().unwrap().to_owned();
    (fields["message"] == "listening").then(|| (field("what"), field("address")))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test with this environment alone.
pub(crate) fn parlor(env: &HashMap<String, String>) -> Command {
    let binary = env.get(BINARY).map(String::as_str);
    let mut command = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_parlor")));
    command.env_clear().envs(env);
    command.current_dir(std::env::temp_dir());
    command
}

fn capture(
    pipe: impl Read + Send + 'static,
    output: &Arc<Captured>,
    side: fn(&mut Lines) -> &mut Vec<String>,
    mut also: impl FnMut(&str) + Send + 'static,
) {
    let output = output.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            also(&line);
            let mut lines = output.lines.lock().unwrap();
            side(&mut lines).push(line);
            output.grown.notify_all();
            drop(output.grown.wait_while(lines, |lines| lines.paused));
        }
        output.lines.lock().unwrap().ended += 1;
        output.grown.notify_all();
    });
}

/// The settings that the installation guide writes.
pub(crate) fn installed_settings() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/start/install.md");
    let shown = std::fs::read_to_string(path).expect("the installation guide");
    let after = shown.split("<<'END'\n").nth(1);
    let text = after.and_then(|rest| rest.split("END\n").next());
    text.expect("the guide writes settings").to_owned()
}

//! A private PostgreSQL server for the tests of one process, and a database for each test.
//!
//! The server listens on a Unix socket in a temporary directory, and ends with the process, however that ends.
//! Unless a test says otherwise, it writes nothing through to the disk.
#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The role of the tests, a superuser.
const ROLE: &str = "parlor";
/// The user `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65534;
/// The port in the name of the socket.
const DEFAULT_PORT: u16 = 5432;

/// Obeys commands on standard input. When it closes (its other end is in the process of the tests alone), the
/// server ends, and its directory is removed.
const RUN: &str = r#"
    trap '' INT HUP TERM
    while read -r command argument; do
        case $command in
        start)
            rm -f "$2/data/postmaster.pid"
            "$1" -D "$2/data" -k "$2" -c listen_addresses='' $3 \
                -c max_connections=300 -c shared_buffers=32MB -c log_min_messages=warning \
                >>"$2/log" 2>&1 </dev/null &
            pid=$!
            ;;
        signal)
            kill "-$argument" $pid $(cat /proc/$pid/task/$pid/children)
            ;;
        end)
            # Stopped first, so that no child starts after the list was read. A survivor would prevent the next start.
            kill -STOP $pid
            sleep 0.01
            children=$(cat /proc/$pid/task/$pid/children)
            kill "-$argument" $pid $children
            wait $pid
            for child in $children; do
                while [ -e /proc/$child ] && ! grep -q '^State:.Z' /proc/$child/status; do
                    sleep 0.01
                done
            done 2>/dev/null
            ;;
        esac
        echo >"$2/done"
    done
    kill -CONT $pid
    kill -QUIT $pid
    wait
    rm -rf "$2"
"#;

/// A server in a directory of its own.
pub(crate) struct Server {
    directory: PathBuf,
    commands: Mutex<ChildStdin>,
    port: u16,
    _shell: Child,
}

/// Returns the server that the tests of this process share, and starts it at first.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<&'static Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    /// Starts a server. It runs until this process ends.
    pub(crate) fn start() -> &'static Server {
        Server::start_with("-c fsync=off -c full_page_writes=off", |_| {})
    }

    /// Starts a server with options of its own, and with what `prepare` adds to its data directory.
    pub(crate) fn start_with(options: &str, prepare: impl FnOnce(&Path)) -> &'static Server {
        Server::start_on(DEFAULT_PORT, options, prepare)
    }

    /// Starts a server whose options name another port.
    pub(crate) fn start_on(
        port: u16,
        options: &str,
        prepare: impl FnOnce(&Path),
    ) -> &'static Server {
        let directory = tempfile::Builder::new()
            .prefix("pg")
            .tempdir()
            .unwrap()
            .keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root {
            chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&directory);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let mut initdb = command(&program("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "-U",
            ROLE,
        ]);
        assert_success(
            initdb
                .arg("-D")
                .arg(directory.join("data"))
                .output()
                .unwrap(),
        );
        prepare(&directory.join("data"));
        if is_root {
            for entry in fs::read_dir(directory.join("data")).unwrap() {
                chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let mut shell = command(Path::new("sh"));
        shell
            .args(["-c", RUN, "sh"])
            .arg(program("postgres"))
            .arg(&directory)
            .arg(options)
            .stdin(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let server = Server {
            commands: Mutex::new(shell.stdin.take().unwrap()),
            port,
            _shell: shell,
            directory,
        };
        server.restart();
        Box::leak(Box::new(server))
    }

    /// Starts a server that has ended, and waits until it answers.
    pub(crate) fn restart(&self) {
        self.command("start");
        for _ in 0..600 {
            if self.psql("postgres", "SELECT 1").status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start: {log}");
    }

    /// Kills all processes of the server at once.
    pub(crate) fn kill(&self) {
        self.command("end KILL");
    }

    /// Freezes all processes of the server.
    pub(crate) fn freeze(&self) {
        self.command("signal STOP");
    }

    pub(crate) fn resume(&self) {
        self.command("signal CONT");
    }

    /// Sends a command, and waits until it is carried out.
    fn command(&self, command: &str) {
        let done = self.directory.join("done");
        let mut commands = self.commands.lock().unwrap();
        let _ = fs::remove_file(&done);
        writeln!(commands, "{command}").unwrap();
        while !done.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        let socket = self.directory.to_str().unwrap().replace('/', "%2F");
        match self.port {
            DEFAULT_PORT => format!("postgres://{ROLE}@{socket}/{database}"),
            port => format!("postgres://{ROLE}@{socket}:{port}/{database}"),
        }
    }

    /// Runs SQL as another program.
    fn psql(&self, database: &str, sql: &str) -> Output {
        self.psql_command(database, sql).output().unwrap()
    }

    fn psql_command(&self, database: &str, sql: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            ROLE,
            "-h",
        ]);
        psql.arg(&self.directory)
            .args(["-d", database, "-p", &self.port.to_string()]);
        psql.args(sql.split(";;").flat_map(|sql| ["-c", sql]));
        psql.env_remove("PGOPTIONS");
        psql
    }

    /// Creates an empty database on a disk that `mount` mounts. The write-ahead log is on another one.
    pub(crate) fn create_on_disk(&'static self, mount: impl FnOnce(&str)) -> Database {
        let disk = self.directory.join("disk");
        fs::create_dir(&disk).unwrap();
        mount(disk.to_str().unwrap());
        chown(&disk, Some(NOBODY), Some(NOBODY)).unwrap();
        let name = "small".to_owned();
        let sql = format!(
            "CREATE TABLESPACE {name} LOCATION '{}';;
             CREATE DATABASE {name} TEMPLATE template0 TABLESPACE {name}",
            disk.display()
        );
        assert_success(self.psql("postgres", &sql));
        Database { server: self, name }
    }

    /// Creates a database, as a copy of another one or empty.
    pub(crate) fn create(&'static self, template: Option<&str>) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let template = template.unwrap_or("template0");
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        assert_success(self.psql("postgres", &sql));
        Database { server: self, name }
    }
}

/// A database, which is deleted with this value.
pub(crate) struct Database {
    server: &'static Server,
    name: String,
}

impl Database {
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The URL for another role, or a role and its password (`role:password`).
    pub(crate) fn url_of(&self, role: &str) -> String {
        self.url()
            .replace(&format!("//{ROLE}@"), &format!("//{role}@"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of a role that no other database uses.
    pub(crate) fn role(&self, name: &str) -> String {
        self.name.replace("test", name)
    }

    /// Runs SQL in psql and returns what it prints. Each part between `;;` is a transaction of its own.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let output = assert_success(self.server.psql(&self.name, sql));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs SQL that the server refuses; returns the SQLSTATE.
    pub(crate) fn refused(&self, sql: &str) -> String {
        let sql = format!("\\set VERBOSITY sqlstate;;{sql}");
        let output = self.server.psql(&self.name, &sql);
        assert!(!output.status.success(), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        error.trim().trim_start_matches("ERROR:").trim().to_owned()
    }

    /// Runs SQL in psql that does not end soon.
    pub(crate) fn session(&self, sql: &str) -> PsqlSession {
        let mut psql = self.server.psql_command(&self.name, sql);
        psql.stdout(Stdio::null()).stderr(Stdio::null());
        PsqlSession(psql.spawn().unwrap())
    }

    /// The processes of the server whose sessions have the lock of the database, or wait for it.
    pub(crate) fn lock_sessions(&self, is_granted: bool) -> Vec<String> {
        let pids = self.sql(&format!(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND granted = {is_granted}"
        ));
        pids.lines().map(str::to_owned).collect()
    }

    /// Ends connections of the server.
    pub(crate) fn terminate(&self, processes: &[String]) {
        let processes = processes.join(",");
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM unnest('{{{processes}}}'::integer[]) pid"
        ));
    }

    /// Ends all connections, and keeps the database as a template of others.
    pub(crate) fn into_template(self) -> String {
        let sql = format!(
            "ALTER DATABASE {0} ALLOW_CONNECTIONS false;;
             SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{0}'",
            self.name
        );
        assert_success(self.server.psql("postgres", &sql));
        let name = self.name.clone();
        std::mem::forget(self);
        name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The server goes away with the process anyway.
        let _ = self.server.psql("postgres", &sql);
    }
}

/// A psql in the background; killed when dropped.
pub(crate) struct PsqlSession(Child);

impl Drop for PsqlSession {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a server can run in this process' user namespace: root needs another user for it.
pub(crate) fn can_run() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let has_nobody = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>());
        let (Some(Ok(first)), Some(_), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first + count).contains(&u64::from(NOBODY))
    });
    has_nobody || fs::metadata("/proc/self").unwrap().uid() != 0
}

/// Finds a program of PostgreSQL: Debian has most of them outside the search path.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    debian.sort();
    let found = std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .map(|directory| directory.join(name))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!("no `{name}`: install PostgreSQL 15 or newer (Debian: postgresql)")
    })
}

#[track_caller]
fn assert_success(output: Output) -> Output {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    output
}

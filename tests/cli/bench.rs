//! `parlor bench` with the real binary: it loads parlor and coturn, and reports missing servers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::command::Cli;
use crate::support::turn::SECRET;
use crate::support::{Builder, DEADLINE, Daemon};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const FIGURES: [&str; 15] = [
    "server",
    "clients",
    "ready",
    "rate",
    "size",
    "seconds",
    "allocations_per_second",
    "planned",
    "sent",
    "received",
    "lost_percent",
    "packets_per_second",
    "mbit_per_second",
    "latency_ms",
    "errors",
];

fn parlor() -> Daemon {
    Builder::new().env("PARLOR_TURN__SECRET", SECRET).start()
}

fn cli() -> Cli {
    Cli::new().env("PARLOR_BENCH_SECRET", SECRET)
}

/// Runs a small load with ten clients; returns the result.
fn load(cli: &Cli, server: &str) -> Value {
    let args = [
        "bench",
        "relay",
        "--server",
        server,
        "--clients",
        "10",
        "--rate",
        "50",
        "--seconds",
        "2",
    ];
    cli.json(&args)
}

/// Asserts that all clients got an allocation and all packets arrived.
fn assert_carried(result: &Value) {
    assert_eq!(
        (&result["clients"], &result["ready"]),
        (&10.into(), &10.into())
    );
    assert_eq!(result["planned"], 1000, "{result}");
    let number = |name: &str| result[name].as_f64().expect(name);
    // A busy machine delays the generator, but only briefly.
    assert!(number("sent") > 500.0, "{result}");
    assert_eq!(result["received"], result["sent"], "{result}");
    assert_eq!(number("lost_percent"), 0.0, "{result}");
    assert!(number("allocations_per_second") > 0.0, "{result}");
    assert_eq!(number("packets_per_second"), number("received") / 2.0);
    let mbit = number("received") / 2.0 * 160.0 * 8.0 / 1e6;
    assert!((number("mbit_per_second") - mbit).abs() < 0.001, "{result}");
    let latency = |name: &str| result["latency_ms"][name].as_f64().expect(name);
    assert!(
        latency("p50") > 0.0 && latency("p50") <= latency("p99"),
        "{result}"
    );
    assert!(latency("p99") <= latency("p99_9"), "{result}");
    assert_eq!(result["errors"], serde_json::json!({}), "{result}");
}

#[test]
fn parlor_carries_a_small_load_over_udp_and_tcp_and_all_allocations_are_freed() {
    let daemon = parlor();
    let cli = cli();
    for transport in ["udp", "tcp"] {
        let server = format!("turn:{}?transport={transport}", daemon.turn());
        let result = load(&cli, &server);
        assert_eq!(result["server"], server);
        assert_carried(&result);
        let mut names: Vec<_> = result.as_object().expect("an object").keys().collect();
        let mut figures = FIGURES;
        names.sort();
        figures.sort();
        assert_eq!(names, figures);
    }
    // The server notices a closed stream a moment later.
    eventually(|| {
        let metrics = crate::support::http::Client::new(daemon.metrics());
        let text = String::from_utf8(metrics.get("/metrics").body).expect("text");
        text.contains("\nparlor_turn_allocations 0\n").then_some(())
    });
}

#[test]
fn the_text_output_is_a_table_and_the_secret_is_read_from_a_file_or_standard_input() {
    let daemon = parlor();
    let cli = Cli::new();
    let file = cli.place().join("secret");
    fs::write(&file, format!("{SECRET}\n")).expect("a file");
    let server = format!("turn:{}", daemon.turn());
    let args = [
        "bench",
        "relay",
        "--server",
        &server,
        "--clients",
        "2",
        "--rate",
        "10",
        "--seconds",
        "1",
    ];
    let from_file = [
        &args[..],
        &["--secret-file", file.to_str().expect("a path")],
    ]
    .concat();
    let from_input = [&args[..], &["--secret-stdin"]].concat();
    for outcome in [cli.run(&from_file), cli.run_with_input(&from_input, SECRET)] {
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        for row in [
            "clients:      2 of 2",
            "lost:         0.00 %",
            "latency p99:",
        ] {
            assert!(outcome.stdout.contains(row), "{}", outcome.stdout);
        }
        assert!(!outcome.stdout.contains("errors"), "{}", outcome.stdout);
        // Without a terminal, there is no progress line.
        assert!(!outcome.stderr.contains('\r'), "{}", outcome.stderr);
    }
}

#[test]
fn a_single_username_and_credential_are_accepted() {
    let daemon = parlor();
    daemon.cli_json(&["user", "add", "alice"]);
    let minted = daemon.cli_json(&["turn", "credential", "alice"]);
    let text = |name: &str| minted[name].as_str().expect(name).to_owned();
    let cli = Cli::new().env("PARLOR_BENCH_CREDENTIAL", &text("credential"));
    let args = [
        "bench",
        "relay",
        "--server",
        &format!("turn:{}", daemon.turn()),
        "--clients",
        "4",
        "--rate",
        "10",
        "--seconds",
        "1",
        "--username",
        &text("username"),
    ];
    let result = cli.json(&args);
    assert_eq!(
        (&result["ready"], &result["sent"]),
        (&4.into(), &result["received"])
    );
}

#[test]
fn coturn_carries_a_small_load_over_udp_and_tcp() {
    let coturn = Coturn::start();
    for transport in ["udp", "tcp"] {
        let server = format!("turn:127.0.0.1:{}?transport={transport}", coturn.port);
        assert_carried(&load(&cli(), &server));
    }
}

#[test]
fn rejected_clients_are_counted_by_error_code() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        // Six for five pairs: in any order, one pair gets two. An address never holds more than are free.
        .env("PARLOR_TURN__MAX_ALLOCATIONS", "12")
        .env("PARLOR_TURN__MAX_ALLOCATIONS_PER_ADDRESS", "6")
        .start();
    let result = load(&cli(), &format!("turn:{}", daemon.turn()));
    let refused = result["errors"]["486"].as_u64().expect("refusals");
    assert!((2..=5).contains(&refused), "{result}");
    let ready = result["ready"].as_u64().expect("some");
    assert!((2..=6).contains(&ready), "{result}");
    assert_eq!(result["received"], result["sent"], "{result}");
}

#[test]
fn a_failed_load_test_reports_one_sentence() {
    let daemon = parlor();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket that says nothing");
    // Bound ports without a listener: no other process can use them, and they reject connections.
    let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    elsewhere
        .connect(silent.local_addr().expect("an address"))
        .expect("a peer of its own");
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    closed.bind(&any.into()).expect("a port");
    let over_udp = elsewhere.local_addr().expect("an address");
    let over_tcp = closed.local_addr().expect("an address");
    let over_tcp = over_tcp.as_socket().expect("of the internet");
    let cli = cli();
    let run = |server: &str| {
        let args = [
            "bench",
            "relay",
            "--server",
            server,
            "--clients",
            "4",
            "--rate",
            "1",
        ];
        args.map(str::to_owned)
    };
    let refused = |cli: &Cli, server: &str, result: &str| {
        let args = run(server);
        cli.refused(&args.each_ref().map(String::as_str), result);
    };
    refused(
        &cli,
        &format!("turn:{over_udp}"),
        "no server listens at turn:127.0.0.1:",
    );
    refused(
        &cli,
        &format!("turn:{over_tcp}?transport=tcp"),
        "no server listens at",
    );
    let at_silent = format!("turn:{}", silent.local_addr().expect("an address"));
    refused(&cli, &at_silent, "does not respond");
    let wrong = Cli::new().env("PARLOR_BENCH_SECRET", "not the secret of this server");
    refused(
        &wrong,
        &format!("turn:{}", daemon.turn()),
        "rejects the credential (401)",
    );
}

#[test]
fn invalid_arguments_are_usage_errors() {
    let cli = Cli::new();
    let relay = |more: &[&'static str]| [&["bench", "relay"], more].concat();
    let whole = ["--server", "turn:a", "--clients", "2", "--rate", "1"];
    cli.misused(&relay(&whole), "PARLOR_BENCH_SECRET");
    cli.misused(
        &relay(&[&whole[..], &["--username", "alice"]].concat()),
        "PARLOR_BENCH_CREDENTIAL",
    );
    for (args, result) in [
        (
            &["--server", "stun:a", "--clients", "2", "--rate", "1"][..],
            "turn:host:3478",
        ),
        (
            &["--server", "turns:a", "--clients", "2", "--rate", "1"],
            "TLS",
        ),
        (
            &["--server", "turn:a", "--clients", "3", "--rate", "1"],
            "even",
        ),
        (
            &["--server", "turn:a", "--clients", "2", "--rate", "0"],
            "from 1 to 10000",
        ),
    ] {
        cli.misused(&relay(args), result);
    }
    cli.misused(&["bench", "local", "--people", "1"], "from 2 to 20");
    cli.misused(&["bench", "local", "--seconds", "0"], "from 1 to 60");
    let long = ["bench", "local", "--seconds", "60", "--people", "2,3,4,5"];
    cli.misused(&long, "at most 200 seconds");
}

#[test]
fn the_local_benchmark_reports_a_result_per_call_size() {
    let place = tempfile::TempDir::new().expect("a directory");
    let cli = Cli::new().env("TMPDIR", place.path().to_str().expect("a path"));
    let args = ["bench", "local", "--people", "2,3", "--seconds", "1"];
    // The limits are wide, because other tests load the machine at the same time.
    let args = [&args[..], &["--max-loss", "50", "--max-p99", "1s"]].concat();
    let result = cli.json(&args);
    assert!(result["cores"].as_u64() > Some(0), "{result}");
    assert_eq!(result["limits"]["p99_ms"], 1000.0);
    let results = result["results"].as_array().expect("results");
    assert_eq!(results.len(), 2);
    for (result, people) in results.iter().zip([2, 3]) {
        assert_eq!(result["people"], people);
        let calls = result["calls"].as_u64().expect("calls");
        assert!(calls > 0, "{result}");
        assert_eq!(result["allocations"], calls * people * (people - 1));
        assert!(
            result["packets_per_second"].as_f64() > Some(0.0),
            "{result}"
        );
        assert!(
            result["server"]["micros_per_packet"].as_f64() > Some(0.0),
            "{result}"
        );
        assert!(
            result["generator"]["cores"].as_f64() > Some(0.0),
            "{result}"
        );
        assert!(result["bottleneck"]["why"].as_str().is_some(), "{result}");
    }
    assert_empty(place.path());
}

#[test]
fn a_signal_stops_the_benchmark_and_its_server() {
    let place = tempfile::TempDir::new().expect("a directory");
    let cli = Cli::new().env("TMPDIR", place.path().to_str().expect("a path"));
    let mut bench = cli
        .command(&["bench", "local", "--seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("parlor starts");
    // The server is running once its data directory exists.
    let server = eventually(|| child_of(bench.id()));
    eventually(|| {
        let place = fs::read_dir(place.path()).expect("a directory").next()?;
        let secret = place.expect("an entry").path().join("data/turn.secret");
        secret.exists().then_some(())
    });
    interrupt(bench.id());
    let status = bench.wait().expect("it ends");
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert!(!Path::new(&format!("/proc/{server}")).exists());
    assert_empty(place.path());
}

/// Polls until `there` returns a value.
fn eventually<T>(mut there: impl FnMut() -> Option<T>) -> T {
    for _ in 0..DEADLINE.as_millis() / 10 {
        if let Some(found) = there() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come to pass in time");
}

fn interrupt(pid: u32) {
    let status = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Returns the first child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    list.split_whitespace().next()?.parse().ok()
}

fn assert_empty(place: &Path) {
    let left: Vec<_> = fs::read_dir(place).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A coturn server that may relay on loopback; killed when dropped.
struct Coturn {
    child: Child,
    port: u16,
    _place: tempfile::TempDir,
}

impl Coturn {
    fn start() -> Coturn {
        let place = tempfile::TempDir::new().expect("a directory");
        // coturn cannot select a free port itself: use one that was free a moment ago.
        let free = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let path = |name: &str| place.path().join(name).to_str().expect("a path").to_owned();
        let mut child = Command::new("turnserver")
            .args([
                "-n",
                "--no-cli",
                "--no-tls",
                "--no-dtls",
                "--simple-log",
                "-l",
                "stdout",
            ])
            .args([
                "--use-auth-secret",
                "--static-auth-secret",
                SECRET,
                "-r",
                "parlor",
            ])
            .args([
                "-L",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "--allow-loopback-peers",
            ])
            .args(["--userdb", &path("db"), "--pidfile", &path("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver starts: apt-get install coturn, or use tests/run");
        let mut log = BufReader::new(child.stdout.take().expect("its log"));
        let mut line = String::new();
        // coturn listens before its database is open.
        while !line.contains("DB connection success") {
            line.clear();
            let read = log.read_line(&mut line).expect("text");
            assert!(read > 0, "turnserver ended");
        }
        // The rest of the log is small, and is not read.
        std::mem::forget(log);
        Coturn {
            child,
            port,
            _place: place,
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

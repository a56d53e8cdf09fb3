//! `parlor bench` as people and scripts use it: the real binary loads parlor, coturn and nobody.

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

/// What two seconds are like for ten clients.
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

/// Everybody was let in, and what was sent arrived.
fn assert_carried(told: &Value) {
    assert_eq!((&told["clients"], &told["ready"]), (&10.into(), &10.into()));
    assert_eq!(told["planned"], 1000, "{told}");
    let number = |name: &str| told[name].as_f64().expect(name);
    // A busy machine keeps the generator from sending, and never for long.
    assert!(number("sent") > 500.0, "{told}");
    assert_eq!(told["received"], told["sent"], "{told}");
    assert_eq!(number("lost_percent"), 0.0, "{told}");
    assert!(number("allocations_per_second") > 0.0, "{told}");
    assert_eq!(number("packets_per_second"), number("received") / 2.0);
    let mbit = number("received") / 2.0 * 160.0 * 8.0 / 1e6;
    assert!((number("mbit_per_second") - mbit).abs() < 0.001, "{told}");
    let latency = |name: &str| told["latency_ms"][name].as_f64().expect(name);
    assert!(
        latency("p50") > 0.0 && latency("p50") <= latency("p99"),
        "{told}"
    );
    assert!(latency("p99") <= latency("p99_9"), "{told}");
    assert_eq!(told["errors"], serde_json::json!({}), "{told}");
}

#[test]
fn parlor_carries_a_small_load_over_udp_and_tcp_and_has_everything_back() {
    let daemon = parlor();
    let cli = cli();
    for transport in ["udp", "tcp"] {
        let server = format!("turn:{}?transport={transport}", daemon.turn());
        let told = load(&cli, &server);
        assert_eq!(told["server"], server);
        assert_carried(&told);
        let mut names: Vec<_> = told.as_object().expect("an object").keys().collect();
        let mut figures = FIGURES;
        names.sort();
        figures.sort();
        assert_eq!(names, figures);
    }
    // A stream that was hung up is noticed a moment later.
    eventually(|| {
        let metrics = crate::support::http::Client::new(daemon.metrics());
        let text = String::from_utf8(metrics.get("/metrics").body).expect("text");
        text.contains("\nparlor_turn_allocations 0\n").then_some(())
    });
}

#[test]
fn people_get_a_table_and_a_secret_from_a_file_or_standard_input() {
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
        // No terminal is there, so nothing is painted.
        assert!(!outcome.stderr.contains('\r'), "{}", outcome.stderr);
    }
}

#[test]
fn one_name_and_its_credential_do_as_well() {
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
    let told = cli.json(&args);
    assert_eq!(
        (&told["ready"], &told["sent"]),
        (&4.into(), &told["received"])
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
fn whom_the_server_has_no_room_for_is_told_by_code() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        .env("PARLOR_TURN__MAX_ALLOCATIONS", "4")
        .env("PARLOR_TURN__MAX_ALLOCATIONS_PER_ADDRESS", "4")
        .start();
    let told = load(&cli(), &format!("turn:{}", daemon.turn()));
    let refused = told["errors"]["486"].as_u64().expect("refusals");
    assert!((3..=6).contains(&refused), "{told}");
    let ready = told["ready"].as_u64().expect("some");
    assert!((2..=4).contains(&ready), "{told}");
    assert_eq!(told["received"], told["sent"], "{told}");
}

#[test]
fn what_stops_it_is_one_sentence() {
    let daemon = parlor();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket that says nothing");
    // Ports that are taken, so that nobody else listens there, and refuse whoever comes.
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
    let refused = |cli: &Cli, server: &str, told: &str| {
        let args = run(server);
        cli.refused(&args.each_ref().map(String::as_str), told);
    };
    refused(
        &cli,
        &format!("turn:{over_udp}"),
        "nothing listens at turn:127.0.0.1:",
    );
    refused(
        &cli,
        &format!("turn:{over_tcp}?transport=tcp"),
        "nothing listens at",
    );
    let at_silent = format!("turn:{}", silent.local_addr().expect("an address"));
    refused(&cli, &at_silent, "does not answer");
    let wrong = Cli::new().env("PARLOR_BENCH_SECRET", "not the secret of this server");
    refused(
        &wrong,
        &format!("turn:{}", daemon.turn()),
        "refuses the credential (401)",
    );
}

#[test]
fn what_is_typed_wrongly_is_a_fault_of_usage() {
    let cli = Cli::new();
    let relay = |more: &[&'static str]| [&["bench", "relay"], more].concat();
    let whole = ["--server", "turn:a", "--clients", "2", "--rate", "1"];
    cli.misused(&relay(&whole), "PARLOR_BENCH_SECRET");
    cli.misused(
        &relay(&[&whole[..], &["--username", "alice"]].concat()),
        "PARLOR_BENCH_CREDENTIAL",
    );
    for (args, told) in [
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
        cli.misused(&relay(args), told);
    }
    cli.misused(&["bench", "local", "--people", "1"], "from 2 to 20");
    cli.misused(&["bench", "local", "--seconds", "0"], "from 1 to 60");
    let long = ["bench", "local", "--seconds", "60", "--people", "2,3,4,5"];
    cli.misused(&long, "at most 200 seconds");
}

#[test]
fn this_machine_carries_a_call() {
    let place = tempfile::TempDir::new().expect("a directory");
    let cli = Cli::new().env("TMPDIR", place.path().to_str().expect("a path"));
    let args = ["bench", "local", "--people", "2,3", "--seconds", "1"];
    // A machine that does other things is not to be measured, only asked.
    let args = [&args[..], &["--max-loss", "50", "--max-p99", "1s"]].concat();
    let told = cli.json(&args);
    assert!(told["cores"].as_u64() > Some(0), "{told}");
    assert_eq!(told["limits"]["p99_ms"], 1000.0);
    let results = told["results"].as_array().expect("results");
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
fn a_signal_ends_it_and_the_server_it_has_started() {
    let place = tempfile::TempDir::new().expect("a directory");
    let cli = Cli::new().env("TMPDIR", place.path().to_str().expect("a path"));
    let mut bench = cli
        .command(&["bench", "local", "--seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("parlor starts");
    // It has a server once the server has its data directory.
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

/// What there will be; asked again and again, since nobody tells.
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

/// The first child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    list.split_whitespace().next()?.parse().ok()
}

fn assert_empty(place: &Path) {
    let left: Vec<_> = fs::read_dir(place).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// coturn itself, which may relay on loopback; killed when dropped.
struct Coturn {
    child: Child,
    port: u16,
    _place: tempfile::TempDir,
}

impl Coturn {
    fn start() -> Coturn {
        let place = tempfile::TempDir::new().expect("a directory");
        // It can't be told to pick a port: take one that was free just now.
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
        // Its listeners are there before its database is.
        while !line.contains("DB connection success") {
            line.clear();
            let read = log.read_line(&mut line).expect("text");
            assert!(read > 0, "turnserver ended");
        }
        // Its log is small, and is never read any further.
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

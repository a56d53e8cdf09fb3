//! The unit that is shipped: systemd understands it, it shuts the service in, and what it starts
//! is the real binary.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::notify::Manager;
use crate::support::{Builder, DEADLINE, turn};

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/parlor.service");
    fs::read_to_string(path).expect("systemd/parlor.service")
}

fn socket_unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/parlor.socket");
    fs::read_to_string(path).expect("systemd/parlor.socket")
}

/// The values of a key, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    unit.lines().filter_map(value).collect()
}

/// Runs `systemd-analyze` on the unit, with the binary under test in the place of the installed one.
fn analyze(args: &[&str]) -> (bool, String) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("parlor.service");
    let unit = unit().replace("/usr/local/bin/parlor", env!("CARGO_BIN_EXE_parlor"));
    fs::write(&path, unit).expect("a copy of the unit");
    fs::write(place.path().join("parlor.socket"), socket_unit()).expect("a copy");
    let output = Command::new("systemd-analyze")
        .args(args)
        .arg(&path)
        .env("SYSTEMD_PAGER", "")
        .output()
        .expect("systemd-analyze, of the Debian package `systemd`: ./tests/run installs it");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn systemd_finds_nothing_to_complain_about() {
    let (success, said) = analyze(&["verify", "--man=no"]);
    // Units of the machine that runs the test are not ours.
    let about_us: Vec<_> = said
        .lines()
        .filter(|line| line.contains("parlor"))
        .collect();
    assert!(success && about_us.is_empty(), "{said}");
}

#[test]
fn systemd_listens_where_parlor_does_by_itself() {
    let built_in = parlor::config::Config::default();
    let wanted = built_in.http.listen.iter().chain(&built_in.turn.listen);
    let wanted: Vec<_> = wanted.map(ToString::to_string).collect();
    let unit = socket_unit();
    assert_eq!(values(&unit, "ListenStream"), wanted);
    assert_eq!(values(&unit, "BindIPv6Only"), ["ipv6-only"]);
}

#[test]
fn the_service_is_shut_in() {
    let (success, said) = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]);
    assert!(success, "more exposed than 1.5 of 10:\n{said}");
}

#[test]
fn what_the_unit_starts_keeps_its_state_in_the_state_directory_and_ends_with_0() {
    let unit = unit();
    assert_eq!(values(&unit, "ExecStart"), ["/usr/local/bin/parlor serve"]);
    assert_eq!(values(&unit, "KillSignal"), ["SIGTERM"]);
    assert_eq!(values(&unit, "StateDirectory"), ["parlor"]);
    // As systemd starts it: `serve`, and $STATE_DIRECTORY. An empty variable is an unset one.
    let state = tempfile::tempdir().expect("a temporary directory");
    let daemon = Builder::new()
        .env("PARLOR_SERVER__DATA_DIR", "")
        .env(
            "STATE_DIRECTORY",
            state.path().to_str().expect("a plain path"),
        )
        .start();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(state.path().join("parlor.db").is_file());
}

#[test]
fn what_the_unit_reloads_by_has_the_configuration_read_anew() {
    let command = values(&unit(), "ExecReload");
    assert_eq!(command, ["/usr/local/bin/parlor reload"]);
    let daemon = Builder::new().start();
    assert!(daemon.cli(&["reload"]).status.success());
    daemon.wait_for_log("configuration read anew");
    daemon.signal("HUP");
    daemon.wait_for_logs(&["configuration read anew"], 2);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn told_to(manager: &Manager) -> Builder {
    let socket = manager.path();
    Builder::new().env("NOTIFY_SOCKET", socket.to_str().expect("a plain path"))
}

#[test]
fn the_manager_is_told_of_the_start_of_what_goes_on_and_of_the_end() {
    assert_eq!(values(&unit(), "Type"), ["notify"]);
    assert_eq!(values(&unit(), "NotifyAccess"), ["main"]);
    let manager = Manager::new();
    let daemon = told_to(&manager)
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start();
    assert_eq!(manager.next_message(DEADLINE).as_deref(), Some("READY=1\n"));
    let idle = "0 rooms, 0 participants, 0 allocations";
    assert_eq!(manager.wait_for("STATUS="), idle);
    let mut client = turn::Client::udp(daemon.turn(), "alice", None);
    client.allocated();
    let busy = "0 rooms, 0 participants, 1 allocations";
    assert_eq!(manager.wait_for("STATUS="), busy);
    assert_eq!(daemon.stop().code(), Some(0));
    manager.wait_for("STOPPING=1");
}

#[test]
fn a_store_that_is_stuck_starves_the_watchdog_until_it_answers_again() {
    assert_eq!(values(&unit(), "WatchdogSec"), ["30"]);
    let manager = Manager::new();
    let daemon = told_to(&manager).env("WATCHDOG_USEC", "600000").start();
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    let other = rusqlite::Connection::open(daemon.data_dir().join("parlor.db"));
    let other = other.expect("the database");
    other.busy_timeout(DEADLINE).expect("a timeout");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    daemon.wait_for_log("watchdog is no longer fed");
    // What was said before that.
    while manager.next_message(Duration::ZERO).is_some() {}
    let starving = manager.next_message(Duration::from_secs(1));
    assert_eq!(starving, None);
    other.execute_batch("ROLLBACK").expect("a lock that ends");
    manager.wait_for("WATCHDOG=1");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_mistake_in_the_configuration_lets_go_of_no_call() {
    let unit = unit();
    let cli = crate::support::command::Cli::new().env("PARLOR_HTTP__LISTEN", "nowhere");
    assert_eq!(cli.run(&["serve"]).code, 2);
    // The store lives while a start is due, and so for as long as it takes to mend it.
    assert_eq!(values(&unit, "Restart"), ["on-failure"]);
    assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"]);
    assert!(values(&unit, "RestartPreventExitStatus").is_empty());
    let room = values(&unit, "FileDescriptorStoreMax");
    let told = format!("FDSTORE={}", room.concat());
    assert!(values(&unit, "Environment").contains(&told), "{told}");
}

#[test]
fn the_own_addresses_of_the_host_can_be_asked_for() {
    // getifaddrs(3) is netlink, and without it the relay does not start.
    let families = values(&unit(), "RestrictAddressFamilies").join(" ");
    for family in ["AF_INET", "AF_INET6", "AF_NETLINK"] {
        assert!(families.split(' ').any(|one| one == family), "{families}");
    }
}

#[test]
fn a_manager_with_an_abstract_name_is_told_and_one_of_another_kind_is_warned_of_once() {
    let name = format!("parlor-test-{}", std::process::id());
    let manager = Manager::abstract_named(&name);
    let daemon = Builder::new()
        .env("NOTIFY_SOCKET", &format!("@{name}"))
        .start();
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=");
    daemon.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert!(daemon.wait().success());

    let daemon = Builder::new()
        .env("NOTIFY_SOCKET", "vsock:2:1234")
        .env("FDSTORE", "100")
        .start();
    let line = daemon.wait_for_log("the service manager can't be told");
    assert!(line.contains("vsock:2:1234"), "{line}");
    let warnings = daemon.log();
    let warnings = warnings
        .iter()
        .filter(|line| line.contains("can't be told"));
    assert_eq!(warnings.count(), 1);
    assert!(daemon.stop().success());
}

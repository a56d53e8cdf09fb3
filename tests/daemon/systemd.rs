//! The shipped units: systemd accepts them, the sandbox is strict, and the unit's commands work with the real
//! binary.

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

/// Returns the values of a key, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    unit.lines().filter_map(value).collect()
}

/// Runs `systemd-analyze` on the unit with the binary under test.
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
fn systemd_verifies_the_units_without_warnings() {
    let (success, said) = analyze(&["verify", "--man=no"]);
    // Ignores problems of units of this machine.
    let about_us: Vec<_> = said
        .lines()
        .filter(|line| line.contains("parlor"))
        .collect();
    assert!(success && about_us.is_empty(), "{said}");
}

#[test]
fn the_socket_unit_has_the_default_listeners() {
    let built_in = parlor::config::Config::default();
    let wanted = built_in.http.listen.iter().chain(&built_in.turn.listen);
    let wanted: Vec<_> = wanted.map(ToString::to_string).collect();
    let unit = socket_unit();
    assert_eq!(values(&unit, "ListenStream"), wanted);
    assert_eq!(values(&unit, "BindIPv6Only"), ["ipv6-only"]);
}

#[test]
fn the_service_is_sandboxed() {
    let (success, said) = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]);
    assert!(success, "more exposed than 1.5 of 10:\n{said}");
}

#[test]
fn the_units_command_uses_the_state_directory_and_exits_0() {
    let unit = unit();
    assert_eq!(values(&unit, "ExecStart"), ["/usr/local/bin/parlor serve"]);
    assert_eq!(values(&unit, "KillSignal"), ["SIGTERM"]);
    assert_eq!(values(&unit, "StateDirectory"), ["parlor"]);
    // As systemd starts it: `serve`, with $STATE_DIRECTORY. An empty variable counts as unset.
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
fn the_units_reload_command_reloads_the_configuration() {
    let command = values(&unit(), "ExecReload");
    assert_eq!(command, ["/usr/local/bin/parlor reload"]);
    let daemon = Builder::new().start();
    assert!(daemon.cli(&["reload"]).status.success());
    daemon.wait_for_log("configuration reloaded");
    daemon.signal("HUP");
    daemon.wait_for_logs(&["configuration reloaded"], 2);
    assert_eq!(daemon.stop().code(), Some(0));
}

fn notifying(manager: &Manager) -> Builder {
    let socket = manager.path();
    Builder::new().env("NOTIFY_SOCKET", socket.to_str().expect("a plain path"))
}

#[test]
fn the_service_manager_gets_start_status_and_stop() {
    assert_eq!(values(&unit(), "Type"), ["notify"]);
    assert_eq!(values(&unit(), "NotifyAccess"), ["main"]);
    let manager = Manager::new();
    let daemon = notifying(&manager)
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start();
    assert_eq!(manager.next_message(DEADLINE).as_deref(), Some("READY=1\n"));
    let idle = "0 rooms, 0 participants, 0 allocations";
    assert_eq!(manager.wait_for("STATUS="), idle);
    let mut client = turn::Client::udp(daemon.turn(), "alice", None);
    client.allocated();
    let busy = "0 rooms, 0 participants, 1 allocation";
    assert_eq!(manager.wait_for("STATUS="), busy);
    assert_eq!(daemon.stop().code(), Some(0));
    manager.wait_for("STOPPING=1");
}

#[test]
fn a_blocked_database_stops_the_watchdog_notifications() {
    assert_eq!(values(&unit(), "WatchdogSec"), ["30"]);
    let manager = Manager::new();
    let daemon = notifying(&manager).env("WATCHDOG_USEC", "600000").start();
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    let other = rusqlite::Connection::open(daemon.data_dir().join("parlor.db"));
    let other = other.expect("the database");
    other.busy_timeout(DEADLINE).expect("a timeout");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    daemon.wait_for_log("watchdog not fed");
    // Skips earlier messages.
    while manager.next_message(Duration::ZERO).is_some() {}
    let starving = manager.next_message(Duration::from_secs(1));
    assert_eq!(starving, None);
    other.execute_batch("ROLLBACK").expect("a lock that ends");
    manager.wait_for("WATCHDOG=1");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_configuration_error_keeps_the_calls_in_the_descriptor_store() {
    let unit = unit();
    let cli = crate::support::command::Cli::new().env("PARLOR_HTTP__LISTEN", "nowhere");
    assert_eq!(cli.run(&["serve"]).code, 2);
    // systemd keeps the store while a restart is pending, that is, until the configuration is corrected.
    assert_eq!(values(&unit, "Restart"), ["on-failure"]);
    assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"]);
    assert!(values(&unit, "RestartPreventExitStatus").is_empty());
    let room = values(&unit, "FileDescriptorStoreMax");
    let environment = format!("FDSTORE={}", room.concat());
    assert!(
        values(&unit, "Environment").contains(&environment),
        "{environment}"
    );
}

#[test]
fn the_sandbox_allows_listing_the_hosts_addresses() {
    // getifaddrs(3) uses netlink, which the relay needs to start.
    let families = values(&unit(), "RestrictAddressFamilies").join(" ");
    for family in ["AF_INET", "AF_INET6", "AF_NETLINK"] {
        assert!(families.split(' ').any(|one| one == family), "{families}");
    }
}

#[test]
fn an_abstract_notify_socket_works_and_an_unsupported_one_is_logged_once() {
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
    let line = daemon.wait_for_log("service manager notification failed");
    assert!(line.contains("vsock:2:1234"), "{line}");
    let warnings = daemon.log();
    let warnings = warnings
        .iter()
        .filter(|line| line.contains("notification failed"));
    assert_eq!(warnings.count(), 1);
    assert!(daemon.stop().success());
}

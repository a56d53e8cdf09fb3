//! In-place upgrades with `SIGUSR2`: the same process executes another binary.

use super::*;
use crate::support::postgres::Server;
use crate::support::turn::{both_hear_each_other, connected};

/// Waits until a daemon has become ready this many times.
pub(crate) fn ready(daemon: &Daemon, times: usize) {
    daemon.wait_for_logs(&["\"message\":\"ready\""], times);
}

#[test]
fn a_udp_call_continues_in_another_binary() {
    let daemon = open_relay().env("PARLOR_TURN__SHARDS", "2").start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    both_hear_each_other(&mut alice, &mut bob, false);

    let (gap, lost) = longest_gap(&alice, &bob, || {
        daemon.signal("USR2");
        ready(&daemon, 2);
    });
    println!("nothing arrived for {gap:?}, {lost} packets were lost");
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    both_hear_each_other(&mut alice, &mut bob, false);
    assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 2);
}

#[test]
fn a_binary_that_rejects_the_configuration_leaves_the_old_one_running() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap().to_owned();
    let daemon = open_relay().arg("--config").arg(&path).start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    std::fs::write(&file, "[turn]\nrelay_ports = \"nonsense\"\n").unwrap();
    daemon.signal("USR2");
    daemon.wait_for_log("upgrade rejected");
    both_hear_each_other(&mut alice, &mut bob, false);

    let output = daemon.cli(&["upgrade"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("turn.relay_ports"), "{said}");
    assert!(said.contains("the server continues unchanged"), "{said}");
    both_hear_each_other(&mut alice, &mut bob, false);

    std::fs::write(&file, "").unwrap();
    let response = daemon.cli_json(&["upgrade"]);
    assert_eq!(response["executable"], env!("CARGO_BIN_EXE_parlor"));
    ready(&daemon, 2);
    both_hear_each_other(&mut alice, &mut bob, false);
}

#[test]
fn an_upgrade_whose_store_cannot_be_reached_leaves_the_old_process_running() {
    let server = Server::start();
    let daemon = open_relay().on(server).start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    server.kill();
    daemon.signal("USR2");
    let line = daemon.wait_for_log("upgrade rejected");
    assert!(line.contains("cannot be reached"), "{line}");
    both_hear_each_other(&mut alice, &mut bob, false);

    let output = daemon.cli(&["upgrade"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("cannot be reached"), "{said}");
    assert!(said.contains("the server continues unchanged"), "{said}");
    both_hear_each_other(&mut alice, &mut bob, false);

    server.restart();
    daemon.cli_json(&["upgrade"]);
    ready(&daemon, 2);
    both_hear_each_other(&mut alice, &mut bob, false);
    assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 2);
}

#[test]
fn fifty_upgrades_under_load_lose_no_committed_row_and_leak_no_descriptor() {
    let daemon = open_relay().env("PARLOR_TURN__SHARDS", "2").start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    let folder = format!("/proc/{}/fd", daemon.pid());
    let open = || std::fs::read_dir(&folder).unwrap().count();
    let highest = || {
        let names = std::fs::read_dir(&folder).unwrap();
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse::<usize>().ok()).max()
    };
    let (rows, mut counts) = (std::sync::Mutex::new(Vec::new()), Vec::new());
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let id = format!("room-{number}");
                // A request to a process that is just ending may fail.
                if daemon
                    .cli(&["room", "create", &id, "--id", &id])
                    .status
                    .success()
                {
                    rows.lock().unwrap().push(id);
                }
            }
        });
        for restart in 1..=50 {
            daemon.signal("USR2");
            ready(&daemon, 1 + restart);
            both_hear_each_other(&mut alice, &mut bob, false);
            counts.push(open());
            // Each process duplicates its sockets above the open descriptors; the next one has low numbers again.
            assert!(highest() < Some(500), "{:?}", highest());
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let rows = rows.into_inner().unwrap();
    assert!(rows.len() > 5, "{} rows", rows.len());
    let kept = daemon.cli_json(&["room", "list"]).to_string();
    for id in rows {
        assert!(kept.contains(&format!("\"{id}\"")), "{id} is lost");
    }
    // A command may be running at any of these moments.
    let (first, last) = (counts[..5].iter().max(), counts[45..].iter().min());
    assert!(last <= first, "{counts:?}");
    assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 2);
}

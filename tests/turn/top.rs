//! `parlor top` in a terminal, beside a call over the relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::open_relay;
use crate::quality::media;
use crate::support::Daemon;
use crate::support::screen::InTerminal;
use crate::support::turn::{Client, channel_data, connected};

/// A call in which every 20th packet of Bob is lost before the relay. It ends when this is dropped.
struct Call {
    is_over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Call {
    fn start(daemon: &Daemon) -> Call {
        let client = |user| Client::udp(daemon.turn(), user, None);
        let (mut bob, mut alice) = connected(client("bob"), client("alice"));
        let is_over = Arc::new(AtomicBool::new(false));
        let until = is_over.clone();
        let sender = thread::spawn(move || {
            for sequence in (0..=u16::MAX).cycle() {
                if until.load(Ordering::Relaxed) {
                    return;
                }
                if sequence % 20 != 5 {
                    bob.send(&channel_data(0x4001, &media(sequence), false));
                }
                alice.send(&channel_data(0x4002, &media(sequence), false));
                thread::sleep(Duration::from_millis(5));
            }
        });
        Call {
            is_over,
            sender: Some(sender),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.sender.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

fn top(daemon: &Daemon, columns: u16) -> InTerminal {
    InTerminal::start(daemon.command(&["top"]), columns, 16)
}

/// The words of each line.
fn words(screen: &str) -> Vec<Vec<&str>> {
    let lines = screen.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn the_live_view_names_the_link_that_loses_packets() {
    let daemon = open_relay().start();
    let _call = Call::start(&daemon);
    let mut top = top(&daemon, 100);
    let shown = top.wait_for("the weak link", |screen| screen.contains("weak"));
    let lines = words(&shown);
    assert_eq!(
        lines[0][..2],
        ["parlor", env!("CARGO_PKG_VERSION")],
        "{shown}"
    );
    let header = [
        "NAME", "LINK", "STATE", "LOSS", "JITTER", "RTT", "KBIT/S", "SILENT", "OVER",
    ];
    assert_eq!(lines[2], header, "{shown}");
    assert_eq!(lines[3], ["(no", "room)", "·", "2", "people"], "{shown}");
    assert_eq!(lines[4][..3], ["bob", "up", "weak"], "{shown}");
    top.wait_for("rates", |screen| {
        let lines = words(screen);
        let packets = lines[1].iter().position(|word| *word == "packets/s");
        packets.is_some_and(|at| lines[1][at - 1].parse().is_ok_and(|rate: u64| rate > 0))
    });
    assert!(top.has_colors());

    top.press("s");
    top.wait_for("another order", |screen| {
        screen.contains("sort: round trip")
    });
    top.press("/ALI");
    let shown = top.wait_for("the filter", |screen| screen.contains("name: ALI_"));
    assert!(shown.contains("alice") && !shown.contains("bob"), "{shown}");
    top.press("\r");
    top.wait_for("the filter to be kept", |screen| {
        screen.contains("(Esc: clear)")
    });
    top.press("q");
    let (status, primary) = top.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(primary.trim(), "");
}

#[test]
fn a_server_that_ends_is_named_and_a_signal_restores_the_terminal() {
    let daemon = open_relay().start();
    let mut top = top(&daemon, 60);
    top.wait_for("the head", |screen| screen.contains("No one is connected."));
    let daemon = daemon.restart_after(|| {
        top.wait_for("the sentence", |screen| {
            screen.contains("No answer, old values:")
        });
    });
    let call = Call::start(&daemon);
    let shown = top.wait_for("the new server", |screen| screen.contains("alice"));
    assert!(!shown.contains("No answer"), "{shown}");
    drop(call);
    let process = Pid::from_raw(top.child.id().try_into().expect("an id"));
    kill(process, Signal::SIGTERM).expect("a signal");
    let (status, _) = top.finish();
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32));
}

#[test]
fn the_view_says_that_quality_is_off_and_respects_no_color() {
    let daemon = open_relay().env("PARLOR_TURN__QUALITY", "off").start();
    let _call = Call::start(&daemon);
    let mut command = daemon.command(&["top"]);
    command.env("NO_COLOR", "1");
    let mut top = InTerminal::start(command, 80, 16);
    let shown = top.wait_for("people", |screen| screen.contains("alice"));
    assert!(shown.contains("turn.quality is off"), "{shown}");
    assert!(!top.has_colors());
    top.press("\u{3}");
    let (status, _) = top.finish();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn without_a_terminal_one_sentence_names_another_command() {
    let daemon = Daemon::start();
    for arguments in [&["top"][..], &["top", "--json"]] {
        let output = daemon.cli(arguments);
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains("parlor sessions --quality --json"), "{said}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
}

#[test]
fn without_a_server_the_screen_stays_as_it_is() {
    let cli = crate::support::command::Cli::new();
    let top = InTerminal::start(cli.command(&["top"]), 200, 16);
    let (status, primary) = top.finish();
    assert_eq!(status.code(), Some(1), "{primary}");
    assert!(primary.contains("error: "), "{primary}");
}

//! A plain WebSocket client that keeps a view of its room, and checks each message against it.
//!
//! It does what the protocol asks of a frontend: it sends an offer to each user who joins, and learns from an offer that
//! its sender is there.

mod connection;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use connection::Connection;

use super::cluster::cluster_token;
use super::http::Client;
use super::room_view::RoomView;
use super::{DEADLINE, Daemon, socket};

/// How long a read waits before the client looks for something to send.
const READ_PAUSE: Duration = Duration::from_millis(5);
/// The close code of a connection that ends without one.
pub(crate) const NO_CLOSE_FRAME: u16 = 1006;

/// The connection of a user to a room.
pub(crate) struct Watcher {
    user: String,
    shared: Arc<Shared>,
    commands: Sender<Command>,
}

enum Command {
    /// Sends a message with this mark to all others.
    Send(u64),
    Close,
}

#[derive(Default)]
struct Shared {
    view: Mutex<View>,
    changed: Condvar,
}

/// The knowledge of a client.
#[derive(Debug, Default)]
struct View {
    has_entered: bool,
    room: RoomView,
    /// The last mark of each sender.
    marks: HashMap<String, u64>,
    closed: Option<u16>,
    /// The first message that broke a rule.
    violation: Option<String>,
    /// All joins, leaves and offers.
    log: Vec<String>,
}

/// Numbers of messages, which increase in the whole process: a sender may have several connections after each other.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

impl Watcher {
    /// Makes the user a member of the room on a node, connects, and waits until the user has entered.
    #[track_caller]
    pub(crate) fn enter(node: &Daemon, room: &str, user: &str) -> Watcher {
        let entered = Watcher::try_enter(node, room, user);
        entered.unwrap_or_else(|code| panic!("{user} is refused with {code}"))
    }

    /// Like [`Watcher::enter`]; returns the close code of a refused connection.
    pub(crate) fn try_enter(node: &Daemon, room: &str, user: &str) -> Result<Watcher, u16> {
        let watcher = Watcher::join(node.http(), room, user);
        let is_decided = |view: &View| view.has_entered || view.closed.is_some();
        let closed = watcher.wait("an entry", is_decided).closed;
        closed.map_or(Ok(watcher), Err)
    }

    /// Makes the user a member of the room, and connects.
    pub(crate) fn join(address: SocketAddr, room: &str, user: &str) -> Watcher {
        let caller = Client::new(address).with_token(&cluster_token(user));
        caller.post(&format!("/api/rooms/{room}/join")).ok();
        Watcher::connect(address, room, user)
    }

    /// Connects a member of the room.
    pub(crate) fn connect(address: SocketAddr, room: &str, user: &str) -> Watcher {
        let opened = socket::open(address, room, &cluster_token(user), "");
        let mut socket = opened.expect("an upgrade");
        let stream = socket.get_ref();
        stream.set_read_timeout(Some(READ_PAUSE)).expect("a socket");
        let _ = socket::ping(&mut socket);
        let (commands, receiver) = mpsc::channel();
        let watcher = Watcher {
            user: user.to_owned(),
            shared: Arc::default(),
            commands,
        };
        let connection = Connection {
            socket,
            user: watcher.user.clone(),
            room: room.to_owned(),
            shared: watcher.shared.clone(),
        };
        thread::spawn(move || connection.run(&receiver));
        watcher
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Waits until the client knows these users, and no others.
    #[track_caller]
    pub(crate) fn knows<'a>(&self, users: impl IntoIterator<Item = &'a str>) {
        let users: BTreeSet<String> = users.into_iter().map(str::to_owned).collect();
        let what = format!("the users {users:?}");
        let is_reached = |view: &View| view.room.present() == users && view.closed.is_none();
        drop(self.wait(&what, is_reached));
    }

    /// Waits until the connection has ended, and returns its code.
    #[track_caller]
    pub(crate) fn close_code(&self) -> u16 {
        let view = self.wait("a close frame", |view| view.closed.is_some());
        view.closed.expect("a code")
    }

    /// Sends a message to all others, and returns its mark.
    pub(crate) fn send(&self) -> u64 {
        let mark = next_number();
        let _ = self.commands.send(Command::Send(mark));
        mark
    }

    /// Waits for a message with this mark of another client, or a later one.
    #[track_caller]
    pub(crate) fn receives(&self, from: &Watcher, mark: u64) {
        let what = format!("message {mark} of {}", from.user);
        let is_there = |view: &View| view.marks.get(&from.user).is_some_and(|last| *last >= mark);
        drop(self.wait(&what, is_there));
    }

    /// Closes the connection as a user does who leaves the page.
    pub(crate) fn close(self) {
        let _ = self.commands.send(Command::Close);
        self.close_code();
    }

    /// The number of joins and leaves that the client received.
    pub(crate) fn changes(&self) -> usize {
        let view = self.view();
        let changes = view.log.iter().filter(|line| !line.starts_with("offer"));
        changes.count()
    }

    /// Fails if a message broke a rule.
    #[track_caller]
    pub(crate) fn check(&self) {
        let view = self.view();
        assert!(view.violation.is_none(), "{}: {view:#?}", self.user);
    }

    #[track_caller]
    fn wait(&self, what: &str, is_true: impl Fn(&View) -> bool) -> MutexGuard<'_, View> {
        let is_waiting = |view: &mut View| !is_true(view) && view.violation.is_none();
        let view = self.view();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(view, DEADLINE, is_waiting);
        let (view, _) = waited.expect("no panic");
        let is_reached = is_true(&view) && view.violation.is_none();
        assert!(is_reached, "{} waits for {what}: {view:#?}", self.user);
        view
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.shared.view.lock().expect("no panic")
    }
}

/// Waits until each of these clients, who are all that there are, knows the others and receives their messages.
#[track_caller]
pub(crate) fn agree<'a>(watchers: impl IntoIterator<Item = &'a Watcher>) {
    let watchers: Vec<&Watcher> = watchers.into_iter().collect();
    let others = |of: &Watcher| -> Vec<&'a str> {
        let users = watchers.iter().map(|other| other.user());
        users.filter(|user| *user != of.user).collect()
    };
    for watcher in &watchers {
        watcher.knows(others(watcher));
    }
    let marks: Vec<u64> = watchers.iter().map(|watcher| watcher.send()).collect();
    for watcher in &watchers {
        for (other, mark) in watchers.iter().zip(&marks) {
            if other.user != watcher.user {
                watcher.receives(other, *mark);
            }
        }
    }
    // What came before the messages of the others broke no rule and changed nothing.
    for watcher in &watchers {
        watcher.check();
        watcher.knows(others(watcher));
    }
}

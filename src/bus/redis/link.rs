//! The connections of a node: commands on one, the inbox on the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::node::{Counts, Node, Output, SavedNode, Settings};
use super::nodes::{self, NodeInfo};
use super::scripts::{Script, Scripts};
use super::server::{Connection, LinkError, RESPONSE_TIMEOUT, Server};
use crate::clock;
use crate::room::{NodeId, Place, Request};

/// Commands that are sent before their replies are awaited.
const MAX_PIPELINE: usize = 256;
/// Entries that are read at a time.
const MAX_ENTRIES: usize = 1000;
/// How long a read waits for an entry.
const READ_BLOCK: Duration = Duration::from_secs(1);
/// The shortest wait for work.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// Interval of the checks whether everything is sent.
const FINISH_PAUSE: Duration = Duration::from_millis(5);
/// Pause before the connection is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A node with its connections. Any task may add requests; [`Link::run`] sends them.
#[derive(Debug)]
pub struct Link {
    node: Mutex<Node>,
    scripts: Arc<Scripts>,
    prefix: String,
    lease: Duration,
    nodes: watch::Sender<Arc<[NodeInfo]>>,
    /// The calls of [`Link::ask`], by ticket. Lock order: after the node.
    calls: Mutex<HashMap<u64, oneshot::Sender<Option<String>>>>,
    /// There may be commands to send.
    work: Notify,
    /// There may be an inbox to read.
    registered: Notify,
}

impl Link {
    /// `seed` must be random.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Link {
        Link::resume(settings, seed, None)
    }

    /// As [`Link::new`]. Continues a paused node of the same name, if there is one.
    pub fn resume(settings: Settings, seed: [u8; 32], saved: Option<SavedNode>) -> Link {
        let scripts = Scripts::new();
        let (prefix, lease) = (settings.prefix.clone(), settings.lease);
        let node = match saved {
            Some(saved) => Node::resume(settings, scripts.clone(), seed, saved),
            None => Node::new(settings, scripts.clone(), seed),
        };
        Link {
            prefix,
            lease,
            nodes: watch::Sender::new(Arc::default()),
            calls: Mutex::default(),
            node: Mutex::new(node),
            scripts,
            work: Notify::new(),
            registered: Notify::new(),
        }
    }

    /// The node's identifier, which changes when it is evicted.
    pub fn id(&self) -> NodeId {
        self.node().id().clone()
    }

    /// Whether users can enter rooms.
    pub fn is_available(&self) -> bool {
        self.node().is_available()
    }

    /// The run id of the server that lists this node now.
    pub fn run_id(&self) -> Option<String> {
        self.node().run_id().map(str::to_owned)
    }

    pub fn lease(&self) -> Duration {
        self.lease
    }

    pub fn counts(&self) -> Counts {
        self.node().counts()
    }

    /// Queues the requests of a room, in the order of the calls.
    pub fn request(&self, room: &Arc<str>, requests: Vec<Request>) {
        self.node().request(room, requests, clock::now().mono);
        self.work.notify_one();
    }

    /// Whether this node has a lease now: no other node may have evicted it. Without Redis it has one until its
    /// lease ends.
    pub fn has_lease(&self) -> bool {
        self.node().has_lease(clock::now().mono)
    }

    /// Entries of the inbox that the node had not read when it last renewed its lease.
    pub fn lag(&self) -> u64 {
        self.node().lag()
    }

    /// The nodes that Redis lists, including this one: those that were not evicted. A change arrives with the next
    /// renewal of the lease, after at most a fifth of it.
    pub fn nodes(&self) -> watch::Receiver<Arc<[NodeInfo]>> {
        self.nodes.subscribe()
    }

    /// The nodes whose lease has not ended, read on a connection of its own. Works before [`Link::run`], when this
    /// node is none of them yet.
    pub async fn read_nodes(&self, server: &Server) -> Result<Arc<[NodeInfo]>, LinkError> {
        let mut connection = server.connect().await?;
        let reading = async {
            connection.prepare(self.scripts.texts()).await?;
            let mut read = redis::cmd("EVALSHA");
            let script = self.scripts.hash(Script::Nodes);
            read.arg(script).arg(0).arg(&self.prefix);
            Ok(nodes::parse(connection.ask(&read).await?))
        };
        let read = timeout(RESPONSE_TIMEOUT, reading).await;
        read.map_err(|_| LinkError::Timeout)?
    }

    /// Changes the text about this node for the other nodes, at most 4 KiB.
    pub fn set_about(&self, about: String) {
        self.node().set_about(about);
        self.work.notify_one();
    }

    /// Records that this node gets no new rooms to relay, or gets them again.
    pub fn set_draining(&self, is_draining: bool) {
        self.node().set_draining(is_draining);
        self.work.notify_one();
    }

    /// Whether rosters list users, each given as (room, user), on any node. `None` while that is unknown: without
    /// Redis, and for two leases after Redis lost the rosters.
    pub async fn are_members(&self, users: &[(&str, &str)]) -> Option<Vec<bool>> {
        let mut args = vec![(self.lease * 2).as_micros().to_string()];
        args.extend(
            users
                .iter()
                .flat_map(|(room, user)| [(*room).to_owned(), (*user).to_owned()]),
        );
        let answer = self.ask(Script::Members, args).await?;
        let is_complete = answer.len() == users.len();
        is_complete.then(|| answer.bytes().map(|digit| digit == b'1').collect())
    }

    /// The number of users whom rosters list in each of these rooms; `None` while that is unknown.
    pub async fn count_members(&self, rooms: &[&str]) -> Option<Vec<usize>> {
        let args = rooms.iter().map(|&room| room.to_owned()).collect();
        let answer = self.ask(Script::Count, args).await?;
        let counts: Option<Vec<usize>> = answer
            .split_whitespace()
            .map(|count| count.parse().ok())
            .collect();
        counts.filter(|counts| counts.len() == rooms.len())
    }

    /// Finds a node by the beginning of the SHA-1 of its name, also one that has registered just now. `None` if there is
    /// none, or without Redis.
    pub async fn find_node(&self, digits: String) -> Option<NodeId> {
        let found = self.ask(Script::Find, vec![digits]).await?;
        found.strip_prefix(':').map(NodeId::from)
    }

    /// Runs a script whose answer is a text; `None` if Redis does not answer, or does not know this node.
    pub async fn ask(&self, script: Script, args: Vec<String>) -> Option<String> {
        let (answer, answered) = oneshot::channel();
        {
            let mut node = self.node();
            if !node.is_available() {
                return None;
            }
            let ticket = node.call(script, args);
            self.calls().insert(ticket, answer);
        }
        self.work.notify_one();
        answered.await.ok().flatten()
    }

    /// Sends bytes to a node. See [`Node::tell`].
    pub fn tell(&self, node: NodeId, bytes: Vec<u8>) -> bool {
        self.tell_nodes(Some(node), bytes)
    }

    /// Sends bytes to all other nodes. See [`Node::tell`].
    pub fn tell_all(&self, bytes: Vec<u8>) -> bool {
        self.tell_nodes(None, bytes)
    }

    fn tell_nodes(&self, node: Option<NodeId>, bytes: Vec<u8>) -> bool {
        let is_queued = self.node().tell(node, bytes, clock::now().mono);
        self.work.notify_one();
        is_queued
    }

    /// See [`Node::rooms_visited`].
    pub fn rooms_visited(&self) {
        self.node().rooms_visited();
        self.work.notify_one();
    }

    /// See [`Node::abandon`].
    pub fn abandon(&self, nodes: Vec<NodeId>) {
        self.node().abandon(nodes);
        self.work.notify_one();
    }

    /// Sends what is queued, and gives up the lease. [`Link::run`] must run. Returns early if Redis does not answer.
    pub async fn finish(&self) {
        while self.is_available() && !self.node().is_sent() {
            sleep(FINISH_PAUSE).await;
        }
        self.node().end();
        self.work.notify_one();
        while !self.node().is_ended() {
            sleep(FINISH_PAUSE).await;
        }
    }

    /// Renews the lease and pauses, when nothing waits for Redis or for a room: see [`Node::pause`]. [`Link::run`] must run,
    /// and must end before rooms are saved: it may be carrying out the last outputs. `None` without Redis.
    pub async fn pause(&self) -> Option<SavedNode> {
        self.node().renew();
        self.work.notify_one();
        while self.is_available() {
            if let Some(saved) = self.node().pause() {
                return Some(saved);
            }
            sleep(FINISH_PAUSE).await;
        }
        None
    }

    /// Whether everything that was queued has been carried out.
    pub fn is_sent(&self) -> bool {
        self.node().is_sent()
    }

    /// Whether this node continues that of an earlier process.
    pub fn is_resumed(&self) -> bool {
        self.node().is_resumed()
    }

    /// See [`Node::await_return`].
    pub fn await_return(&self, room: &Arc<str>, user: &Arc<str>, place: &Place) {
        self.node().await_return(room, user, place);
    }

    /// Connects, sends and reads for ever. `carry_out` gets each output in order; it must not wait. `lost` gets the
    /// reason of each lost or failed connection.
    pub async fn run(
        &self,
        server: &Server,
        mut carry_out: impl FnMut(Output) + Send,
        mut lost: impl FnMut(LinkError) + Send,
    ) {
        loop {
            let outcome = self.run_once(server, &mut carry_out).await;
            self.node().handle_disconnected();
            self.carry_out(&mut carry_out);
            if let Err(error) = outcome {
                lost(error);
            }
            sleep(RECONNECT_PAUSE).await;
            self.node().handle_timeout(clock::now().mono);
        }
    }

    /// Runs until a connection is lost.
    async fn run_once(
        &self,
        server: &Server,
        carry_out: &mut (impl FnMut(Output) + Send),
    ) -> Result<(), LinkError> {
        let (writer, reader) = tokio::try_join!(server.connect(), server.connect())?;
        let (mut writer, mut reader) = (writer, reader);
        let run_id = timeout(RESPONSE_TIMEOUT, writer.prepare(self.scripts.texts()));
        let run_id = run_id.await.map_err(|_| LinkError::Timeout)??;
        let read_id = timeout(RESPONSE_TIMEOUT, reader.run_id()).await;
        if read_id.map_err(|_| LinkError::Timeout)?? != run_id {
            // A failover between both.
            return Err(LinkError::Moved);
        }
        self.node().handle_connected(&run_id, clock::now().mono);
        // One task, so that outputs are carried out in order; a reply waits while entries are handled.
        let carry_out = Mutex::new(carry_out);
        let each = |link: &Link| {
            link.carry_out(&mut **carry_out.lock().unwrap_or_else(PoisonError::into_inner));
        };
        tokio::select! {
            outcome = self.write(&mut writer, &each) => outcome,
            outcome = self.read(&mut reader, &each) => outcome,
        }
    }

    async fn write(
        &self,
        connection: &mut Connection,
        carry_out: &(impl Fn(&Link) + Sync),
    ) -> Result<(), LinkError> {
        loop {
            let (commands, next) = self.next_commands();
            carry_out(self);
            if commands.is_empty() {
                let _ = timeout(next, self.work.notified()).await;
                continue;
            }
            let replies = connection
                .redis
                .send_packed_commands(&commands, 0, commands.len());
            let replies = timeout(RESPONSE_TIMEOUT, replies).await;
            for reply in replies.map_err(|_| LinkError::Timeout)?? {
                self.node().handle_reply(reply, clock::now().mono);
            }
            carry_out(self);
            self.publish_nodes();
            self.registered.notify_one();
            if self.node().is_broken() {
                return Err(LinkError::Reply);
            }
        }
    }

    /// Returns the commands to send, and the time until something is due.
    fn next_commands(&self) -> (Pipeline, Duration) {
        let now = clock::now().mono;
        let mut node = self.node();
        node.handle_timeout(now);
        let mut commands = redis::pipe();
        while commands.len() < MAX_PIPELINE
            && let Some(command) = node.poll_command(now)
        {
            commands.add_command(command);
        }
        // Rooms that the caller has yet to visit are due, too.
        (commands, node.poll_timeout().since(now).max(MIN_WAIT))
    }

    async fn read(
        &self,
        connection: &mut Connection,
        carry_out: &(impl Fn(&Link) + Sync),
    ) -> Result<(), LinkError> {
        loop {
            let read = self.node().read_command(MAX_ENTRIES, Some(READ_BLOCK));
            let Some((generation, command)) = read else {
                self.registered.notified().await;
                continue;
            };
            let reply = connection.redis.send_packed_command(&command);
            let reply = timeout(READ_BLOCK + RESPONSE_TIMEOUT, reply).await;
            let reply = reply.map_err(|_| LinkError::Timeout)??;
            if let Value::ServerError(error) = reply {
                return Err(LinkError::Redis(error.into()));
            }
            if reply != Value::Nil {
                self.node().handle_entries(generation, reply);
                carry_out(self);
                self.work.notify_one();
            }
        }
    }

    /// Carries out what the node returns. The node is not locked meanwhile: rooms add requests to it.
    fn carry_out(&self, carry_out: &mut impl FnMut(Output)) {
        loop {
            let output = self.node().poll_output();
            match output {
                Some(Output::Answer { ticket, value }) => {
                    if let Some(call) = self.calls().remove(&ticket) {
                        let _ = call.send(value);
                    }
                }
                Some(output) => carry_out(output),
                None => return,
            }
        }
    }

    fn publish_nodes(&self) {
        let nodes = self.node().nodes().clone();
        self.nodes.send_if_modified(|known| {
            let is_other = !Arc::ptr_eq(known, &nodes);
            *known = nodes;
            is_other
        });
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Option<String>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

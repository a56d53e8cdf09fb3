//! A client that reconnects after each close, and checks what it receives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Shared;
use crate::support::cluster::cluster_token;
use crate::support::http::Client;
use crate::support::room_view::{NodeFaults, RoomView, message, text};

/// Limit of an attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TcpStream>;

/// A user of one room.
pub(super) struct User {
    pub name: String,
    pub room: String,
    pub token: String,
    pub state: Mutex<State>,
    orders: UnboundedSender<Order>,
    received_orders: Mutex<Option<UnboundedReceiver<Order>>>,
}

/// The knowledge of the user's client.
#[derive(Default)]
pub(super) struct State {
    /// Connections so far that entered the room.
    pub connections: u64,
    /// Whether the current connection entered the room.
    pub is_entered: bool,
    /// The others, by the messages to the current connection.
    pub view: RoomView,
    /// Messages about each user, for the report of a violation.
    pub history: HashMap<String, Vec<String>>,
    /// Number of the last message that this user sent.
    pub sent: u64,
    /// Number of the connection that a kick must have ended.
    pub kicked: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    /// Send a message to the room.
    Say,
    /// Connect to another node without leaving this one.
    Move,
}

impl User {
    pub(super) fn new(name: &str, room: &str) -> Arc<User> {
        let (orders, received) = unbounded_channel();
        Arc::new(User {
            name: name.to_owned(),
            room: room.to_owned(),
            token: cluster_token(name),
            state: Mutex::default(),
            orders,
            received_orders: Mutex::new(Some(received)),
        })
    }

    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Connects again and again.
    pub(super) async fn live(self: Arc<User>, shared: Arc<Shared>) {
        let mut orders = self.received_orders.lock().unwrap().take().unwrap();
        loop {
            if let Some(socket) = self.connect(&shared).await {
                let close = self.stay(socket, &mut orders, &shared).await;
                self.state.lock().unwrap().is_entered = false;
                if matches!(close, Some(4003 | 4005)) {
                    self.join_again(&shared).await;
                }
            }
            let pause = rand::rng().random_range(50..500);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn connect(&self, shared: &Shared) -> Option<Socket> {
        let node = shared.any_node();
        let url = format!(
            "ws://{node}/api/ws/rooms/{}?token={}",
            self.room, self.token
        );
        let opening = async {
            let stream = TcpStream::connect(node).await.ok()?;
            let (mut socket, _) = client_async(url, stream).await.ok()?;
            // The server reads when the user has entered the room.
            socket.send(Message::Ping("entered?".into())).await.ok()?;
            Some(socket)
        };
        timeout(CONNECT_TIMEOUT, opening).await.ok().flatten()
    }

    /// Uses connections until one ends; its close code.
    async fn stay(
        &self,
        mut socket: Socket,
        orders: &mut UnboundedReceiver<Order>,
        shared: &Shared,
    ) -> Option<u16> {
        self.begin();
        loop {
            let replies = tokio::select! {
                message = socket.next() => match self.receive(message, shared) {
                    Ok(replies) => replies,
                    Err(close) => return close,
                },
                order = orders.recv() => match order? {
                    Order::Say => vec![self.message(None)],
                    Order::Move => {
                        if let Some(next) = self.connect(shared).await {
                            tokio::spawn(read_to_end(std::mem::replace(&mut socket, next)));
                            self.begin();
                        }
                        continue;
                    }
                },
            };
            for reply in replies {
                let sending = socket.send(Message::text(reply.to_string()));
                if !matches!(timeout(CONNECT_TIMEOUT, sending).await, Ok(Ok(()))) {
                    return None;
                }
            }
        }
    }

    /// A new connection: it knows nobody.
    fn begin(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_entered = false;
        state.view = RoomView::default();
        state.history.clear();
    }

    /// Checks a message, and returns the answers to it; `Err` at the end of the connection.
    fn receive(
        &self,
        message: Option<Result<Message, Error>>,
        shared: &Shared,
    ) -> Result<Vec<Value>, Option<u16>> {
        match message {
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                return Ok(self.check(&message, shared));
            }
            Some(Ok(Message::Pong(_))) => {
                let mut state = self.state.lock().unwrap();
                state.is_entered = true;
                state.connections += 1;
            }
            Some(Ok(Message::Close(close))) => return Err(close.map(|close| close.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
        Ok(Vec::new())
    }

    fn check(&self, message: &Value, shared: &Shared) -> Vec<Value> {
        let from = text(message, "from");
        let mut state = self.state.lock().unwrap();
        let event = format!(
            "{} ms: {} {}",
            Shared::time(),
            message["type"],
            message["data"]["number"]
        );
        let history = state.history.entry(from.to_owned()).or_default();
        history.push(event);
        let history = format!("{:?} ", &history[history.len().saturating_sub(8)..]);
        let receiver = (&*self.name, &*self.room);
        if let Some(rule) = state.view.record(message, receiver, NodeFaults::Any) {
            let number = &message["data"]["number"];
            let (name, room) = receiver;
            shared.violation(format!(
                "{name} in {room}: {rule}: {from} {number} {history}"
            ));
        }
        drop(state);
        match text(message, "type") {
            "user-joined" => vec![self.message(Some(from))],
            _ => Vec::new(),
        }
    }

    /// The next message of this user.
    fn message(&self, to: Option<&str>) -> Value {
        let mut state = self.state.lock().unwrap();
        state.sent += 1;
        let data = json!({"number": state.sent});
        message("offer", (&self.name, &self.room), to, data)
    }

    /// Becomes a member again after a kick. Any node may be down.
    async fn join_again(&self, shared: &Shared) {
        let client = Client::new(shared.any_node()).with_token(&self.token);
        let path = format!("/api/rooms/{}/join", self.room);
        let joining = tokio::task::spawn_blocking(move || client.attempt(&path, &json!({})));
        let _ = timeout(CONNECT_TIMEOUT, joining).await;
    }
}

/// Reads a replaced connection until the server closes it.
async fn read_to_end(mut socket: Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

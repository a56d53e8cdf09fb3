//! The socket of a client, in a thread of its own.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::{Command, NO_CLOSE_FRAME, Shared, View, next_number};

/// The part of a client that has the socket.
pub(super) struct Connection {
    pub socket: WebSocket<TcpStream>,
    pub user: String,
    pub room: String,
    pub shared: Arc<Shared>,
}

impl Connection {
    /// Runs until the connection ends, or [`Watcher`] is dropped.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let outcome = match commands.try_recv() {
                Ok(Command::Send(mark)) => self.send("ice-candidate", None, Some(mark)),
                Ok(Command::Close) => self.close(),
                Err(TryRecvError::Empty) => Ok(()),
                Err(TryRecvError::Disconnected) => return,
            };
            let outcome = outcome.and_then(|()| self.read());
            match outcome {
                Ok(None) => {}
                Ok(Some(code)) => return self.end(code),
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return self.end(NO_CLOSE_FRAME),
            }
        }
    }

    /// Reads a message; returns the code of a close frame.
    fn read(&mut self) -> Result<Option<u16>, Error> {
        match self.socket.read()? {
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                self.handle(&frame)?;
            }
            Message::Pong(_) => self.change(|view| view.has_entered = true),
            Message::Close(close) => {
                let code = close.map_or(NO_CLOSE_FRAME, |close| close.code.into());
                // The answer to it.
                let _ = self.socket.flush();
                return Ok(Some(code));
            }
            _ => {}
        }
        Ok(None)
    }

    fn handle(&mut self, frame: &Value) -> Result<(), Error> {
        let (kind, from) = (text(frame, "type"), text(frame, "from"));
        let number = frame["data"]["n"].as_u64();
        let mut joined = false;
        self.change(|view| {
            let is_known = view.known.contains(from);
            let last = view.last.get(from).copied().unwrap_or(0);
            let is_allowed = match (kind, number) {
                ("user-joined" | "offer", _) if is_known => false,
                // A newcomer does not know yet who is there, and receives their messages.
                ("user-left" | "ice-candidate", _) if view.departed.contains(from) => false,
                (_, Some(number)) => number > last,
                _ => true,
            };
            if kind != "ice-candidate" {
                view.log.push(format!("{kind} {from}"));
            }
            if !is_allowed && view.violation.is_none() {
                view.violation = Some(format!("{kind} {number:?} of {from}"));
            }
            match kind {
                "user-joined" | "offer" => {
                    view.known.insert(from.to_owned());
                    view.departed.remove(from);
                }
                "user-left" => {
                    view.known.remove(from);
                    view.departed.insert(from.to_owned());
                }
                _ => {}
            }
            joined = kind == "user-joined";
            if let Some(number) = number {
                view.last.insert(from.to_owned(), number);
            }
            if let Some(mark) = frame["data"]["mark"].as_u64() {
                view.marks.insert(from.to_owned(), mark);
            }
        });
        if joined {
            self.send("offer", Some(from), None)?;
        }
        Ok(())
    }

    fn send(&mut self, kind: &str, to: Option<&str>, mark: Option<u64>) -> Result<(), Error> {
        let data = json!({"n": next_number(), "mark": mark});
        let mut frame = json!({
            "type": kind, "from": self.user, "roomId": self.room, "data": data,
        });
        if let Some(to) = to {
            frame["to"] = to.into();
        }
        self.socket.send(Message::text(frame.to_string()))
    }

    fn close(&mut self) -> Result<(), Error> {
        self.socket.close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        }))
    }

    fn end(&self, code: u16) {
        self.change(|view| view.closed = Some(code));
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.shared.view.lock().expect("no panic"));
        self.shared.changed.notify_all();
    }
}

fn text<'a>(frame: &'a Value, key: &str) -> &'a str {
    frame[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {frame}"))
}

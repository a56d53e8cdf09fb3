//! The socket of a client, in a thread of its own.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::room_view::{NodeFaults, message, text};
use super::super::socket::Socket;
use super::{Command, NO_CLOSE_FRAME, Shared, View, next_number};

/// The part of a client that has the socket.
pub(super) struct Connection {
    pub socket: Socket,
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
        let receiver = (&*self.user, &*self.room);
        self.change(|view| {
            if kind != "ice-candidate" {
                view.log.push(format!("{kind} {from}"));
            }
            let broken = view.room.record(frame, receiver, NodeFaults::None);
            if let Some(rule) = broken.filter(|_| view.violation.is_none()) {
                view.violation = Some(format!("{rule}: {frame}"));
            }
            if let Some(mark) = frame["data"]["mark"].as_u64() {
                view.marks.insert(from.to_owned(), mark);
            }
        });
        if kind == "user-joined" {
            self.send("offer", Some(from), None)?;
        }
        Ok(())
    }

    fn send(&mut self, kind: &str, to: Option<&str>, mark: Option<u64>) -> Result<(), Error> {
        let data = json!({"number": next_number(), "mark": mark});
        let frame = message(kind, (&self.user, &self.room), to, data);
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

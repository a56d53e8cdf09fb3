//! The terminal of the live view: raw mode and the alternate screen, keys, and signals that end the process.

use std::io;
use std::thread;

use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal::size;
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Events that wait for the view. The thread that reads them waits above this number.
const WAITING_EVENTS: usize = 64;

/// The terminal in raw mode, showing the alternate screen. Dropping it restores the terminal, and so does
/// a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// # Errors
    /// The terminal can't be switched to raw mode, or its size is unknown.
    pub(super) fn open() -> io::Result<Screen> {
        let terminal = ratatui::try_init();
        if terminal.is_err() {
            // Raw mode may be on already.
            let _ = ratatui::try_restore();
        }
        Ok(Screen {
            terminal: terminal?,
        })
    }

    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(view).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that was closed needs no restoration.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Returns the width and height of the terminal in characters.
pub(super) fn screen_size() -> io::Result<(u16, u16)> {
    size()
}

/// Starts a thread that reads keys and changes of the size until the process ends or the receiver is dropped.
pub(super) fn read_events() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
    thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || {
            loop {
                let event = event::read();
                let is_failed = event.is_err();
                if sender.blocking_send(event).is_err() || is_failed {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// The signals that end the view.
pub(super) struct EndSignals([(Signal, u8); 4]);

impl EndSignals {
    pub(super) fn install() -> io::Result<EndSignals> {
        let install = |kind: SignalKind| {
            let number = kind.as_raw_value() as u8;
            signal(kind).map(|signal| (signal, number))
        };
        Ok(EndSignals([
            install(SignalKind::interrupt())?,
            install(SignalKind::terminate())?,
            install(SignalKind::hangup())?,
            install(SignalKind::quit())?,
        ]))
    }

    /// Waits for a signal and returns its number.
    pub(super) async fn recv(&mut self) -> u8 {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.0.recv() => interrupt.1,
            _ = terminate.0.recv() => terminate.1,
            _ = hangup.0.recv() => hangup.1,
            _ = quit.0.recv() => quit.1,
        }
    }
}

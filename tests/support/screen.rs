//! A program in a pseudo-terminal, and what its screen shows.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::libc::winsize;
use nix::pty::openpty;
use nix::sys::termios::{Termios, tcgetattr};
use parlor::clock;

use super::DEADLINE;

/// A running program with a terminal of its own.
pub(crate) struct InTerminal {
    pub child: Child,
    keyboard: fs::File,
    output: Receiver<Vec<u8>>,
    screen: Screen,
    /// The modes of the terminal before the program started.
    modes: Termios,
}

impl InTerminal {
    /// Starts a program whose terminal has this many columns and lines.
    pub(crate) fn start(mut command: Command, columns: u16, lines: u16) -> InTerminal {
        let size = winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let terminal = openpty(Some(&size), None).expect("a terminal");
        let modes = tcgetattr(&terminal.slave).expect("modes");
        let slave = || terminal.slave.try_clone().expect("a descriptor");
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("the program starts");
        // The command holds copies of the terminal, which would keep it open.
        drop(command);
        let master = fs::File::from(terminal.master);
        let keyboard = master.try_clone().expect("a descriptor");
        InTerminal {
            child,
            keyboard,
            output: read_all(master),
            screen: Screen::new(columns.into(), lines.into()),
            modes,
        }
    }

    /// Whether anything was written in a color.
    pub(crate) fn has_colors(&self) -> bool {
        self.screen.has_colors
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("pressed");
    }

    /// Waits until the screen is as expected, and returns its lines.
    pub(crate) fn wait_for(&mut self, subject: &str, is_shown: impl Fn(&str) -> bool) -> String {
        let end = clock::now().mono + DEADLINE;
        loop {
            let shown = self.screen.text();
            if is_shown(&shown) {
                return shown;
            }
            let left = end.since(clock::now().mono);
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.screen.write(&bytes),
                Err(_) => panic!("waited too long for {subject}; the screen shows:\n{shown}"),
            }
        }
    }

    /// Waits for the end of the program. Asserts that it has restored the terminal, and returns its status
    /// with what the primary screen shows.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("the program ends");
        let modes = tcgetattr(&self.keyboard).expect("modes");
        assert_eq!(modes, self.modes, "raw mode is left");
        while let Ok(bytes) = self.output.recv_timeout(DEADLINE) {
            self.screen.write(&bytes);
        }
        assert!(!self.screen.is_alternate, "the primary screen is shown");
        assert!(self.screen.has_cursor, "the cursor is shown");
        (status, self.screen.text())
    }
}

impl Drop for InTerminal {
    fn drop(&mut self) {
        // After a failure; else it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a parameter of SGR selects another color than the default.
fn is_color(parameter: &str) -> bool {
    let number = parameter.parse().unwrap_or(0);
    matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107)
}

/// Reads a terminal in a thread. Reading ends with an error when no process has the terminal open.
fn read_all(mut master: fs::File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match master.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if sender.send(buffer[..count].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// The cells of a terminal, as far as the tests need them: text, line ends, cursor positions, and the switch to
/// the alternate screen.
struct Screen {
    cells: Vec<Vec<char>>,
    primary: Option<Vec<Vec<char>>>,
    row: usize,
    column: usize,
    is_alternate: bool,
    has_cursor: bool,
    /// Whether anything was written in a color.
    has_colors: bool,
    /// Bytes of an incomplete sequence or character.
    rest: Vec<u8>,
}

impl Screen {
    fn new(columns: usize, lines: usize) -> Screen {
        Screen {
            cells: vec![vec![' '; columns]; lines],
            primary: None,
            row: 0,
            column: 0,
            is_alternate: false,
            has_cursor: true,
            has_colors: false,
            rest: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let lines = self.cells.iter();
        let lines = lines.map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn write(&mut self, bytes: &[u8]) {
        self.rest.extend(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.rest.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.rest, rest)).expect("checked");
        let mut left = &text[..];
        while let Some(c) = left.chars().next() {
            let Some(length) = self.next(c, left) else {
                // The rest of the sequence has not arrived.
                self.rest.splice(0..0, left.bytes());
                return;
            };
            left = &left[length..];
        }
    }

    /// Handles one character or sequence and returns its length; `None` if it is incomplete.
    fn next(&mut self, c: char, text: &str) -> Option<usize> {
        match c {
            '\r' => self.column = 0,
            '\n' => self.row = (self.row + 1).min(self.cells.len() - 1),
            '\x1b' if text.starts_with("\x1b[") => {
                let end = text[2..].find(|c: char| ('@'..='~').contains(&c))?;
                self.control(&text[2..2 + end], &text[2 + end..=2 + end]);
                return Some(end + 3);
            }
            '\x1b' => return (text.len() > 1).then_some(2),
            c => {
                if let Some(cell) = self.cells[self.row].get_mut(self.column) {
                    *cell = c;
                }
                self.column += 1;
            }
        }
        Some(c.len_utf8())
    }

    fn control(&mut self, parameters: &str, code: &str) {
        let number = |index: usize| -> usize {
            let number = parameters.split(';').nth(index);
            number.and_then(|text| text.parse().ok()).unwrap_or(1)
        };
        match (parameters, code) {
            (_, "H") => {
                self.row = (number(0) - 1).min(self.cells.len() - 1);
                self.column = number(1) - 1;
            }
            ("2", "J") => self.cells.iter_mut().for_each(|line| line.fill(' ')),
            ("?1049", "h") => {
                self.is_alternate = true;
                self.primary = Some(self.cells.clone());
            }
            ("?1049", "l") => {
                self.is_alternate = false;
                self.cells = self.primary.take().expect("the alternate screen");
            }
            ("?25", switch) => self.has_cursor = switch == "h",
            (_, "m") => self.has_colors |= parameters.split(';').any(is_color),
            (parameters, code) => panic!("the test knows no sequence {parameters}{code}"),
        }
    }
}

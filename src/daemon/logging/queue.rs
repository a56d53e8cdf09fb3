//! The bounded queue of log lines between the server's threads and the one thread that writes to
//! standard error. A reader that stops reading blocks only that thread.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Memory limit of the queue: about 4,000 lines.
const CAPACITY_BYTES: usize = 1 << 20;
/// Memory per line besides its text.
const LINE_OVERHEAD_BYTES: usize = 32;
/// Maximum bytes of one write. Writes of up to `PIPE_BUF` (4096 on Linux) to a pipe are atomic, so that
/// a process that ends in the middle leaves no partial line.
const WRITE_BYTES: usize = 4096;
/// Wait before the next attempt if standard error is non-blocking and full.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A handle on the queue; clones share it.
#[derive(Clone)]
pub(crate) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Lines were added, or written.
    changed: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of all lines, overhead included.
    bytes: usize,
    /// The writer is writing lines, or is about to report dropped lines.
    busy: bool,
    /// Dropped lines that were not reported yet.
    unannounced: u64,
    /// The last write failed: standard error has no reader.
    broken: bool,
}

/// The next step of the writer.
enum Step {
    Write { text: Vec<u8>, lines: u64 },
    Announce(u64),
}

impl Queue {
    /// Starts the thread that writes to `out`. It calls `announce` with the number of dropped lines
    /// when the queue is empty again; `announce` may push a line.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(
        mut out: impl Write + Send + 'static,
        announce: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Queue> {
        let queue = Queue {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changed: Condvar::new(),
                dropped: Counter::default(),
            }),
        };
        let shared = queue.shared.clone();
        let writer = thread::Builder::new().name("log".to_owned());
        writer.spawn(move || {
            loop {
                match shared.next() {
                    Step::Write { text, lines } => {
                        let written = write_whole(&mut out, &text);
                        shared.wrote(lines, written.is_ok());
                    }
                    Step::Announce(count) => {
                        announce(count);
                        shared.wrote(0, true);
                    }
                }
            }
        })?;
        Ok(queue)
    }

    /// Adds a line, with its line feed, or drops and counts it if the queue is full. Never waits for the
    /// reader.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.shared.locked();
        let size = line.len() + LINE_OVERHEAD_BYTES;
        if state.bytes + size > CAPACITY_BYTES {
            state.unannounced += 1;
            self.shared.dropped.inc();
            return;
        }
        state.bytes += size;
        state.lines.push_back(line.to_vec());
        self.shared.changed.notify_all();
    }

    /// Waits at most `timeout` until the queue is empty; returns whether it is.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let pending = |state: &mut State| {
            !state.lines.is_empty() || state.busy || (state.unannounced > 0 && !state.broken)
        };
        let (shared, state) = (&self.shared, self.shared.locked());
        let waited = shared.changed.wait_timeout_while(state, timeout, pending);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out()
    }

    /// Counts the lines that were lost: the queue was full, or standard error could not be written.
    pub(crate) fn dropped(&self) -> &Counter {
        &self.shared.dropped
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next thing to do.
    fn next(&self) -> Step {
        let idle =
            |state: &mut State| state.lines.is_empty() && (state.unannounced == 0 || state.broken);
        let state = self.changed.wait_while(self.locked(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.busy = true;
        if state.lines.is_empty() {
            return Step::Announce(std::mem::take(&mut state.unannounced));
        }
        let (mut text, mut lines) = (Vec::new(), 0);
        while let Some(line) = state.lines.front()
            && (lines == 0 || text.len() + line.len() <= WRITE_BYTES)
        {
            text.extend_from_slice(line);
            lines += 1;
            state.bytes -= line.len() + LINE_OVERHEAD_BYTES;
            state.lines.pop_front();
        }
        Step::Write { text, lines }
    }

    fn wrote(&self, lines: u64, success: bool) {
        let mut state = self.locked();
        state.busy = false;
        state.broken = !success;
        if !success {
            state.unannounced += lines;
            self.dropped.inc_by(lines);
        }
        self.changed.notify_all();
    }
}

/// Writes all bytes, without a timeout.
fn write_whole(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match out.write(text) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_DELAY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Receives one event: `tracing-subscriber` writes each event with one call.
pub(crate) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// A reader that reads on command, and a reader that was closed.
    struct Pipe {
        allowed: Receiver<bool>,
        taken: Sender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            match self.allowed.recv() {
                Ok(true) => {}
                _ => return Err(ErrorKind::BrokenPipe.into()),
            }
            // The receiver may be dropped.
            let _ = self.taken.send(String::from_utf8_lossy(text).into_owned());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (Queue, Sender<bool>, Receiver<String>, Receiver<u64>) {
        let (allow, allowed) = channel();
        let (taken, text) = channel();
        let (announce, announced) = channel();
        let queue = Queue::start(Pipe { allowed, taken }, move |count| {
            announce.send(count).expect("a test that waits");
        });
        (queue.unwrap(), allow, text, announced)
    }

    #[test]
    fn a_reader_that_stops_loses_lines_that_are_counted_and_announced_once() {
        let (queue, allow, text, announced) = start();
        let line = [b'x'; 1000];
        let room = CAPACITY_BYTES / (line.len() + LINE_OVERHEAD_BYTES);
        // The writer has removed at most four lines, and waits for its reader.
        for _ in 0..room + 104 {
            queue.push(&line);
        }
        let dropped = queue.dropped().get();
        assert!((100..=104).contains(&dropped), "{dropped}");
        assert!(!queue.flush(Duration::from_millis(1)));
        for _ in 0..=room {
            allow.send(true).unwrap();
        }
        assert!(queue.flush(DEADLINE));
        assert_eq!(announced.try_iter().collect::<Vec<_>>(), [dropped]);
        let kept: usize = text.try_iter().map(|text| text.len() / line.len()).sum();
        assert_eq!(kept as u64 + dropped, room as u64 + 104);
        queue.push(b"last\n");
        assert!(queue.flush(DEADLINE));
        assert_eq!(text.recv().as_deref(), Ok("last\n"));
        assert!(announced.try_recv().is_err());
    }

    #[test]
    fn lines_stay_whole_and_ordered_in_atomic_writes() {
        let (queue, allow, text, _announced) = start();
        let lines: Vec<_> = (0..300)
            .map(|n| format!("line {n} {}\n", "y".repeat(n)))
            .collect();
        for line in &lines {
            queue.push(line.as_bytes());
            allow.send(true).unwrap();
        }
        assert!(queue.flush(DEADLINE));
        let written: Vec<_> = text.try_iter().collect();
        assert_eq!(written.concat(), lines.concat());
        for text in written {
            assert!(text.ends_with('\n') && text.len() <= WRITE_BYTES);
        }
    }

    #[test]
    fn without_a_reader_flushing_does_not_block_and_lines_count_as_dropped() {
        let (queue, allow, text, announced) = start();
        allow.send(false).unwrap();
        queue.push(b"lost\n");
        assert!(queue.flush(DEADLINE));
        assert_eq!(queue.dropped().get(), 1);
        assert!(announced.try_recv().is_err());
        allow.send(true).unwrap();
        queue.push(b"read\n");
        assert!(queue.flush(DEADLINE));
        assert_eq!(text.recv().as_deref(), Ok("read\n"));
        assert_eq!(announced.recv(), Ok(1));
    }
}

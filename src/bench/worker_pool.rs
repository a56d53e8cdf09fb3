//! The threads of the generator, which all execute the same command at a time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::admin::Failure;

use super::login::Login;
use super::media::{Run, RunStats};
use super::shared::Shared;
use super::target::Target;
use super::worker::{AllocationResult, Worker, merge};

/// Interval for showing progress while the threads work.
const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Command {
    Allocate { pairs: usize, timeout: Duration },
    Run(Run),
    Release,
}

enum Report {
    AllocationResult(AllocationResult),
    RunStats(Box<RunStats>),
    Released,
    Failed(io::Error),
}

pub(super) struct WorkerPool {
    pub shared: Arc<Shared>,
    commands: Vec<Sender<Command>>,
    reports: Receiver<Report>,
}

impl WorkerPool {
    /// # Errors
    /// The system provides no threads or pollers.
    pub(super) fn start(
        threads: usize,
        target: Target,
        login: Login,
        stop: Arc<AtomicBool>,
    ) -> Result<WorkerPool, Failure> {
        let shared = Arc::new(Shared {
            target,
            login,
            stop,
            ready: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let (reporter, reports) = mpsc::channel();
        let mut commands = Vec::new();
        for index in 0..threads {
            let (sender, inbox) = mpsc::channel();
            let mut worker = Worker::new(shared.clone(), (threads, index))?;
            let reporter = reporter.clone();
            thread::Builder::new()
                .name(format!("bench-{index}"))
                .spawn(move || {
                    for command in inbox {
                        // The receiver is gone if the run was aborted.
                        let _ = reporter.send(execute(&mut worker, command));
                    }
                })?;
            commands.push(sender);
        }
        Ok(WorkerPool {
            shared,
            commands,
            reports,
        })
    }

    /// Allocates until there are `calls` calls of `pairs` pairs each, or until no more are possible.
    /// Returns the number of complete calls.
    pub(super) fn allocate(
        &self,
        calls: usize,
        pairs: usize,
        timeout: Duration,
        on_tick: impl FnMut(),
    ) -> Result<(usize, AllocationResult), Failure> {
        let command = |calls| Command::Allocate {
            pairs: calls * pairs,
            timeout,
        };
        let mut all = AllocationResult::default();
        let mut whole = 0;
        for report in self.run_all(calls, command, on_tick)? {
            if let Report::AllocationResult(allocated) = report {
                whole += allocated.pairs / pairs;
                all.pairs += allocated.pairs;
                all.server_responded |= allocated.server_responded;
                merge(&mut all.errors, &allocated.errors);
            }
        }
        Ok((whole, all))
    }

    /// Exchanges media in `calls` calls, whose allocations exist.
    pub(super) fn run(
        &self,
        calls: usize,
        run: Run,
        on_tick: impl FnMut(),
    ) -> Result<RunStats, Failure> {
        self.shared.sent.store(0, Ordering::Relaxed);
        let mut all = RunStats::empty();
        for report in self.run_all(calls, |calls| Command::Run(Run { calls, ..run }), on_tick)? {
            if let Report::RunStats(stats) = report {
                all.merge(&stats);
            }
        }
        Ok(all)
    }

    /// Frees all allocations.
    pub(super) fn release(&self) -> Result<(), Failure> {
        self.run_all(0, |_| Command::Release, || {}).map(drop)
    }

    /// Gives each thread its share of the calls, and waits for all threads.
    fn run_all(
        &self,
        calls: usize,
        command: impl Fn(usize) -> Command,
        mut on_tick: impl FnMut(),
    ) -> Result<Vec<Report>, Failure> {
        let threads = self.commands.len();
        let ended = || Failure::new("a thread of the generator has ended unexpectedly");
        for (index, commands) in self.commands.iter().enumerate() {
            let share = calls / threads + usize::from(index < calls % threads);
            commands.send(command(share)).map_err(|_| ended())?;
        }
        let mut reports = Vec::new();
        while reports.len() < threads {
            match self.reports.recv_timeout(TICK) {
                Ok(Report::Failed(error)) => return Err(error.into()),
                Ok(report) => reports.push(report),
                Err(RecvTimeoutError::Timeout) => on_tick(),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
        Ok(reports)
    }
}

fn execute(worker: &mut Worker, command: Command) -> Report {
    let report = match command {
        Command::Allocate { pairs, timeout } => worker
            .allocate(pairs, timeout)
            .map(Report::AllocationResult),
        Command::Run(run) => worker
            .run(run)
            .map(|stats| Report::RunStats(Box::new(stats))),
        Command::Release => worker.release().map(|()| Report::Released),
    };
    report.unwrap_or_else(Report::Failed)
}

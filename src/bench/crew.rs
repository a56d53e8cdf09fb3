//! The threads of the generator, told what to do all at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::admin::Failure;

use super::login::Login;
use super::media::{Ran, Run};
use super::target::Target;
use super::worker::{Grown, Worker, merge};

/// How often whoever waits for the threads looks up.
const GLANCE: Duration = Duration::from_millis(100);

/// What all threads know.
pub struct Shared {
    pub target: Target,
    pub login: Login,
    /// Set by a signal: everything ends soon.
    pub stop: Arc<AtomicBool>,
    /// For whoever watches: clients that are ready, and packets sent.
    pub ready: AtomicU64,
    pub sent: AtomicU64,
}

impl Shared {
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy)]
enum Order {
    Grow { pairs: usize, patience: Duration },
    Run(Run),
    Release,
}

enum Report {
    Grown(Grown),
    Ran(Box<Ran>),
    Released,
    Failed(io::Error),
}

pub struct Crew {
    pub shared: Arc<Shared>,
    orders: Vec<Sender<Order>>,
    reports: Receiver<Report>,
}

impl Crew {
    /// # Errors
    /// Where the system gives no threads or pollers.
    pub fn start(
        threads: usize,
        target: Target,
        login: Login,
        stop: Arc<AtomicBool>,
    ) -> Result<Crew, Failure> {
        let shared = Arc::new(Shared {
            target,
            login,
            stop,
            ready: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let (reporter, reports) = mpsc::channel();
        let mut orders = Vec::new();
        for seat in 0..threads {
            let (sender, inbox) = mpsc::channel();
            let mut worker = Worker::new(shared.clone(), (threads, seat))?;
            let reporter = reporter.clone();
            thread::Builder::new()
                .name(format!("bench-{seat}"))
                .spawn(move || {
                    for order in inbox {
                        // Nobody reads it where the run was given up.
                        let _ = reporter.send(carried_out(&mut worker, order));
                    }
                })?;
            orders.push(sender);
        }
        Ok(Crew {
            shared,
            orders,
            reports,
        })
    }

    /// Allocates until there are `calls` calls of so many pairs each, or as many as there can be.
    /// Gives how many whole calls there are.
    pub fn grow(
        &self,
        calls: usize,
        pairs: usize,
        patience: Duration,
        glance: impl FnMut(),
    ) -> Result<(usize, Grown), Failure> {
        let order = |calls| Order::Grow {
            pairs: calls * pairs,
            patience,
        };
        let mut all = Grown::default();
        let mut whole = 0;
        for report in self.all_do(calls, order, glance)? {
            if let Report::Grown(grown) = report {
                whole += grown.pairs / pairs;
                all.pairs += grown.pairs;
                all.heard |= grown.heard;
                merge(&mut all.troubles, &grown.troubles);
            }
        }
        Ok((whole, all))
    }

    /// Has `calls` calls exchange media; what they need has been allocated.
    pub fn run(&self, calls: usize, run: Run, glance: impl FnMut()) -> Result<Ran, Failure> {
        self.shared.sent.store(0, Ordering::Relaxed);
        let mut all = Ran::nothing();
        for report in self.all_do(calls, |calls| Order::Run(Run { calls, ..run }), glance)? {
            if let Report::Ran(ran) = report {
                all.merge(&ran);
            }
        }
        Ok(all)
    }

    /// Gives every allocation back.
    pub fn release(&self) -> Result<(), Failure> {
        self.all_do(0, |_| Order::Release, || {}).map(drop)
    }

    /// Gives each thread its share of the calls, and waits for all of them.
    fn all_do(
        &self,
        calls: usize,
        order: impl Fn(usize) -> Order,
        mut glance: impl FnMut(),
    ) -> Result<Vec<Report>, Failure> {
        let threads = self.orders.len();
        let ended = || Failure::refused("a thread of the generator has ended unexpectedly");
        for (seat, orders) in self.orders.iter().enumerate() {
            let share = calls / threads + usize::from(seat < calls % threads);
            orders.send(order(share)).map_err(|_| ended())?;
        }
        let mut reports = Vec::new();
        while reports.len() < threads {
            match self.reports.recv_timeout(GLANCE) {
                Ok(Report::Failed(error)) => return Err(error.into()),
                Ok(report) => reports.push(report),
                Err(RecvTimeoutError::Timeout) => glance(),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
        Ok(reports)
    }
}

fn carried_out(worker: &mut Worker, order: Order) -> Report {
    let report = match order {
        Order::Grow { pairs, patience } => worker.grow(pairs, patience).map(Report::Grown),
        Order::Run(run) => worker.run(run).map(|ran| Report::Ran(Box::new(ran))),
        Order::Release => worker.release().map(|()| Report::Released),
    };
    report.unwrap_or_else(Report::Failed)
}

//! The table of results, in the form of `docs/inside/performance.md`.

use nix::sys::resource::{UsageWho, getrusage};
use parlor::clock::{Mono, now};

pub(crate) fn head() {
    println!(
        "| | floor | plain | to the floor | extended | to the floor | extended − plain | target | others on the cores |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
}

/// Prints a figure of the floor, of plain and of `parlor.v1` clients.
pub(crate) fn row(name: &str, figures: [Option<f64>; 3], target: &str, others: f64) {
    let [floor, plain, extended] = figures;
    let ratio = |figure: Option<f64>| Some(figure? / floor?);
    let difference = extended.zip(plain).map(|(one, other)| one - other);
    let cells = [
        cell(floor, 1),
        cell(plain, 1),
        cell(ratio(plain), 2),
        cell(extended, 1),
        cell(ratio(extended), 2),
        cell(difference, 1),
    ];
    println!(
        "| {name} | {} | {target} | {others:.0} % |",
        cells.join(" | ")
    );
}

fn cell(figure: Option<f64>, digits: usize) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.digits$}"))
}

pub(crate) fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// The CPU time of other programs while something is measured.
pub(crate) struct OtherLoad {
    since: Mono,
    /// Seconds of CPU time.
    all: f64,
    own: f64,
}

impl OtherLoad {
    pub(crate) fn start() -> OtherLoad {
        OtherLoad {
            since: now().mono,
            all: busy_seconds(),
            own: own_seconds(),
        }
    }

    /// In percent of one core.
    pub(crate) fn percent(&self) -> f64 {
        let spent = (busy_seconds() - self.all) - (own_seconds() - self.own);
        100.0 * spent / now().mono.since(self.since).as_secs_f64()
    }
}

/// CPU time of all programs and of the host's other guests.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields = line.split_whitespace().skip(1);
    let fields: Vec<f64> = fields.map(|field| field.parse().unwrap_or(0.0)).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = fields.iter().take(8).enumerate();
    let busy = busy.filter(|(index, _)| !matches!(index, 3 | 4));
    busy.map(|(_, ticks)| ticks / 100.0).sum()
}

/// CPU time of this process, and of the servers that have ended.
fn own_seconds() -> f64 {
    let spent = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(|who| {
        getrusage(who).map_or(0.0, |usage| {
            let times = [usage.user_time(), usage.system_time()];
            let seconds = times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
            seconds.iter().sum()
        })
    });
    spent.iter().sum()
}

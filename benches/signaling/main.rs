//! Signaling beside its floor: the real binary and a bare tokio-tungstenite echo, in one run.
//!
//! ```sh
//! cargo bench --bench signaling            # everything, a minute
//! cargo bench --bench signaling -- storm   # one scenario
//! ```
//!
//! The server has core 0, the load core 1 (by `taskset`, where it is installed). Each figure is
//! the median of three runs. What counts is the ratio: absolute figures are the machine's.

mod load;
mod server;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use server::{Contender, Server};

const RUNS: usize = 3;

/// One thing that is measured.
struct Scenario {
    name: &'static str,
    unit: &'static str,
    /// People, eight to a room.
    people: usize,
    measure: fn(&Server, usize) -> f64,
    /// The goal, printed beside the results.
    target: &'static str,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "flood",
        unit: "server µs per directed message",
        people: 200,
        measure: load::flood,
        target: "at most 1.5 × the floor",
    },
    Scenario {
        name: "storm",
        unit: "server µs per connection that is cut and comes back",
        people: 2000,
        measure: load::storm,
        target: "at most 2 × the floor, and a JWT and a membership check",
    },
    Scenario {
        name: "idle",
        unit: "bytes of memory per idle connection",
        people: 5000,
        measure: load::idle,
        target: "at most 10 KB",
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--floor") => server::echo(),
        Some("--pinned") => measure(&arguments[1..]),
        Some("--world") => world(&arguments[1..]),
        _ => return pinned(&arguments),
    }
    ExitCode::SUCCESS
}

/// Makes a data directory full of people, for measurements with other tools.
fn world(arguments: &[String]) {
    let [folder, people, ..] = arguments else {
        panic!("--world FOLDER PEOPLE");
    };
    let people = people.parse().expect("a number of people");
    server::populate(&Path::new(folder).join("parlor.db"), people);
}

/// Runs this program once more, on a core that the server does not use.
fn pinned(arguments: &[String]) -> ExitCode {
    let program = env::current_exe().expect("a path of this program");
    let mut command = server::on_core(1, &program);
    let status = command.arg("--pinned").args(arguments).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn measure(arguments: &[String]) {
    let selected: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    for scenario in SCENARIOS {
        if !selected.is_empty() && !selected.iter().any(|selected| *selected == scenario.name) {
            continue;
        }
        let [floor, parlor] = [Contender::Floor, Contender::Parlor].map(|contender| {
            let run = || {
                let server = Server::start(contender, scenario.people);
                (scenario.measure)(&server, scenario.people)
            };
            median(std::iter::repeat_with(run).take(RUNS).collect())
        });
        let Scenario {
            name, unit, target, ..
        } = scenario;
        println!("{name}: {unit}");
        let ratio = parlor / floor;
        println!("  floor {floor:.2}   parlor {parlor:.2}   ratio {ratio:.2}   ({target})");
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Whether a command can be run at all.
fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

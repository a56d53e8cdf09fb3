//! Signaling beside its floor: plain clients, `parlor.v1` clients and a bare tokio-tungstenite echo, in one run.
//!
//! ```sh
//! cargo bench --bench signaling                # everything, eight minutes
//! cargo bench --bench signaling -- storm idle  # some scenarios
//! cargo bench --bench signaling -- smoke       # everything with few people, without meaningful figures
//! ```
//!
//! The server has core 0, the load core 1 (by `taskset`, where it is installed). The three take turns, and each
//! figure is the median of three runs. What counts is the ratio: absolute figures are the machine's.

mod client;
mod entry;
mod floor;
mod load;
mod paced;
mod server;
mod table;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use load::Plan;
use server::{Contender, ROOM, Server};

const RUNS: usize = 3;
/// Longer than the interval in which frames are acknowledged, and than the time after which the others learn of
/// a lost connection.
const SETTLING: Duration = Duration::from_secs(8);

/// One thing that is measured.
struct Scenario {
    name: &'static str,
    /// People, eight to a room.
    people: usize,
    span: Duration,
    measure: fn(&Rc<Server>, Plan) -> Vec<f64>,
    has_floor: bool,
    figures: &'static [Figure],
}

/// A result of a scenario.
struct Figure {
    name: &'static str,
    target: &'static str,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "idle",
        people: 5000,
        span: Duration::ZERO,
        measure: load::idle,
        has_floor: true,
        figures: &[Figure {
            name: "memory per idle connection (5,000), bytes",
            target: "≤ 8,000",
        }],
    },
    Scenario {
        name: "flood",
        people: 200,
        span: Duration::from_secs(4),
        measure: load::flood,
        has_floor: true,
        figures: &[Figure {
            name: "directed messages, flood: server µs each",
            target: "≤ 1.5 × floor",
        }],
    },
    Scenario {
        name: "directed",
        people: 200,
        span: Duration::from_secs(5),
        measure: paced::directed,
        has_floor: true,
        figures: &[
            Figure {
                name: "directed at 5,000/s: server µs each",
                target: "≤ 1.2 × floor",
            },
            Figure {
                name: "directed at 5,000/s: median of the latency, µs",
                target: "",
            },
            Figure {
                name: "directed at 5,000/s: p99 of the latency, µs",
                target: "",
            },
        ],
    },
    Scenario {
        name: "storm",
        people: 2000,
        span: Duration::ZERO,
        measure: load::storm,
        has_floor: true,
        figures: &[Figure {
            name: "2,000 connections cut and back: server µs each",
            target: "≤ 2 × floor, and a JWT and a membership check",
        }],
    },
    Scenario {
        name: "frozen",
        people: 200,
        span: Duration::from_secs(8),
        measure: paced::frozen,
        has_floor: false,
        figures: &[
            Figure {
                name: "one frozen reader per room: messages of the others lost",
                target: "none",
            },
            Figure {
                name: "one frozen reader per room: closed, %",
                target: "100",
            },
            Figure {
                name: "one frozen reader per room: memory at the end, MB",
                target: "bounded",
            },
        ],
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--floor") => floor::echo(),
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
    let (smoke, selected): (Vec<_>, Vec<_>) = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .partition(|argument| *argument == "smoke");
    let is_smoke = !smoke.is_empty();
    table::head();
    for scenario in SCENARIOS {
        if selected.is_empty() || selected.contains(&&scenario.name.to_owned()) {
            scenario.run(is_smoke);
        }
    }
    if selected.is_empty() || selected.contains(&&"storm".to_owned()) {
        let figure = entry::check(if is_smoke { 2 * ROOM } else { 2000 });
        println!("\nA JWT and a membership check: {figure:.1} µs each.");
    }
}

impl Scenario {
    fn plan(&self, is_smoke: bool) -> Plan {
        if is_smoke {
            return Plan {
                people: 2 * ROOM,
                warm_up: Duration::from_millis(100),
                span: self.span / 16,
                settling: Duration::from_millis(200),
            };
        }
        Plan {
            people: self.people,
            warm_up: Duration::from_secs(1),
            span: self.span,
            settling: SETTLING,
        }
    }

    /// Measures, and prints the rows of the table.
    fn run(&self, is_smoke: bool) {
        let plan = self.plan(is_smoke);
        let mut results = [Contender::Floor, Contender::Plain, Contender::Extended].map(|one| {
            let runs: Vec<Vec<f64>> = Vec::new();
            (one, runs)
        });
        let load = table::OtherLoad::start();
        for _ in 0..if is_smoke { 1 } else { RUNS } {
            for (contender, runs) in &mut results {
                if self.has_floor || *contender != Contender::Floor {
                    let server = Server::start(*contender, plan.people);
                    runs.push((self.measure)(&server, plan));
                }
            }
        }
        let others = load.percent();
        for (index, figure) in self.figures.iter().enumerate() {
            let medians = results
                .each_ref()
                .map(|(_, runs)| table::median(runs.iter().map(|run| run[index])));
            table::row(figure.name, medians, figure.target, others);
        }
    }
}

/// Whether a command can be run at all.
fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

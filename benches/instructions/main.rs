//! Instruction counts of the state machines. callgrind counts them, so they do not depend on the
//! load of the machine.
//!
//! ```sh
//! cargo bench --bench instructions             # count, and compare with expected.txt
//! cargo bench --bench instructions -- --renew  # count, and write expected.txt
//! ```
//!
//! The benchmark fails if an operation costs more than `expected.txt` allows, or if a packet costs
//! more with more allocations. Time, seed and bytes are arguments of the state machines, so counts
//! differ only by the random keys of the hash tables. They depend on the compiler, which
//! `expected.txt` names.

mod callgrind;
mod expected;
mod relay;
mod rooms;

use std::env;
use std::process::ExitCode;

use callgrind::Count;
use expected::Expected;

/// Tolerated increase of a packet's cost from 4 to 8,000 allocations, in percent.
const MAX_GROWTH_PERCENT: u64 = 10;

fn main() -> ExitCode {
    let has_argument = |name: &str| env::args().any(|argument| argument == name);
    if has_argument(callgrind::COUNTED) {
        relay::cases();
        rooms::cases();
        return ExitCode::SUCCESS;
    }
    let outcome = callgrind::run().and_then(|counts| {
        if has_argument("--renew") {
            expected::write(&counts)
        } else {
            compare(&counts)
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("instructions: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Compares the counts with the expected ones, and prints them.
fn compare(counts: &[Count]) -> Result<(), String> {
    let expected = Expected::read()?;
    let mut faults = expected.faults(counts);
    faults.extend(growth(counts));
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n  If this is intended, run `cargo bench --bench instructions -- --renew` and give the reason \
         in the commit.",
        faults.join("\n  ")
    ))
}

/// Returns a message for each case whose cost grows with the number of allocations.
fn growth(counts: &[Count]) -> Vec<String> {
    let [few, _, many] = relay::SIZES;
    let mut faults = Vec::new();
    for Count { name, instructions } in counts {
        let Some(what) = name.strip_suffix(&relay::among(many)) else {
            continue;
        };
        let base = format!("{what}{}", relay::among(few));
        let base = counts.iter().find(|count| count.name == base);
        let least = base.expect("every size has every case").instructions;
        if instructions * 100 > least * (100 + MAX_GROWTH_PERCENT) {
            faults.push(format!(
                "{what}: {least} instructions among {few} allocations, {instructions} among {many}"
            ));
        }
    }
    faults
}

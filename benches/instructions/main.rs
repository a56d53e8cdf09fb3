//! How many instructions the core spends: counted by callgrind, so that no noise disturbs them.
//!
//! ```sh
//! cargo bench --bench instructions             # count, and compare with expected.txt
//! cargo bench --bench instructions -- --renew  # count, and write expected.txt
//! ```
//!
//! It fails where something costs more than `expected.txt` allows, or where a packet costs more
//! because there are more allocations. Time, seed and bytes are arguments of the state machines, so
//! that the same program counts the same but for the keys of its hash tables. What the counts do
//! depend on is the compiler, which is written down with them.

mod callgrind;
mod expected;
mod relay;
mod rooms;

use std::env;
use std::process::ExitCode;

use callgrind::Count;
use expected::Expected;

/// How much more a packet may cost with 8,000 allocations than with four, in per cent.
const GROWTH: u64 = 10;

fn main() -> ExitCode {
    let asked = |argument: &str| env::args().any(|given| given == argument);
    if asked(callgrind::COUNTED) {
        relay::cases();
        rooms::cases();
        return ExitCode::SUCCESS;
    }
    let outcome = callgrind::run().and_then(|counts| match asked("--renew") {
        true => expected::write(&counts),
        false => judge(&counts),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("instructions: {complaint}");
            ExitCode::FAILURE
        }
    }
}

/// Prints every count, and says what is wrong with them.
fn judge(counts: &[Count]) -> Result<(), String> {
    let expected = Expected::read()?;
    let mut faults = expected.faults(counts);
    faults.extend(growth(counts));
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n  Is it meant to be so? Then `cargo bench --bench instructions -- --renew` and say why \
         in the commit.",
        faults.join("\n  ")
    ))
}

/// The cases whose cost grows with the number of allocations.
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
        if instructions * 100 > least * (100 + GROWTH) {
            faults.push(format!(
                "{what}: {least} instructions among {few} allocations, {instructions} among {many}"
            ));
        }
    }
    faults
}

//! Runs this program again under callgrind, which counts the instructions of one function and
//! writes a dump each time it returns.

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

/// The argument of this program under callgrind.
pub(crate) const COUNTED: &str = "--counted";

/// The cost of one operation.
pub(crate) struct Count {
    pub name: String,
    /// Instructions of one operation.
    pub instructions: u64,
}

/// Under callgrind: counts `act` for each of `inputs`, and prints the name of the dump.
pub(crate) fn count<T>(name: &str, inputs: &mut [T], mut act: impl FnMut(&mut T)) {
    println!("{} {name}", inputs.len());
    count_instructions(&mut || {
        for input in inputs.iter_mut() {
            act(black_box(input));
        }
    });
}

/// The function's name for callgrind, which writes no dump for a pattern.
const COUNTED_FUNCTION: &str = "instructions::callgrind::count_instructions";

#[inline(never)]
fn count_instructions(act: &mut dyn FnMut()) {
    act();
    // Without this the call becomes a jump, and the function has no return to dump at.
    black_box(());
}

/// Returns all counts, in the order of the cases.
pub(crate) fn run() -> Result<Vec<Count>, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let out = folder.path().join("counts");
    let program = env::current_exe().map_err(|error| format!("no path of this: {error}"))?;
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={COUNTED_FUNCTION}"))
        .arg(format!("--dump-after={COUNTED_FUNCTION}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(COUNTED)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("valgrind (apt-get install valgrind): {error}"))?;
    if !ran.status.success() {
        return Err(format!("under valgrind: {}", ran.status));
    }
    let cases = String::from_utf8_lossy(&ran.stdout);
    let dumps = (1..).map(|number| out.with_extension(number.to_string()));
    cases
        .lines()
        .zip(dumps)
        .map(|(case, dump)| read(case, &dump))
        .collect()
}

fn read(case: &str, dump: &Path) -> Result<Count, String> {
    let text = fs::read_to_string(dump).map_err(|error| format!("no counts of {case}: {error}"))?;
    let mut lines = text.lines();
    let total = lines.find_map(|line| line.strip_prefix("summary: ")?.trim().parse::<u64>().ok());
    let (times, name) = case.split_once(' ').ok_or("a case without a name")?;
    let times: u64 = times.parse().map_err(|_| "a case without a number")?;
    match total {
        Some(total) if total > 0 => Ok(Count {
            name: name.to_owned(),
            instructions: total / times,
        }),
        _ => Err(format!("callgrind counted nothing in {name}")),
    }
}

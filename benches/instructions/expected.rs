//! The counts that are committed, and how far from them is too far.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::callgrind::Count;

/// How much more something may cost, in per cent, compiled by the same compiler. The keys of the
/// hash tables are random: two runs differ by 0.2.
const TOLERANCE: u64 = 5;

/// Compiled by another one.
const TOLERANCE_ELSEWHERE: u64 = 25;

/// How many more it may be in any case: in what is small, a register that is spilled is 3 %.
const SLACK: u64 = 5;

/// What `expected.txt` says.
pub struct Expected {
    compiler: String,
    counts: Vec<Count>,
}

impl Expected {
    pub fn read() -> Result<Expected, String> {
        let path = path();
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut expected = Expected {
            compiler: String::new(),
            counts: Vec::new(),
        };
        for line in text.lines() {
            if let Some(compiler) = line.strip_prefix("# by ") {
                expected.compiler = compiler.to_owned();
            } else if !line.starts_with('#') {
                let (count, name) = line.trim().split_once(' ').ok_or("a line without a name")?;
                expected.counts.push(Count {
                    name: name.to_owned(),
                    instructions: count.parse().map_err(|_| "a line without a count")?,
                });
            }
        }
        Ok(expected)
    }

    /// Prints `counts` beside what was expected, and gives those that are too high.
    pub fn faults(&self, counts: &[Count]) -> Vec<String> {
        let mut tolerance = TOLERANCE;
        let here = compiler();
        if here != self.compiler {
            tolerance = TOLERANCE_ELSEWHERE;
            println!(
                "Expected are counts by {}, these are by {here}.",
                self.compiler
            );
        }
        println!("expected    here");
        let mut faults = Vec::new();
        for Count { name, instructions } in counts {
            let Some(expected) = self.counts.iter().find(|count| count.name == *name) else {
                faults.push(format!("{name}: expected.txt does not have it"));
                continue;
            };
            let expected = expected.instructions;
            let more = *instructions as f64 / expected as f64 * 100.0 - 100.0;
            println!("{expected:8}{instructions:8}  {more:+5.1} %  {name}");
            if *instructions > expected * (100 + tolerance) / 100 + SLACK {
                faults.push(format!(
                    "{name}: {instructions} instructions instead of {expected}, which is \
                     {more:+.1} % ({tolerance} are tolerated)"
                ));
            }
        }
        let gone = self
            .counts
            .iter()
            .filter(|old| !counts.iter().any(|new| new.name == old.name));
        faults.extend(gone.map(|old| format!("{}: it is not counted any more", old.name)));
        faults
    }
}

/// Makes `counts` what is expected from now on.
pub fn write(counts: &[Count]) -> Result<(), String> {
    let mut text = format!(
        "# Instructions of each, counted by `cargo bench --bench instructions -- --renew`\n# by {}\n",
        compiler()
    );
    for Count { name, instructions } in counts {
        text.push_str(&format!("{instructions:8} {name}\n"));
    }
    fs::write(path(), &text).map_err(|error| error.to_string())?;
    print!("{text}");
    Ok(())
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/expected.txt")
}

/// The compiler and what it compiles for, in one line. Some code is chosen when it runs, by what
/// the processor can do; under valgrind that is no more than AVX2.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("--version").output();
    let version = told.map_or_else(|_| Vec::new(), |output| output.stdout);
    let version = String::from_utf8_lossy(&version);
    #[cfg(target_arch = "x86_64")]
    let machine = match std::arch::is_x86_feature_detected!("avx2") {
        true => "x86_64 with AVX2",
        false => "x86_64",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let machine = std::env::consts::ARCH;
    format!("{} for {machine}", version.trim())
}

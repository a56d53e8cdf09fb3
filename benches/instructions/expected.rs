//! The committed counts, and the tolerance.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::callgrind::Count;

/// Tolerated increase in percent, with the same compiler. The keys of the hash tables are random:
/// two runs differ by 0.2 %.
const TOLERANCE_PERCENT: u64 = 5;

/// Tolerated increase in percent, with another compiler.
const TOLERANCE_OTHER_COMPILER_PERCENT: u64 = 25;

/// Tolerated increase in instructions: in a small function, one spilled register is 3 %.
const SLACK_INSTRUCTIONS: u64 = 5;

/// The content of `expected.txt`.
pub(crate) struct Expected {
    compiler: String,
    counts: Vec<Count>,
}

impl Expected {
    pub(crate) fn read() -> Result<Expected, String> {
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

    /// Prints `counts` beside the expected ones, and returns a message for each that is too high.
    pub(crate) fn faults(&self, counts: &[Count]) -> Vec<String> {
        let mut tolerance = TOLERANCE_PERCENT;
        let here = compiler();
        if here != self.compiler {
            tolerance = TOLERANCE_OTHER_COMPILER_PERCENT;
            println!(
                "The expected counts are from {}, these are from {here}.",
                self.compiler
            );
        }
        println!("expected    here");
        let mut faults = Vec::new();
        for Count { name, instructions } in counts {
            let Some(expected) = self.counts.iter().find(|count| count.name == *name) else {
                faults.push(format!("{name}: missing in expected.txt"));
                continue;
            };
            let expected = expected.instructions;
            let more = *instructions as f64 / expected as f64 * 100.0 - 100.0;
            println!("{expected:8}{instructions:8}  {more:+5.1} %  {name}");
            if *instructions > expected * (100 + tolerance) / 100 + SLACK_INSTRUCTIONS {
                faults.push(format!(
                    "{name}: {instructions} instructions instead of {expected}, which is \
                     {more:+.1} % ({tolerance} % are tolerated)"
                ));
            }
        }
        let gone = self
            .counts
            .iter()
            .filter(|old| !counts.iter().any(|new| new.name == old.name));
        faults.extend(gone.map(|old| format!("{}: no case counts it", old.name)));
        faults
    }
}

/// Writes `counts` as the expected ones.
pub(crate) fn write(counts: &[Count]) -> Result<(), String> {
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

/// Returns the compiler and the architecture in one line. Some code is selected at run time by CPU
/// features; valgrind supports features up to AVX2.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let version = String::from_utf8_lossy(&version);
    #[cfg(target_arch = "x86_64")]
    let machine = if std::arch::is_x86_feature_detected!("avx2") {
        "x86_64 with AVX2"
    } else {
        "x86_64"
    };
    #[cfg(not(target_arch = "x86_64"))]
    let machine = std::env::consts::ARCH;
    format!("{} for {machine}", version.trim())
}

//! One command of the real binary at a time, with a cleared environment and directories of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A working directory and an empty data directory in which commands run.
pub(crate) struct Cli {
    env: Vec<(String, String)>,
    data_dir: PathBuf,
    place: TempDir,
}

/// Exit code and output of a command.
pub(crate) struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub(crate) fn new() -> Cli {
        let place = TempDir::new().expect("a temporary directory");
        let data_dir = place.path().join("data");
        std::fs::create_dir(&data_dir).expect("a data directory");
        let text = data_dir.to_str().expect("a plain path").to_owned();
        Cli {
            env: vec![("PARLOR_SERVER__DATA_DIR".to_owned(), text)],
            data_dir,
            place,
        }
    }

    /// Sets a variable for the commands that follow; a later value counts.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Cli {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The directory that commands are started in.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A command, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlor"));
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.place())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.run_with_input(args, "")
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Outcome {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("parlor starts");
        // A command that does not read may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().expect("parlor ends");
        Outcome {
            code: output.status.code().expect("an exit code, not a signal"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// The answer of a command that succeeds, for people.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// The answer of a command that succeeds, for scripts: one JSON value and nothing else.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.text(&[&["--json"], args].concat());
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        super::leaks::note_all(&value);
        value
    }

    /// A command that exits 1 with a sentence that contains `message`, for people and for scripts.
    pub(crate) fn refused(&self, args: &[&str], message: &str) {
        self.fails(args, 1, message);
    }

    /// A command that exits 2 with a sentence that contains `message`, for people and for scripts.
    pub(crate) fn misused(&self, args: &[&str], message: &str) {
        self.fails(args, 2, message);
    }

    fn fails(&self, args: &[&str], code: i32, message: &str) {
        let for_people = self.run(args);
        assert_eq!(for_people.code, code, "{args:?}: {}", for_people.stderr);
        assert!(
            for_people.stdout.is_empty(),
            "{args:?}: {}",
            for_people.stdout
        );
        assert!(
            for_people.stderr.contains(message),
            "{args:?}: {}",
            for_people.stderr
        );
        let for_scripts = self.run(&[&["--json"], args].concat());
        assert_eq!(for_scripts.code, code, "{args:?}: {}", for_scripts.stderr);
        assert!(
            for_scripts.stdout.is_empty(),
            "{args:?}: {}",
            for_scripts.stdout
        );
        let error: Value = serde_json::from_str(&for_scripts.stderr)
            .unwrap_or_else(|error| panic!("{error} in {}", for_scripts.stderr));
        let text = error["error"].as_str().expect("a sentence");
        assert!(
            text.contains(message) && !text.contains('\n'),
            "{args:?}: {text}"
        );
    }
}

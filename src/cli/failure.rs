//! Why a command did not do as asked, and the exit code that says so.

use std::process::ExitCode;

/// Usage or configuration.
pub const USAGE: u8 = 2;
/// Everything else.
pub const REFUSED: u8 = 1;

/// One sentence for the user; [`Failure::problems`] has one for each problem.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub problems: Vec<String>,
}

impl Failure {
    pub fn usage(text: impl ToString) -> Failure {
        Failure {
            code: USAGE,
            problems: vec![text.to_string()],
        }
    }

    pub fn refused(text: impl ToString) -> Failure {
        Failure {
            code: REFUSED,
            problems: vec![text.to_string()],
        }
    }

    /// Prints it on standard error: as JSON for scripts, else a line for each problem.
    pub fn report(&self, json: bool) -> ExitCode {
        match json {
            true => {
                let text = self.problems.join("; ");
                super::output::note(&serde_json::json!({ "error": text }).to_string());
            }
            false => {
                for problem in &self.problems {
                    super::output::note(&format!("error: {problem}"));
                }
            }
        }
        ExitCode::from(self.code)
    }
}

/// What a lower floor refuses is no fault of usage, unless the caller says so.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::refused(error)
    }
}

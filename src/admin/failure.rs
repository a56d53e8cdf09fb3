//! Why a command did not do as asked, and the exit code that says so.

use serde::{Deserialize, Serialize};

/// Usage or configuration.
pub const EXIT_USAGE: u8 = 2;
/// Everything else.
pub const EXIT_FAILURE: u8 = 1;

/// One sentence for the user; [`Failure::problems`] has one for each problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Of the process that was asked to do it.
    pub code: u8,
    pub problems: Vec<String>,
}

impl Failure {
    pub fn usage(text: impl ToString) -> Failure {
        Failure {
            code: EXIT_USAGE,
            problems: vec![text.to_string()],
        }
    }

    /// A sentence for each problem.
    pub fn with_problems(problems: Vec<String>) -> Failure {
        Failure {
            code: EXIT_FAILURE,
            problems,
        }
    }

    pub fn new(text: impl ToString) -> Failure {
        Failure {
            code: EXIT_FAILURE,
            problems: vec![text.to_string()],
        }
    }
}

/// What a lower floor refuses is no fault of usage, unless the caller says so.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::new(error)
    }
}

//! The failure of a command, with the exit code of its process.

use serde::{Deserialize, Serialize};

use crate::storage::CreateError;

/// The command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Everything else.
pub const EXIT_FAILURE: u8 = 1;

/// The reasons of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Exit code of the process that was started.
    pub code: u8,
    /// One sentence per problem.
    pub problems: Vec<String>,
}

impl Failure {
    /// A failure with [`EXIT_USAGE`].
    pub fn usage(text: impl ToString) -> Failure {
        Failure {
            code: EXIT_USAGE,
            problems: vec![text.to_string()],
        }
    }

    /// A failure with [`EXIT_FAILURE`].
    pub fn new(text: impl ToString) -> Failure {
        Failure::with_problems(vec![text.to_string()])
    }

    /// A failure with [`EXIT_FAILURE`] and several problems.
    pub fn with_problems(problems: Vec<String>) -> Failure {
        Failure {
            code: EXIT_FAILURE,
            problems,
        }
    }

    /// An invalid name, id or capacity is an error of usage; a name or id that is taken is not.
    pub fn from_create_error(error: CreateError) -> Failure {
        match error {
            CreateError::BadName | CreateError::BadId(..) | CreateError::BadCapacity(_) => {
                Failure::usage(error)
            }
            error => Failure::new(error),
        }
    }
}

/// An error of a lower layer has [`EXIT_FAILURE`], unless the caller maps it.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::new(error)
    }
}

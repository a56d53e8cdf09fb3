//! `[log]`

use serde::{Deserialize, Serialize};

use super::macros::settings;

settings! {
    /// The log on standard error.
    pub struct Log in log {
        /// `"text"` or `"json"` (one object a line).
        format: LogFormat = LogFormat::Text, Restart;

        /// `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`. Addresses and users appear from `"debug"` on.
        level: LogLevel = LogLevel::Info, Live;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

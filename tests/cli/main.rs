//! The command line: arguments, configuration, commands with and without a running server.

mod admin;
mod arguments;
mod bench;
mod check;
mod commands;
mod config;
mod settings_documents;
#[path = "../support/mod.rs"]
mod support;

//! The command line: arguments, configuration, commands with and without a running server.

mod admin;
mod arguments;
mod bench;
mod check;
mod check_files;
mod commands;
mod config;
mod credentials;
mod settings_documents;
mod store;
#[path = "../support/mod.rs"]
mod support;

//! The command line: parses the arguments, loads the configuration and runs the command.
//!
//! Standard output has the response only (with `--json` exactly one JSON value), standard error
//! everything else. Exit codes: 0 for success, 2 for errors of usage and configuration, 1 for other
//! errors.

mod admin;
mod args;
mod bench;
mod bench_args;
mod check;
mod drain;
mod output;
mod password;
mod ports;
mod show_config;
mod store;
mod top;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::json;

use crate::admin::{AdminCommand, EXIT_USAGE, Failure, Response, ServerCommand};
use crate::config::{self, Loaded, Sources};
use crate::daemon;

use args::{Cli, Command};
use output::{print, print_failure, write_stderr};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_usage_error(&error),
    };
    let json = cli.json;
    match run(cli) {
        Ok(code) => code,
        Err(failure) => print_failure(&failure, json),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let flags = cli.settings();
    let sources = Sources::of_process(cli.config, flags);
    let response = match cli.command {
        Command::Serve { invite, .. } => return serve(sources, invite),
        Command::Check(_) => return check::run(&sources, cli.json),
        Command::Config(_) => show_config::run(&load(&sources)?),
        Command::Version => version(),
        Command::Licences => licences(),
        Command::Bench(command) => bench::run(command)?,
        Command::Ports => ports::run(&load(&sources)?.config),
        Command::Store(command) => {
            log_warnings();
            store::run(&load(&sources)?.config, command)?
        }
        Command::Admin(AdminCommand::Server(ServerCommand::Drain {
            timeout,
            detach: false,
        })) => {
            log_warnings();
            return drain::run(load(&sources)?.config, timeout, cli.json);
        }
        Command::Admin(AdminCommand::Server(ServerCommand::Top)) => {
            log_warnings();
            return top::run(load(&sources)?.config, cli.json);
        }
        Command::Admin(command) => {
            log_warnings();
            let loaded = load(&sources).map_err(|mut failure| {
                let consequence = command.consequence_of_refusal();
                failure.problems.extend(consequence.map(str::to_owned));
                failure
            })?;
            admin::run(loaded.config, command, cli.json)?
        }
    };
    print(&response, cli.json)?;
    Ok(ExitCode::SUCCESS)
}

fn load(sources: &Sources) -> Result<Loaded, Failure> {
    let loaded = read(sources)?;
    loaded
        .remarks
        .iter()
        .for_each(|remark| write_stderr(remark));
    Ok(loaded)
}

/// Loads the configuration without printing its warnings.
fn read(sources: &Sources) -> Result<Loaded, Failure> {
    config::load(sources).map_err(|errors| {
        errors
            .remarks
            .iter()
            .for_each(|remark| write_stderr(remark));
        Failure {
            code: EXIT_USAGE,
            problems: errors.errors.iter().map(ToString::to_string).collect(),
        }
    })
}

fn serve(sources: Sources, invite: bool) -> Result<ExitCode, Failure> {
    let loaded = read(&sources)?;
    match daemon::run(sources, loaded, invite) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(format!("{error:#}"))),
    }
}

fn version() -> Response {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let json = json!({ "name": name, "version": version });
    Response::new(json, format!("{name} {version}"))
}

fn licences() -> Response {
    let text = include_str!("../../docs/reference/licences.md").trim_end();
    Response::new(json!({ "text": text }), text)
}

/// Prints warnings of lower layers on standard error.
fn log_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .without_time();
    // A test that runs commands in its own process may have set one before.
    let _ = subscriber.try_init();
}

/// Prints help and version as responses, and everything else as an error of usage: as JSON for scripts.
fn report_usage_error(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os()
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json");
    if !error.use_stderr() || !json {
        // A closed output must not change the exit code.
        let _ = error.print();
        return if error.use_stderr() {
            ExitCode::from(EXIT_USAGE)
        } else {
            ExitCode::SUCCESS
        };
    }
    print_failure(&Failure::usage(first_paragraph(error)), true)
}

/// Returns the first paragraph of clap's error on one line.
fn first_paragraph(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a subcommand is missing: --help lists them".to_owned();
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = first
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    words.join(" ")
}

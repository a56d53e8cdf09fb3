//! The command line: reads it, loads the configuration, and does what a command says.
//!
//! Commands go to the running daemon, or work on the database without one. Standard output carries
//! the answer alone (with `--json` exactly one JSON value), standard error everything else. Exit
//! codes: 0, 2 for usage and configuration, 1 for the rest.

mod admin;
mod args;
mod bench;
mod check;
mod drain;
mod output;
mod password;
mod ports;
mod settings;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::json;

use crate::admin::{EXIT_USAGE, Failure, Response};
use crate::config::{self, Loaded, Sources};
use crate::daemon;

use args::{AdminCommand, Cli, Command};
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
        Command::Config(_) => settings::run(&load(&sources)?),
        Command::Version => version(),
        Command::Licences => licences(),
        Command::Bench(command) => bench::run(command)?,
        Command::Ports => ports::run(&load(&sources)?.config),
        Command::AdminCommand(AdminCommand::Drain {
            timeout,
            detach: false,
        }) => {
            show_warnings();
            return drain::run(load(&sources)?.config, timeout, cli.json);
        }
        Command::AdminCommand(command) => {
            show_warnings();
            admin::run(load(&sources)?.config, command, cli.json)?
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

/// The configuration, with warnings that are not printed yet.
fn read(sources: &Sources) -> Result<Loaded, Failure> {
    config::load(sources).map_err(|refused| {
        refused
            .remarks
            .iter()
            .for_each(|remark| write_stderr(remark));
        Failure {
            code: EXIT_USAGE,
            problems: refused.problems.iter().map(ToString::to_string).collect(),
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

/// What lower floors warn of reaches whoever typed the command.
fn show_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .without_time();
    // Only a test that runs commands in its own process could have set one before.
    let _ = subscriber.try_init();
}

/// Help and version are answers; the rest is a fault of usage, which scripts read as JSON.
fn report_usage_error(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os()
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json");
    if !error.use_stderr() || !json {
        // Nobody may be there to read it: that is no reason to fail otherwise.
        let _ = error.print();
        return match error.use_stderr() {
            true => ExitCode::from(EXIT_USAGE),
            false => ExitCode::SUCCESS,
        };
    }
    print_failure(&Failure::usage(first_paragraph(error)), true)
}

/// The first paragraph of clap's complaint, on one line.
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

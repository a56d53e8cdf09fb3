//! `parlor top`: a live view of rooms, people and the quality of their links.
//!
//! [`state`] and [`view`] are functions of snapshots and keys; this module asks the server and
//! connects them with the terminal.

mod columns;
mod rows;
mod state;
mod terminal;
mod view;
mod words;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use ratatui::crossterm::event::Event;
use tokio::time::{sleep, timeout};

use crate::admin::{
    self, AdminClient, AdminCommand, Failure, ServerCommand, SocketPaths, Target, TopSnapshot,
    WithoutServer,
};
use crate::config::Config;

use super::output::write_stderr;
use state::{Action, State};
use terminal::{EndSignals, Screen};
use view::Palette;

/// Time between an answer and the next request.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Time between a failure and the next request.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout for an answer. It has to be longer than the time in which other nodes answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// By convention, the exit code of a process that a signal ends is this plus the signal's number.
const SIGNAL_EXIT_CODE: u8 = 128;

const NO_TERMINAL: &str =
    "top needs a terminal: use `parlor sessions --quality --json` in a script";

/// Shows the view until a key or a signal ends it.
///
/// # Errors
/// Standard output is not a terminal, or no server runs.
pub(super) fn run(config: Config, json: bool) -> Result<ExitCode, Failure> {
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    if json || is_dumb || !io::stdout().is_terminal() {
        return Err(Failure::usage(NO_TERMINAL));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let paths = SocketPaths::default();
        let Target { client, remark } = admin::find(config, &paths, WithoutServer::Fails).await?;
        remark.iter().for_each(|remark| write_stderr(remark));
        show(&client)
            .await
            .map_err(|error| Failure::new(format!("the terminal can't be used: {error}")))
    })
}

async fn show(client: &AdminClient) -> io::Result<ExitCode> {
    let mut state = State::default();
    let palette = if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        Palette::Plain
    } else {
        Palette::Colors
    };
    let mut signals = EndSignals::install()?;
    let mut screen = Screen::open()?;
    let mut events = terminal::read_events()?;
    let mut request = Box::pin(ask_after(client, Duration::ZERO));
    loop {
        let page = view::page(&state, terminal::screen_size()?);
        state.set_page(page);
        screen.draw(|frame| view::draw(frame, &state, palette))?;
        tokio::select! {
            event = events.recv() => match event {
                Some(Ok(Event::Key(key))) if state.on_key(key) == Action::Quit => {
                    return Ok(ExitCode::SUCCESS);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
            answer = &mut request => {
                let delay = match answer {
                    Ok(snapshot) => {
                        state.update(snapshot);
                        REFRESH_INTERVAL
                    }
                    Err(failure) => {
                        state.fail(reason(&failure));
                        RETRY_INTERVAL
                    }
                };
                request = Box::pin(ask_after(client, delay));
            }
            signal = signals.recv() => return Ok(ExitCode::from(SIGNAL_EXIT_CODE + signal)),
        }
    }
}

/// Requests a snapshot after a delay.
async fn ask_after(client: &AdminClient, delay: Duration) -> Result<TopSnapshot, Failure> {
    sleep(delay).await;
    let command = AdminCommand::Server(ServerCommand::Top);
    let answer = timeout(ANSWER_TIMEOUT, client.send(command)).await;
    let answer = answer.unwrap_or_else(|_| {
        let seconds = ANSWER_TIMEOUT.as_secs();
        Err(Failure::new(format!(
            "the server did not answer within {seconds} s"
        )))
    })?;
    serde_json::from_value(answer.json)
        .map_err(|error| Failure::new(format!("the server's answer is not understood: {error}")))
}

/// The reason. The rest warns of a repetition, which is harmless for a command that changes nothing.
fn reason(failure: &Failure) -> String {
    failure.problems.first().cloned().unwrap_or_default()
}

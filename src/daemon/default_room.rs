//! The default room (`lobby`), and its invite link.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::invite_link;
use crate::service::App;
use crate::storage::{CreateError, NewInvite, NewRoom, Room};

const ROOM_ID: &str = "lobby";
const ROOM_NAME: &str = "Lobby";

/// Validity of the first link.
const INVITE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// How a user enters the room.
pub(super) struct JoinHint {
    /// The line to print.
    pub line: String,
    /// The invite in it, if there is one.
    pub invite: Option<FirstInvite>,
}

/// The invite of the link that a start prints.
pub(super) struct FirstInvite {
    pub id: String,
    pub expires_at: u64,
}

impl JoinHint {
    /// A command for the admin to type.
    fn command(line: String) -> JoinHint {
        JoinHint { line, invite: None }
    }
}

/// Creates the default room on the `first` start, or if there is no open room. Returns the line to print: a
/// new link on such a start or if `invite` is set, else the command that creates a link.
///
/// # Errors
/// The store rejects the room or the invite.
pub(super) async fn open(
    app: &App,
    http: SocketAddr,
    first: bool,
    invite: bool,
) -> anyhow::Result<JoinHint> {
    let rooms = app.store.rooms().await?;
    let known = [
        app.store.room(ROOM_ID).await?,
        app.store.room(ROOM_NAME).await?,
    ];
    let is_known = known.iter().any(Option::is_some);
    let is_due = !is_known && (first || rooms.is_empty());
    let default = known
        .into_iter()
        .flatten()
        .find(|room| room.closed_at.is_none());
    let other = rooms.into_iter().next().filter(|_| !is_due);
    let room = match default.or(other) {
        Some(room) => room,
        None if is_due => create_room(app)
            .await
            .context("the default room could not be created")?,
        None => {
            return Ok(JoinHint::command(format!(
                "There is no open room: {} room create NAME creates one",
                program()
            )));
        }
    };
    if !(first || is_due || invite) {
        return Ok(JoinHint::command(format!(
            "For a link into {}: {} invite create {}",
            room.name,
            program(),
            room.id
        )));
    }
    let invite = NewInvite {
        room_id: room.id.clone(),
        ttl: INVITE_TTL,
        uses: None,
        created_by: None,
    };
    let invite = app.store.create_invite(invite).await;
    let invite = invite.with_context(|| format!("an invite into {}", room.name))?;
    let link = invite_link(&app.settings().config, http, &room.id, invite.text.expose());
    Ok(JoinHint {
        line: format!("Open this link to talk in {}: {link}", room.name),
        invite: Some(FirstInvite {
            id: invite.id,
            expires_at: invite.expires_at,
        }),
    })
}

/// Prints the link or the command on standard output.
pub(super) fn print(join_hint: String) {
    // Standard output may be closed or blocked: neither fails nor delays the start.
    let _ = thread::Builder::new().spawn(move || {
        let _ = writeln!(io::stdout(), "{join_hint}");
    });
}

/// Returns the path that started this program: it need not be on the PATH.
fn program() -> String {
    let program = std::env::args_os().next();
    program.map_or("parlor".to_owned(), |path| {
        path.to_string_lossy().into_owned()
    })
}

async fn create_room(app: &App) -> Result<Room, CreateError> {
    let room = NewRoom {
        id: Some(ROOM_ID.to_owned()),
        name: ROOM_NAME.to_owned(),
        ..NewRoom::default()
    };
    match app.create_room(room).await {
        // Another node has created it meanwhile.
        Err(CreateError::IdTaken(id)) => {
            let room = app.store.room(&id).await?;
            room.ok_or(CreateError::IdTaken(id))
        }
        created => created,
    }
}

//! The first room, and the link into it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::invite_link;
use crate::http::App;
use crate::store::{CreateError, NewInvite, NewRoom, Room};

const ID: &str = "lobby";
const NAME: &str = "Lobby";

/// The first link is for whoever sets this up: long enough for an evening and the day after.
const INVITE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// On the first start, makes the Lobby and prints an invite link on standard output. A room of that
/// name, or any room where this is not the `first` start, is left as it is.
pub async fn open(app: &App, http: SocketAddr, first: bool) -> anyhow::Result<()> {
    let known = app.store.room(ID).await?;
    if !first && (known.is_some() || !app.store.rooms().await?.is_empty()) {
        return Ok(());
    }
    let known = known.or(app.store.room(NAME).await?);
    let room = match known {
        Some(room) => room,
        None => make(app).await.context("the Lobby could not be made")?,
    };
    let invite = NewInvite {
        room_id: room.id.clone(),
        ttl: INVITE_LIFE,
        uses: None,
        created_by: None,
    };
    let invite = app
        .store
        .create_invite(invite)
        .await
        .context("the Lobby's invite")?;
    let link = invite_link(&app.settings().config, http, &room.id, invite.text.expose());
    // Nobody may be there to read it, and that is no reason to fail.
    let _ = writeln!(io::stdout(), "Open this link to talk in the {NAME}: {link}");
    Ok(())
}

async fn make(app: &App) -> Result<Room, CreateError> {
    let room = NewRoom {
        id: Some(ID.to_owned()),
        name: NAME.to_owned(),
        ..NewRoom::default()
    };
    app.store.create_room(room).await
}

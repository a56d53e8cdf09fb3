//! Commands of an admin: carried out by the running daemon, which is asked at its socket, and
//! without one on the database.
//!
//! The socket belongs to root and to the daemon's own user; nobody else is listened to. What a
//! request may cost is bounded: its size, its time, and how many there are at once.

mod bans;
mod certificate;
mod client;
mod command;
mod context;
mod credentials;
mod drain;
mod ended;
mod failure;
mod frame;
mod invites;
mod kill;
mod names;
mod pending;
mod response;
mod rooms;
mod server;
mod sessions;
mod socket;
mod status;
mod user_lookup;
mod users;

use crate::storage::{NewRoom, NewUser};

pub use client::{AdminClient, SocketPaths, Target, find};
pub use command::{Command, Grant, Lifetime, PasswordHash};
pub use context::{Context, Reload, ServerContext};
pub use drain::{DrainProgress, DrainResult};
pub use failure::{EXIT_FAILURE, EXIT_USAGE, Failure};
pub use response::{Body, Response, yes_or_empty};
pub use server::{Listener, serve};
pub use socket::SocketError;

/// Carries a command out.
///
/// # Errors
/// Why it was not; then nothing has changed.
pub async fn execute(context: &Context, command: Command) -> Result<Response, Failure> {
    match command {
        Command::UserAdd {
            name,
            display_name,
            admin,
            password,
        } => {
            let new = NewUser {
                name,
                display_name,
                admin,
                password_hash: password.map(|hash| hash.0),
            };
            users::add(context, new).await
        }
        Command::UserList => users::list(context).await,
        Command::GuestList => users::guests(context).await,
        Command::UserShow { user } => users::show(context, &user).await,
        Command::UserDisable { user } => users::disable(context, &user).await,
        Command::UserEnable { user } => users::enable(context, &user).await,
        Command::UserMayHavePassword { user } => users::may_have_password(context, &user).await,
        Command::UserPasswd { user, password } => users::passwd(context, &user, password).await,
        Command::UserSignOut { user } => users::sign_out(context, &user).await,
        Command::UserDelete { user } => users::delete(context, &user).await,
        Command::RoomCreate {
            name,
            id,
            max_participants,
            private,
        } => {
            let new = NewRoom {
                id,
                name,
                private,
                max_participants,
                owner_id: None,
            };
            rooms::create(context, new).await
        }
        Command::RoomList => rooms::list(context).await,
        Command::RoomShow { room } => rooms::show(context, &room).await,
        Command::RoomClose { room } => rooms::close(context, &room).await,
        Command::RoomDelete { room } => rooms::delete(context, &room).await,
        Command::RoomAddMember { room, user } => rooms::add_member(context, &room, &user).await,
        Command::RoomKick { room, user } => bans::kick(context, &room, &user).await,
        Command::RoomBan {
            room,
            user,
            until,
            reason,
            keep_invite,
        } => bans::ban(context, &room, &user, until, reason, keep_invite).await,
        Command::RoomUnban { room, user } => bans::unban(context, &room, &user).await,
        Command::RoomBans { room } => bans::list(context, &room).await,
        Command::InviteCreate { room, ttl, uses } => {
            invites::create(context, &room, ttl, uses).await
        }
        Command::InviteList { room } => invites::list(context, room.as_deref()).await,
        Command::InviteRevoke { id } => invites::revoke(context, &id).await,
        Command::TokenIssue(grant) => credentials::token(context, grant).await,
        Command::TurnCredential(grant) => credentials::credential(context, grant).await,
        Command::Status => status::status(context).await,
        Command::Sessions { all } => sessions::sessions(context, all).await,
        Command::SessionKill { id } => kill::kill(context, &id).await,
        Command::Reload => status::reload(context).await,
        Command::Drain { timeout } => drain::begin(context, timeout.span()),
        Command::Upgrade => status::upgrade(context).await,
    }
}

//! Dispatches a command to the function that executes it.

use crate::storage::{NewRoom, NewUser};

use super::command::{
    AdminCommand, InviteCommand, PasswordHash, RoomCommand, ServerCommand, SessionCommand,
    TokenCommand, TurnCommand, UserCommand,
};
use super::context::Context;
use super::failure::Failure;
use super::response::Response;
use super::{
    bans, credentials, drain, invites, kill, moderation, nodes, rooms, sessions, status, top, users,
};

/// Executes a command.
///
/// # Errors
/// The reason of the failure; nothing was changed then.
pub(super) async fn execute(context: &Context, command: AdminCommand) -> Result<Response, Failure> {
    match command {
        AdminCommand::User(command) => user(context, command).await,
        AdminCommand::Room(command) => room(context, command).await,
        AdminCommand::Invite(command) => invite(context, command).await,
        AdminCommand::Token(TokenCommand::Issue(grant)) => {
            credentials::issue_token(context, grant).await
        }
        AdminCommand::Turn(TurnCommand::Credential(grant)) => {
            credentials::issue_turn_credential(context, grant).await
        }
        AdminCommand::Session(SessionCommand::Kill { id }) => kill::kill(context, &id).await,
        AdminCommand::Server(command) => server(context, command).await,
    }
}

async fn user(context: &Context, command: UserCommand) -> Result<Response, Failure> {
    match command {
        UserCommand::Add {
            name,
            display_name,
            admin,
            source: _,
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
        UserCommand::ListUsers | UserCommand::List { guests: false } => users::list(context).await,
        UserCommand::ListGuests | UserCommand::List { guests: true } => {
            users::list_guests(context).await
        }
        UserCommand::Show { user } => users::show(context, &user).await,
        UserCommand::Disable { user } => users::disable(context, &user).await,
        UserCommand::Enable { user } => users::enable(context, &user).await,
        UserCommand::CheckPassword { user } => users::check_password(context, &user).await,
        UserCommand::Passwd { user, password, .. } => {
            users::passwd(context, &user, required(password)?).await
        }
        UserCommand::SignOut { user } => users::sign_out(context, &user).await,
        UserCommand::Delete { user } => users::delete(context, &user).await,
    }
}

fn required(password: Option<PasswordHash>) -> Result<PasswordHash, Failure> {
    password.ok_or_else(|| Failure::usage("the command has no password"))
}

async fn room(context: &Context, command: RoomCommand) -> Result<Response, Failure> {
    match command {
        RoomCommand::Create {
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
        RoomCommand::List => rooms::list(context).await,
        RoomCommand::Show { room } => rooms::show(context, &room).await,
        RoomCommand::Close { room } => rooms::close(context, &room).await,
        RoomCommand::Delete { room } => rooms::delete(context, &room).await,
        RoomCommand::AddMember { room, user } => rooms::add_member(context, &room, &user).await,
        RoomCommand::Kick { room, user, reason } => bans::kick(context, &room, &user, reason).await,
        RoomCommand::Mute { room, user, reason } => {
            moderation::mute(context, &room, &user, reason).await
        }
        RoomCommand::Ban {
            room,
            user,
            until,
            reason,
            keep_invite,
        } => bans::ban(context, &room, &user, until, reason, keep_invite).await,
        RoomCommand::Unban { room, user, reason } => {
            bans::unban(context, &room, &user, reason).await
        }
        RoomCommand::Bans { room, after } => bans::list(context, &room, after.as_deref()).await,
        RoomCommand::Lock { room, reason } => moderation::lock(context, &room, true, reason).await,
        RoomCommand::Unlock { room, reason } => {
            moderation::lock(context, &room, false, reason).await
        }
        RoomCommand::Role {
            room,
            user,
            role,
            reason,
        } => moderation::set_role(context, &room, &user, role.into(), reason).await,
        RoomCommand::Audit {
            room,
            limit,
            before,
        } => moderation::audit(context, &room, before, limit).await,
    }
}

async fn invite(context: &Context, command: InviteCommand) -> Result<Response, Failure> {
    match command {
        InviteCommand::Create { room, ttl, uses } => {
            invites::create(context, &room, ttl, uses).await
        }
        InviteCommand::List { room } => invites::list(context, room.as_deref()).await,
        InviteCommand::Revoke { id } => invites::revoke(context, &id).await,
    }
}

async fn server(context: &Context, command: ServerCommand) -> Result<Response, Failure> {
    match command {
        ServerCommand::Status => status::status(context).await,
        ServerCommand::Sessions { all, quality } => sessions::sessions(context, all, quality).await,
        ServerCommand::Top => top::top(context).await,
        ServerCommand::Nodes => nodes::nodes(context).await,
        ServerCommand::Reload => status::reload(context).await,
        ServerCommand::Drain { timeout, .. } => drain::begin(context, timeout.duration()),
        ServerCommand::Upgrade => status::upgrade(context).await,
    }
}

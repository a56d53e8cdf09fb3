//! Commands that somebody else carries out: from what was typed to whom it is asked of.

use crate::admin::{
    self, AdminClient, Command, Failure, Grant, PasswordHash, Response, SocketPaths, Target,
};
use crate::config::Config;

use super::args;
use super::output::write_stderr;
use super::password;

/// Asks the running daemon, or does it on the database where none runs. People are told which one
/// it was where it failed, too: the name may be known to another.
pub fn run(config: Config, command: args::AdminCommand, json: bool) -> Result<Response, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let creates_database = command.creates_database(config.auth.provision_users);
        let socket_paths = SocketPaths::default();
        let Target { client, remark } =
            admin::find(config, &socket_paths, creates_database).await?;
        let requires_server = command.requires_server();
        match ask(&client, command).await {
            Ok(mut response) => {
                response.remarks.splice(0..0, remark);
                Ok(response)
            }
            Err(failure) => {
                let remark = remark.filter(|_| !json && !requires_server);
                remark.iter().for_each(|remark| write_stderr(remark));
                Err(failure)
            }
        }
    })
}

async fn ask(client: &AdminClient, command: args::AdminCommand) -> Result<Response, Failure> {
    let command = command_of(client, command).await?;
    client.ask(command).await
}

async fn command_of(client: &AdminClient, command: args::AdminCommand) -> Result<Command, Failure> {
    Ok(match command {
        args::AdminCommand::User(command) => user(client, command).await?,
        args::AdminCommand::Room(command) => room(command),
        args::AdminCommand::Invite(command) => invite(command),
        args::AdminCommand::Token(args::Token::Issue(grant)) => {
            Command::TokenIssue(grant_of(grant))
        }
        args::AdminCommand::Turn(args::Turn::Credential(grant)) => {
            Command::TurnCredential(grant_of(grant))
        }
        args::AdminCommand::Status => Command::Status,
        args::AdminCommand::Sessions { all } => Command::Sessions { all },
        args::AdminCommand::Session(args::Session::Kill { id }) => Command::SessionKill { id },
        args::AdminCommand::Reload => Command::Reload,
        args::AdminCommand::Drain { timeout, .. } => Command::Drain { timeout },
        args::AdminCommand::Upgrade => Command::Upgrade,
    })
}

async fn user(client: &AdminClient, command: args::User) -> Result<Command, Failure> {
    Ok(match command {
        args::User::Add {
            name,
            display_name,
            admin,
            password,
            password_stdin,
        } => Command::UserAdd {
            name,
            display_name,
            admin,
            password: match password || password_stdin {
                true => Some(hash(password_stdin)?),
                false => None,
            },
        },
        args::User::List { guests: false } => Command::UserList,
        args::User::List { guests: true } => Command::GuestList,
        args::User::Show { user } => Command::UserShow { user },
        args::User::Disable { user } => Command::UserDisable { user },
        args::User::Enable { user } => Command::UserEnable { user },
        args::User::Passwd {
            user,
            password_stdin,
        } => {
            // Nobody types a password for somebody who can't have one.
            let command = Command::UserMayHavePassword { user: user.clone() };
            client.ask(command).await?;
            let password = hash(password_stdin)?;
            Command::UserPasswd { user, password }
        }
        args::User::SignOut { user } => Command::UserSignOut { user },
        args::User::Delete { user } => Command::UserDelete { user },
    })
}

/// The password itself stays here.
fn hash(stdin: bool) -> Result<PasswordHash, Failure> {
    Ok(PasswordHash(password::hash(stdin)?))
}

fn room(command: args::Room) -> Command {
    match command {
        args::Room::Create {
            name,
            id,
            max_participants,
            private,
        } => Command::RoomCreate {
            name,
            id,
            max_participants,
            private,
        },
        args::Room::List => Command::RoomList,
        args::Room::Show { room } => Command::RoomShow { room },
        args::Room::Close { room } => Command::RoomClose { room },
        args::Room::Delete { room } => Command::RoomDelete { room },
        args::Room::AddMember { room, user } => Command::RoomAddMember { room, user },
        args::Room::Kick { room, user } => Command::RoomKick { room, user },
        args::Room::Ban {
            room,
            user,
            until,
            reason,
            keep_invite,
        } => Command::RoomBan {
            room,
            user,
            until,
            reason,
            keep_invite,
        },
        args::Room::Unban { room, user } => Command::RoomUnban { room, user },
        args::Room::Bans { room } => Command::RoomBans { room },
    }
}

fn invite(command: args::Invite) -> Command {
    match command {
        args::Invite::Create { room, ttl, uses } => Command::InviteCreate { room, ttl, uses },
        args::Invite::List { room } => Command::InviteList { room },
        args::Invite::Revoke { id } => Command::InviteRevoke { id },
    }
}

fn grant_of(grant: args::Grant) -> Grant {
    let args::Grant { user, ttl, room } = grant;
    Grant { user, ttl, room }
}

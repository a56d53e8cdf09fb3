//! Commands that somebody else carries out: from what was typed to whom it is asked of.

use crate::admin::{self, Answer, Command, Desk, Failure, Found, Grant, PasswordHash, Places};
use crate::config::Config;

use super::args;
use super::output::note;
use super::password;

/// Asks the running daemon, or does it on the database where none runs. People are told which one
/// it was where it failed, too: the name may be known to another.
pub fn run(config: Config, command: args::Asked, json: bool) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let may_begin = command.may_begin(config.auth.provision_users);
        let places = Places::default();
        let Found { desk, remark } = admin::find(config, &places, may_begin).await?;
        let says_all = command.needs_the_daemon();
        match ask(&desk, command).await {
            Ok(mut answer) => {
                answer.remarks.splice(0..0, remark);
                Ok(answer)
            }
            Err(failure) => {
                let remark = remark.filter(|_| !json && !says_all);
                remark.iter().for_each(|remark| note(remark));
                Err(failure)
            }
        }
    })
}

async fn ask(desk: &Desk, command: args::Asked) -> Result<Answer, Failure> {
    let command = command_of(desk, command).await?;
    desk.ask(command).await
}

async fn command_of(desk: &Desk, command: args::Asked) -> Result<Command, Failure> {
    Ok(match command {
        args::Asked::User(command) => user(desk, command).await?,
        args::Asked::Room(command) => room(command),
        args::Asked::Invite(command) => invite(command),
        args::Asked::Token(args::Token::Issue(grant)) => Command::TokenIssue(granted(grant)),
        args::Asked::Turn(args::Turn::Credential(grant)) => Command::TurnCredential(granted(grant)),
        args::Asked::Status => Command::Status,
        args::Asked::Sessions { all } => Command::Sessions { all },
        args::Asked::Session(args::Session::Kill { id }) => Command::SessionKill { id },
        args::Asked::Reload => Command::Reload,
        args::Asked::Drain { timeout, .. } => Command::Drain { timeout },
        args::Asked::Upgrade => Command::Upgrade,
    })
}

async fn user(desk: &Desk, command: args::User) -> Result<Command, Failure> {
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
            let asked = Command::UserMayHavePassword { user: user.clone() };
            desk.ask(asked).await?;
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

fn granted(grant: args::Grant) -> Grant {
    let args::Grant { user, ttl, room } = grant;
    Grant { user, ttl, room }
}

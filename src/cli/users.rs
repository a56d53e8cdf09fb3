//! `parlor user …`

use serde_json::{Value, json};

use crate::clock;
use crate::store::{CreateError, Membership, NewUser, Removed, User, utc};

use super::args;
use super::context::Context;
use super::failure::Failure;
use super::output::{Answer, facts, table, tick};
use super::password;

pub async fn run(context: &Context, command: args::User) -> Result<Answer, Failure> {
    match command {
        args::User::Add {
            name,
            display_name,
            admin,
            password,
            password_stdin,
        } => {
            let password_hash = match password || password_stdin {
                true => Some(password::hash(password_stdin)?),
                false => None,
            };
            let new = NewUser {
                name,
                display_name,
                admin,
                password_hash,
            };
            add(context, new).await
        }
        args::User::List => list(context).await,
        args::User::Show { user } => show(context, &user).await,
        args::User::Disable { user } => disable(context, &user).await,
        args::User::Enable { user } => enable(context, &user).await,
        args::User::Passwd {
            user,
            password_stdin,
        } => passwd(context, &user, password_stdin).await,
        args::User::Delete { user } => delete(context, &user).await,
    }
}

async fn add(context: &Context, new: NewUser) -> Result<Answer, Failure> {
    let user = context.store.add_user(new).await.map_err(refusal)?;
    let text = format!("Added user {} with id {}", user.name, user.id);
    Ok(Answer::new(user_json(&user), text))
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let users = context.store.users().await?;
    let rows = users.iter().map(|user| {
        vec![
            user.id.clone(),
            user.name.clone(),
            user.display_name.clone(),
            tick(user.admin),
            tick(user.disabled),
        ]
    });
    let header = ["ID", "NAME", "DISPLAY NAME", "ADMIN", "DISABLED"];
    let json = users.iter().map(user_json).collect();
    Ok(match users.is_empty() {
        true => {
            Answer::new(json, "").remark("There are no users: `parlor user add NAME` adds one.")
        }
        false => Answer::new(json, table(&header, rows)),
    })
}

/// Deleted users too, by their id.
async fn show(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.any_user(word).await?;
    let rooms = context.store.memberships(&user.id).await?;
    let password = context.store.has_password(&user.id).await?;
    let mut json = user_json(&user);
    json["role"] = user.role().into();
    json["password"] = password.into();
    json["deleted"] = user.deleted.into();
    json["guest_until"] = user
        .guest
        .as_ref()
        .map(|guest| utc::text(guest.until))
        .into();
    json["rooms"] = rooms.iter().map(membership_json).collect();
    let state = match &user {
        User { deleted: true, .. } => "deleted",
        User { disabled: true, .. } => "disabled",
        _ => "enabled",
    };
    let names = rooms.iter().map(|room| room.room_name.as_str());
    let rows = [
        ["Id", &user.id],
        ["Name", &user.name],
        ["Display name", &user.display_name],
        ["Role", user.role()],
        ["State", state],
        ["Password", if password { "set" } else { "none" }],
        ["Created", &utc::text(user.created_at)],
        ["Member of", &names.collect::<Vec<_>>().join(", ")],
    ];
    Ok(Answer::new(json, facts(&rows)))
}

fn membership_json(membership: &Membership) -> Value {
    json!({
        "id": membership.room_id,
        "name": membership.room_name,
        "joined_at": utc::text(membership.joined_at),
    })
}

async fn disable(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    let unix = clock::now().unix;
    let removed = context.store.disable_user(&user.id, unix).await?;
    let removed = removed.ok_or_else(|| gone(&user))?;
    Ok(took_away("Disabled", &removed))
}

async fn enable(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    let enabled = context.store.enable_user(&user.id).await?;
    let user = enabled.ok_or_else(|| gone(&user))?;
    Ok(Answer::new(
        user_json(&user),
        format!("Enabled user {}", user.name),
    ))
}

async fn passwd(context: &Context, word: &str, stdin: bool) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    if user.guest.is_some() {
        return Err(Failure::refused(format!(
            "`{word}` is a guest, who has no password"
        )));
    }
    let hash = password::hash(stdin)?;
    match context.store.set_password(&user.id, &hash).await? {
        true => {
            let text = format!("User {} has a new password", user.name);
            Ok(Answer::new(user_json(&user), text)
                .remark("Tokens that were issued before stay valid until they expire."))
        }
        false => Err(gone(&user)),
    }
}

async fn delete(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    let unix = clock::now().unix;
    let removed = context.store.delete_user(&user.id, unix).await?;
    let removed = removed.ok_or_else(|| gone(&user))?;
    Ok(took_away("Deleted", &removed))
}

fn took_away(done: &str, removed: &Removed) -> Answer {
    let Removed { user, invites } = removed;
    let mut json = user_json(user);
    json["revoked_invites"] = (*invites).into();
    let answer = Answer::new(json, format!("{done} user {}", user.name));
    match invites {
        0 => answer,
        _ => answer.remark(format!("Invites of theirs that were revoked: {invites}")),
    }
}

/// Another command was quicker.
fn gone(user: &User) -> Failure {
    Failure::refused(format!("the user `{}` was deleted", user.name))
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "display_name": user.display_name,
        "admin": user.admin,
        "disabled": user.disabled,
        "created_at": utc::text(user.created_at),
    })
}

/// A name or id that can't be one is a fault of usage; one that is taken is not.
pub fn refusal(error: CreateError) -> Failure {
    match error {
        CreateError::BadName | CreateError::BadId(_) | CreateError::BadCapacity(_) => {
            Failure::usage(error)
        }
        error => Failure::refused(error),
    }
}

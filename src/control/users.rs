//! `parlor user …`

use serde_json::{Value, json};

use crate::clock;
use crate::http::Ended;
use crate::store::{CreateError, Membership, NewUser, Removed, User, utc};

use super::answer::{Answer, tick};
use super::command::PasswordHash;
use super::context::Context;
use super::ended;
use super::failure::Failure;

pub async fn add(context: &Context, new: NewUser) -> Result<Answer, Failure> {
    let user = context.store().add_user(new).await.map_err(refusal)?;
    let text = format!("Added user {} with id {}", user.name, user.id);
    Ok(Answer::new(user_json(&user), text))
}

pub async fn list(context: &Context) -> Result<Answer, Failure> {
    let users = context.store().users().await?;
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
        false => Answer::table(json, &header, rows),
    })
}

/// Deleted users too, by their id.
pub async fn show(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.any_user(word).await?;
    let rooms = context.store().memberships(&user.id).await?;
    let password = context.store().has_password(&user.id).await?;
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
    Ok(Answer::facts(json, &rows))
}

fn membership_json(membership: &Membership) -> Value {
    json!({
        "id": membership.room_id,
        "name": membership.room_name,
        "joined_at": utc::text(membership.joined_at),
    })
}

pub async fn disable(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    let removed = match context.live() {
        Some(live) => live.app.disable_user(&user.id).await?.map(with_ended),
        None => {
            let unix = clock::now().unix;
            let removed = context.store().disable_user(&user.id, unix).await?;
            removed.map(|removed| (removed, None))
        }
    };
    let (removed, ended) = removed.ok_or_else(|| gone(&user))?;
    Ok(took_away("Disabled", &removed, ended))
}

pub async fn enable(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    let enabled = match context.live() {
        Some(live) => live.app.enable_user(&user.id).await?,
        None => context.store().enable_user(&user.id).await?,
    };
    let user = enabled.ok_or_else(|| gone(&user))?;
    Ok(Answer::new(
        user_json(&user),
        format!("Enabled user {}", user.name),
    ))
}

/// Whether [`passwd`] would do.
pub async fn may_have_password(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = with_password(context, word).await?;
    Ok(Answer::new(user_json(&user), ""))
}

pub async fn passwd(
    context: &Context,
    word: &str,
    password: PasswordHash,
) -> Result<Answer, Failure> {
    let user = with_password(context, word).await?;
    match context.store().set_password(&user.id, &password.0).await? {
        true => {
            let text = format!("User {} has a new password", user.name);
            Ok(Answer::new(user_json(&user), text)
                .remark("Tokens that were issued before stay valid until they expire."))
        }
        false => Err(gone(&user)),
    }
}

async fn with_password(context: &Context, word: &str) -> Result<User, Failure> {
    let user = context.living_user(word).await?;
    match user.guest {
        Some(_) => Err(Failure::refused(format!(
            "`{word}` is a guest, who has no password"
        ))),
        None => Ok(user),
    }
}

pub async fn delete(context: &Context, word: &str) -> Result<Answer, Failure> {
    let user = context.living_user(word).await?;
    let removed = match context.live() {
        Some(live) => live.app.delete_user(&user.id).await?.map(with_ended),
        None => {
            let unix = clock::now().unix;
            let removed = context.store().delete_user(&user.id, unix).await?;
            removed.map(|removed| (removed, None))
        }
    };
    let (removed, ended) = removed.ok_or_else(|| gone(&user))?;
    Ok(took_away("Deleted", &removed, ended))
}

fn with_ended((removed, ended): (Removed, Ended)) -> (Removed, Option<Ended>) {
    (removed, Some(ended))
}

fn took_away(done: &str, removed: &Removed, ended: Option<Ended>) -> Answer {
    let Removed { user, invites } = removed;
    let mut json = user_json(user);
    json["revoked_invites"] = (*invites).into();
    let answer = ended::told(json, format!("{done} user {}", user.name), ended);
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
        CreateError::BadName | CreateError::BadId(..) | CreateError::BadCapacity(_) => {
            Failure::usage(error)
        }
        error => Failure::refused(error),
    }
}

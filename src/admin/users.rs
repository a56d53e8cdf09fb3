//! `parlor user …`

use serde_json::{Value, json};

use crate::clock;
use crate::service::{Ended, Revocation};
use crate::storage::{ActiveGuest, Membership, NewUser, RemovedUser, User, utc};

use super::command::PasswordHash;
use super::context::Context;
use super::ended_counts::{self, EndedCounts};
use super::failure::Failure;
use super::response::{Response, yes_or_empty};
use super::user_lookup::{self, user_label};

/// Maximum number of guests in one list, so that the list fits into a reply of the admin socket.
const MAX_GUESTS: u32 = 1000;

pub(super) async fn add(context: &Context, new: NewUser) -> Result<Response, Failure> {
    let user = context
        .store()
        .add_user(new)
        .await
        .map_err(Failure::from_create_error)?;
    let text = format!("Added user {} with id {}", user.name, user.id);
    Ok(Response::new(user_json(&user), text))
}

pub(super) async fn list(context: &Context) -> Result<Response, Failure> {
    let users = context.store().users().await?;
    let rows = users.iter().map(|user| {
        vec![
            user.id.clone(),
            user.name.clone(),
            user.display_name.clone(),
            yes_or_empty(user.admin),
            yes_or_empty(user.disabled),
        ]
    });
    let header = ["ID", "NAME", "DISPLAY NAME", "ADMIN", "DISABLED"];
    let json = users.iter().map(user_json).collect();
    let response = if users.is_empty() {
        Response::new(json, "").remark("There are no users: `parlor user add NAME` adds one.")
    } else {
        Response::table(json, &header, rows)
    };
    Ok(
        match context.store().guest_count(clock::now().unix).await? {
            0 => response,
            guests => response.remark(format!(
                "Guests: {guests}. `parlor user list --guests` lists them."
            )),
        },
    )
}

/// Guests whose access has not expired, the newest first.
pub(super) async fn list_guests(context: &Context) -> Result<Response, Failure> {
    let unix = clock::now().unix;
    // One more than the limit, to detect a truncated list.
    let limit = MAX_GUESTS + 1;
    let mut guests = context.store().guests(None, None, unix, limit).await?;
    let more = guests.len() > MAX_GUESTS as usize;
    guests.truncate(MAX_GUESTS as usize);
    let json = guests.iter().map(guest_json).collect();
    let rows = guests.iter().map(
        |ActiveGuest {
             user,
             room_name,
             participant,
         }| {
            let until = user.guest.as_ref().map(|guest| utc::format(guest.until));
            vec![
                user.display_name.clone(),
                user.id.clone(),
                room_name.clone(),
                yes_or_empty(*participant),
                utc::format(user.created_at),
                until.unwrap_or_default(),
                yes_or_empty(user.disabled),
            ]
        },
    );
    let header = ["NAME", "ID", "ROOM", "MEMBER", "SINCE", "UNTIL", "DISABLED"];
    let response = if guests.is_empty() {
        Response::new(json, "").remark("There are no guests.")
    } else {
        Response::table(json, &header, rows)
    };
    Ok(if more {
        response.remark(format!(
            "Only the newest {MAX_GUESTS} are listed; there are more."
        ))
    } else {
        response
    })
}

fn guest_json(known: &ActiveGuest) -> Value {
    let mut json = user_json(&known.user);
    let guest = known.user.guest.as_ref();
    json["room"] = json!({
        "id": guest.map(|guest| &guest.room_id),
        "name": known.room_name,
    });
    json["participant"] = known.participant.into();
    json["until"] = guest.map(|guest| utc::format(guest.until)).into();
    json["invite"] = guest.and_then(|guest| guest.invite.clone()).into();
    json
}

/// Shows a user; a deleted user by id.
pub(super) async fn show(context: &Context, argument: &str) -> Result<Response, Failure> {
    let user = user_lookup::any_user(context, argument).await?;
    let rooms = context.store().memberships(&user.id).await?;
    let password = context.store().has_password(&user.id).await?;
    let mut json = user_json(&user);
    json["role"] = user.role().into();
    json["password"] = password.into();
    json["deleted"] = user.deleted.into();
    json["guest_until"] = user
        .guest
        .as_ref()
        .map(|guest| utc::format(guest.until))
        .into();
    json["invite"] = user
        .guest
        .as_ref()
        .and_then(|guest| guest.invite.clone())
        .into();
    json["rooms"] = rooms.iter().map(membership_json).collect();
    let state = match &user {
        User { deleted: true, .. } => "deleted",
        User { disabled: true, .. } => "disabled",
        _ => "enabled",
    };
    let names = rooms.iter().map(|room| room.room_name.as_str());
    let guest_until = user.guest.as_ref().map(|guest| utc::format(guest.until));
    let invite = user.guest.as_ref().and_then(|guest| guest.invite.clone());
    let rows = [
        ["Id", &user.id],
        ["Name", &user.name],
        ["Display name", &user.display_name],
        ["Role", user.role()],
        ["State", state],
        ["Password", if password { "set" } else { "none" }],
        ["Created", &utc::format(user.created_at)],
        ["Guest until", &guest_until.unwrap_or_default()],
        ["Invite", &invite.unwrap_or_default()],
        ["Member of", &names.collect::<Vec<_>>().join(", ")],
    ];
    Ok(Response::facts(json, &rows))
}

fn membership_json(membership: &Membership) -> Value {
    json!({
        "id": membership.room_id,
        "name": membership.room_name,
        "joined_at": utc::format(membership.joined_at),
    })
}

pub(super) async fn disable(context: &Context, argument: &str) -> Result<Response, Failure> {
    let user = user_lookup::existing_user(context, argument).await?;
    let removed = match context.server() {
        Some(server) => server.app.disable_user(&user.id).await?.map(with_counts),
        None => {
            let unix = clock::now().unix;
            let removed = context.store().disable_user(&user.id, unix).await?;
            removed.map(|removed| (removed, None))
        }
    };
    let (removed, ended) = removed.ok_or_else(|| deleted_meanwhile(&user))?;
    Ok(revocation_response(context, "Disabled", &removed, ended).await)
}

pub(super) async fn enable(context: &Context, argument: &str) -> Result<Response, Failure> {
    let user = user_lookup::existing_user(context, argument).await?;
    let enabled = match context.server() {
        Some(server) => server.app.enable_user(&user.id).await?,
        None => context.store().enable_user(&user.id).await?,
    };
    let user = enabled.ok_or_else(|| deleted_meanwhile(&user))?;
    Ok(Response::new(
        user_json(&user),
        format!("Enabled user {}", user.name),
    ))
}

/// Checks whether [`passwd`] is possible for the user.
pub(super) async fn check_password(context: &Context, argument: &str) -> Result<Response, Failure> {
    let user = password_user(context, argument).await?;
    Ok(Response::new(user_json(&user), ""))
}

pub(super) async fn passwd(
    context: &Context,
    argument: &str,
    password: PasswordHash,
) -> Result<Response, Failure> {
    let user = password_user(context, argument).await?;
    let set = match context.server() {
        Some(server) => {
            let set = server.app.set_password(&user.id, &password.0).await?;
            set.map(|(user, ended)| (user, Some(ended)))
        }
        None => {
            let unix = clock::now().unix;
            let set = context.store().set_password(&user.id, &password.0, unix);
            set.await?.map(|user| (user, None))
        }
    };
    let (user, ended) = set.ok_or_else(|| deleted_meanwhile(&user))?;
    let text = format!("User {} has a new password", user.name);
    Ok(tokens_ended(context, &user, text, ended).await)
}

/// Revokes all tokens of a user or guest.
pub(super) async fn sign_out(context: &Context, argument: &str) -> Result<Response, Failure> {
    let user = user_lookup::existing_user(context, argument).await?;
    let signed_out = match context.server() {
        Some(server) => {
            let signed_out = server.app.sign_out(&user.id).await?;
            signed_out.map(|(user, ended)| (user, Some(ended)))
        }
        None => {
            let signed_out = context.store().sign_out(&user.id, clock::now().unix);
            signed_out.await?.map(|user| (user, None))
        }
    };
    let (user, ended) = signed_out.ok_or_else(|| deleted_meanwhile(&user))?;
    let text = format!("Signed out {}", user_label(&user));
    Ok(tokens_ended(context, &user, text, ended).await)
}

async fn tokens_ended(
    context: &Context,
    user: &User,
    text: String,
    ended: Option<Ended>,
) -> Response {
    let counts = EndedCounts::of_all_nodes(context, ended, revocation(user)).await;
    ended_counts::with_counts(user_json(user), text, counts)
        .remark("Tokens issued before are no longer valid.")
}

async fn password_user(context: &Context, argument: &str) -> Result<User, Failure> {
    let user = user_lookup::existing_user(context, argument).await?;
    match user.guest {
        Some(_) => Err(Failure::new(format!(
            "`{argument}` is a guest: guests have no password"
        ))),
        None => Ok(user),
    }
}

pub(super) async fn delete(context: &Context, argument: &str) -> Result<Response, Failure> {
    let user = user_lookup::existing_user(context, argument).await?;
    let removed = match context.server() {
        Some(server) => server.app.delete_user(&user.id).await?.map(with_counts),
        None => {
            let unix = clock::now().unix;
            let removed = context.store().delete_user(&user.id, unix).await?;
            removed.map(|removed| (removed, None))
        }
    };
    let (removed, ended) = removed.ok_or_else(|| deleted_meanwhile(&user))?;
    Ok(revocation_response(context, "Deleted", &removed, ended).await)
}

fn with_counts((removed, ended): (RemovedUser, Ended)) -> (RemovedUser, Option<Ended>) {
    (removed, Some(ended))
}

async fn revocation_response(
    context: &Context,
    done: &str,
    removed: &RemovedUser,
    ended: Option<Ended>,
) -> Response {
    let RemovedUser { user, invites } = removed;
    let mut json = user_json(user);
    json["revoked_invites"] = (*invites).into();
    let counts = EndedCounts::of_all_nodes(context, ended, revocation(user)).await;
    let response = ended_counts::with_counts(json, format!("{done} {}", user_label(user)), counts);
    let response = match invites {
        0 => response,
        _ => response.remark(format!("Revoked invites: {invites}.")),
    };
    match &user.guest {
        None => response,
        Some(guest) => response.remark(format!(
            "The guest can rejoin under a new id while their invite link is valid: \
             `parlor room ban {} id:{}` bans them and revokes the link.",
            guest.room_id, user.id
        )),
    }
}

/// The change after which earlier tokens of the user are invalid.
fn revocation(user: &User) -> Revocation {
    Revocation::User {
        user: user.id.clone(),
        generation: user.token_cutoff.generation,
    }
}

/// A concurrent command deleted the user.
fn deleted_meanwhile(user: &User) -> Failure {
    Failure::new(format!("the user `{}` was deleted", user.name))
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "display_name": user.display_name,
        "admin": user.admin,
        "disabled": user.disabled,
        "created_at": utc::format(user.created_at),
    })
}

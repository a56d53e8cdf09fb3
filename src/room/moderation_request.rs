//! Moderation that a `parlor.v1` client requests.

use serde::Deserialize;

use super::DropReason;
use super::envelope_fields::EnvelopeFields;

/// An act of moderation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModerationRequest {
    Kick {
        user: String,
        reason: Option<String>,
    },
    Ban {
        user: String,
        ban: BanData,
    },
    Unban {
        user: String,
        reason: Option<String>,
    },
    Mute {
        user: String,
        reason: Option<String>,
    },
    Lock {
        locked: bool,
        reason: Option<String>,
    },
    SetRole {
        user: String,
        role: GivenRole,
        reason: Option<String>,
    },
}

/// The conditions of a ban.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BanData {
    /// The end of the ban, as over HTTP.
    pub until: Option<String>,
    pub reason: Option<String>,
    /// Whether the invite that the guest used stays valid.
    pub keep_invite: bool,
}

/// A role that a user can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GivenRole {
    Owner,
    Moderator,
    Member,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReasonData {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockData {
    locked: bool,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleData {
    role: GivenRole,
    reason: Option<String>,
}

impl ModerationRequest {
    /// Parses the frame of a moderation; `None` if its `type` is not that of one.
    pub(super) fn parse(
        word: &str,
        fields: &EnvelopeFields<'_, true>,
    ) -> Option<Result<ModerationRequest, DropReason>> {
        Some(match word {
            "kick" => parse_reason(fields, |user, reason| ModerationRequest::Kick {
                user,
                reason,
            }),
            "unban" => parse_reason(fields, |user, reason| ModerationRequest::Unban {
                user,
                reason,
            }),
            "mute" => parse_reason(fields, |user, reason| ModerationRequest::Mute {
                user,
                reason,
            }),
            "ban" => parse_ban(fields),
            "lock" => parse_lock(fields),
            "role" => parse_role(fields),
            _ => return None,
        })
    }
}

fn parse_reason(
    fields: &EnvelopeFields<'_, true>,
    request: impl FnOnce(String, Option<String>) -> ModerationRequest,
) -> Result<ModerationRequest, DropReason> {
    let user = target(fields)?;
    let ReasonData { reason } = fields.data_or_default()?;
    Ok(request(user, reason))
}

fn parse_ban(fields: &EnvelopeFields<'_, true>) -> Result<ModerationRequest, DropReason> {
    let user = target(fields)?;
    let ban = fields.data_or_default()?;
    Ok(ModerationRequest::Ban { user, ban })
}

fn parse_lock(fields: &EnvelopeFields<'_, true>) -> Result<ModerationRequest, DropReason> {
    fields.target()?;
    let LockData { locked, reason } = fields.data()?;
    Ok(ModerationRequest::Lock { locked, reason })
}

fn parse_role(fields: &EnvelopeFields<'_, true>) -> Result<ModerationRequest, DropReason> {
    let user = target(fields)?;
    let RoleData { role, reason } = fields.data()?;
    Ok(ModerationRequest::SetRole { user, role, reason })
}

/// The user of `to`, which the frame must have.
fn target(fields: &EnvelopeFields<'_, true>) -> Result<String, DropReason> {
    let user = fields.target()?.ok_or(DropReason::BadTarget)?;
    Ok(user.into_owned())
}

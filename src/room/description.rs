//! The description of a member that nodes pass to each other.

use serde::{Deserialize, Serialize};

use super::profile::{Profile, Role};
use super::server_frame::{Participant, State};

/// A member, as `parlor.v1` clients on other nodes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub profile: Profile,
    /// Whether the client speaks `parlor.v1`.
    pub is_extended: bool,
    /// Whether the member has lost its connection for longer than
    /// [`AWAY_NOTICE`](super::AWAY_NOTICE).
    pub is_away: bool,
    pub(super) state: State,
}

/// The JSON of a description. Fields that another version does not have keep their defaults.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields {
    name: String,
    role: String,
    joined: u64,
    extended: bool,
    away: bool,
    muted: bool,
    hand_raised: bool,
    muted_by_moderator: bool,
}

impl Description {
    pub(super) fn new(participant: &Participant<'_>, is_extended: bool) -> Description {
        Description {
            profile: Profile {
                display_name: participant.display_name.into(),
                role: participant.role,
                joined_at: participant.joined_at,
            },
            is_extended,
            is_away: !participant.is_connected,
            state: participant.state,
        }
    }

    /// The member as a participant. `user` is the user's id as JSON.
    pub(super) fn participant<'a>(&'a self, user: &'a str) -> Participant<'a> {
        Participant {
            user,
            display_name: &self.profile.display_name,
            role: self.profile.role,
            is_connected: !self.is_away,
            joined_at: self.profile.joined_at,
            state: self.state,
        }
    }

    /// The description as a text without blanks and line ends.
    pub fn to_text(&self) -> String {
        let fields = Fields {
            name: self.profile.display_name.to_string(),
            role: self.profile.role.label().to_owned(),
            joined: self.profile.joined_at,
            extended: self.is_extended,
            away: self.is_away,
            muted: self.state.muted,
            hand_raised: self.state.hand_raised,
            muted_by_moderator: self.state.muted_by_moderator,
        };
        let text = serde_json::to_string(&fields).unwrap_or_default();
        // JSON escapes the other blanks of ASCII itself.
        text.replace(' ', r"\u0020")
    }

    /// Parses [`Description::to_text`]. `None` if it is no description.
    pub fn parse(text: &str) -> Option<Description> {
        let fields: Fields = serde_json::from_str(text).ok()?;
        Some(Description {
            profile: Profile {
                display_name: fields.name.into(),
                role: Role::from_label(&fields.role).unwrap_or(Role::Member),
                joined_at: fields.joined,
            },
            is_extended: fields.extended,
            is_away: fields.away,
            state: State {
                muted: fields.muted,
                hand_raised: fields.hand_raised,
                muted_by_moderator: fields.muted_by_moderator,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(name: &str) -> Description {
        Description {
            profile: Profile {
                display_name: name.into(),
                role: Role::Moderator,
                joined_at: 1_700_000_000,
            },
            is_extended: true,
            is_away: true,
            state: State {
                muted: false,
                hand_raised: true,
                muted_by_moderator: true,
            },
        }
    }

    #[test]
    fn a_description_is_one_word_that_is_parsed_to_itself() {
        for name in [
            "Alice",
            "Alice B. \"C\"",
            "a\tb\n\r\u{b}\u{c}c",
            "\u{3000}é\u{85}",
            "",
        ] {
            let description = description(name);
            let text = description.to_text();
            let is_blank = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
            assert!(!text.bytes().any(is_blank), "{text}");
            assert_eq!(Description::parse(&text), Some(description));
        }
    }

    #[test]
    fn a_description_of_another_version_is_parsed_as_far_as_it_is_known() {
        let text = r#"{"name":"Alice","role":"king","color":"red"}"#;
        let parsed = Description::parse(text).expect("a description");
        assert_eq!(&*parsed.profile.display_name, "Alice");
        assert_eq!(parsed.profile.role, Role::Member);
        assert!(!parsed.is_extended && !parsed.is_away);
        for other in ["", "1700000000", "{"] {
            assert_eq!(Description::parse(other), None, "{other}");
        }
    }
}

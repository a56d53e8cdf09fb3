//! The serialized state for the next process. A state that this version did not write is discarded.
//!
//! Format: `parlor handover` and a line feed, the version (4 bytes), the length (8 bytes) and the SHA-256 of
//! the JSON that follows. Numbers are little-endian.

use std::fs;
use std::net::IpAddr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};

use crate::bus::redis::SavedNode;
use crate::clock::Mono;
use crate::relay;
use crate::service::SavedRoom;

const MAGIC: &[u8] = b"parlor handover\n";

/// Incremented with each change of the format, except an optional field: a state is never read by the rules of another
/// version.
const VERSION: u32 = 2;

const HEADER_BYTES: usize = MAGIC.len() + 4 + 8 + SHA256_OUTPUT_LEN;

/// The state of a process, without its sockets.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Timestamps are valid within one boot only.
    pub boot: String,
    pub at: Mono,
    pub relay: relay::State,
    /// The addresses of `auto` and DNS names in `turn.external_ip`: the start need not query them again.
    pub external: Vec<(String, IpAddr)>,
    /// Inodes of TCP listeners, with the settings that they were bound for.
    pub listeners: Vec<(u64, String)>,
    /// Rooms with their connected users.
    pub rooms: Vec<(String, Vec<String>)>,
    /// The sessions of `parlor.v1` clients. Older versions do not know them, and reject a state that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SavedRoom>,
    /// The node whose sessions these are, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<SavedNode>,
}

/// A state cannot be restored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("it is not a state of parlor")]
    BadMagic,
    #[error("it has version {0}, and this binary reads version {VERSION}")]
    Version(u32),
    #[error("it is truncated")]
    Truncated,
    #[error("it is damaged")]
    Damaged,
    #[error("it is from another boot")]
    OtherBoot,
}

impl State {
    pub(crate) fn write(&self) -> serde_json::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + text.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(digest(&SHA256, &text).as_ref());
        bytes.extend(text);
        Ok(bytes)
    }

    /// Reads the output of [`State::write`] from the same `boot` and from before `now`.
    pub(crate) fn read(bytes: &[u8], boot: &str, now: Mono) -> Result<State, StateError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(StateError::BadMagic)?;
        let (version, rest) = rest.split_first_chunk().ok_or(StateError::Truncated)?;
        match u32::from_le_bytes(*version) {
            VERSION => {}
            other => return Err(StateError::Version(other)),
        }
        let (length, rest) = rest.split_first_chunk().ok_or(StateError::Truncated)?;
        let (sum, text) = rest
            .split_first_chunk::<SHA256_OUTPUT_LEN>()
            .ok_or(StateError::Truncated)?;
        if u64::from_le_bytes(*length) != text.len() as u64 {
            return Err(StateError::Truncated);
        }
        if digest(&SHA256, text).as_ref() != sum {
            return Err(StateError::Damaged);
        }
        let state: State = serde_json::from_slice(text).map_err(|_| StateError::Damaged)?;
        if state.boot == boot && state.at <= now {
            Ok(state)
        } else {
            Err(StateError::OtherBoot)
        }
    }
}

/// Returns the id of this boot; empty if the system has none.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const NOW: Mono = Mono(1000);

    fn state() -> State {
        State {
            boot: "this".into(),
            at: NOW,
            listeners: vec![(7, "http.listen".into())],
            ..State::default()
        }
    }

    #[test]
    fn a_written_state_is_read_back() {
        let bytes = state().write().unwrap();
        let read = State::read(&bytes, "this", NOW).unwrap();
        assert_eq!(read.listeners, state().listeners);
    }

    #[test]
    fn a_state_of_another_version_is_rejected_with_its_number() {
        let mut bytes = state().write().unwrap();
        bytes[MAGIC.len()] = 9;
        let error = State::read(&bytes, "this", NOW).unwrap_err();
        assert_eq!(error, StateError::Version(9));
        assert_eq!(
            error.to_string(),
            "it has version 9, and this binary reads version 2"
        );
    }

    #[test]
    fn a_state_of_another_boot_is_rejected() {
        let bytes = state().write().unwrap();
        for (boot, now) in [("that", NOW), ("this", Mono(999))] {
            assert_eq!(
                State::read(&bytes, boot, now).unwrap_err(),
                StateError::OtherBoot
            );
        }
    }

    #[test]
    fn a_state_with_an_unknown_field_is_rejected() {
        let text = serde_json::to_string(&state()).unwrap();
        let text = text.replacen('{', r#"{"more":1,"#, 1);
        let mut bytes = state().write().unwrap();
        bytes.truncate(MAGIC.len() + 4);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(digest(&SHA256, text.as_bytes()).as_ref());
        bytes.extend(text.as_bytes());
        let error = State::read(&bytes, "this", NOW).unwrap_err();
        assert_eq!(error, StateError::Damaged);
    }

    proptest! {
        #[test]
        fn a_truncated_state_is_rejected(end in 0..200usize) {
            let bytes = state().write().unwrap();
            if end < bytes.len() {
                prop_assert!(State::read(&bytes[..end], "this", NOW).is_err());
            }
        }

        #[test]
        fn a_state_with_a_changed_byte_is_rejected(at in 0..1000usize, bits in 1..=255u8) {
            let mut bytes = state().write().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= bits;
            prop_assert!(State::read(&bytes, "this", NOW).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), ours: bool) {
            if ours {
                bytes.splice(..0, MAGIC.iter().copied().chain(VERSION.to_le_bytes()));
            }
            prop_assert!(State::read(&bytes, "this", NOW).is_err());
        }
    }
}

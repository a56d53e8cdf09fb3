//! What one process tells the next, as bytes: discarded whole where they are not exactly what this
//! version writes.
//!
//! `parlor handover` and a line feed, the version (4 bytes), the length (8 bytes) and the SHA-256 of
//! what follows: JSON. Numbers are little-endian.

use std::fs;
use std::net::IpAddr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::relay;

const MAGIC: &[u8] = b"parlor handover\n";

/// Grows with each change of what is written: nothing is ever read by another version's rules.
const VERSION: u32 = 2;

const HEADER_BYTES: usize = MAGIC.len() + 4 + 8 + SHA256_OUTPUT_LEN;

/// What goes on in another process, but for the sockets.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Times are good within one boot.
    pub boot: String,
    pub at: Mono,
    pub relay: relay::State,
    /// The addresses of `auto` and DNS names in `turn.external_ip`: the start need not query them again.
    pub external: Vec<(String, IpAddr)>,
    /// TCP listeners by their inodes, and the settings that they were bound for.
    pub listeners: Vec<(u64, String)>,
    /// Who is connected to which room.
    pub rooms: Vec<(String, Vec<String>)>,
}

/// Why a state is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("it is not parlor's")]
    BadMagic,
    #[error("it is of version {0}, and this parlor reads version {VERSION}")]
    Version(u32),
    #[error("it is not whole")]
    Truncated,
    #[error("it is damaged")]
    Damaged,
    #[error("it is from another boot")]
    OtherBoot,
}

impl State {
    pub fn write(&self) -> serde_json::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + text.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(digest(&SHA256, &text).as_ref());
        bytes.extend(text);
        Ok(bytes)
    }

    /// Reads what [`State::write`] has written, during the same `boot` and not after `now`.
    pub fn read(bytes: &[u8], boot: &str, now: Mono) -> Result<State, StateError> {
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
        match state.boot == boot && state.at <= now {
            true => Ok(state),
            false => Err(StateError::OtherBoot),
        }
    }
}

/// What the system calls this boot; empty where it does not say.
pub fn boot_id() -> String {
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
    fn what_was_written_is_read() {
        let bytes = state().write().unwrap();
        let read = State::read(&bytes, "this", NOW).unwrap();
        assert_eq!(read.listeners, state().listeners);
    }

    #[test]
    fn another_version_is_told_by_its_number() {
        let mut bytes = state().write().unwrap();
        bytes[MAGIC.len()] = 9;
        let refused = State::read(&bytes, "this", NOW).unwrap_err();
        assert_eq!(refused, StateError::Version(9));
        assert_eq!(
            refused.to_string(),
            "it is of version 9, and this parlor reads version 2"
        );
    }

    #[test]
    fn times_of_another_boot_mean_nothing() {
        let bytes = state().write().unwrap();
        for (boot, now) in [("that", NOW), ("this", Mono(999))] {
            assert_eq!(
                State::read(&bytes, boot, now).unwrap_err(),
                StateError::OtherBoot
            );
        }
    }

    #[test]
    fn a_field_that_is_not_known_is_damage() {
        let text = serde_json::to_string(&state()).unwrap();
        let text = text.replacen('{', r#"{"more":1,"#, 1);
        let mut bytes = state().write().unwrap();
        bytes.truncate(MAGIC.len() + 4);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(digest(&SHA256, text.as_bytes()).as_ref());
        bytes.extend(text.as_bytes());
        let refused = State::read(&bytes, "this", NOW).unwrap_err();
        assert_eq!(refused, StateError::Damaged);
    }

    proptest! {
        #[test]
        fn no_part_of_it_is_ever_taken_for_the_whole(end in 0..200usize) {
            let bytes = state().write().unwrap();
            if end < bytes.len() {
                prop_assert!(State::read(&bytes[..end], "this", NOW).is_err());
            }
        }

        #[test]
        fn no_changed_byte_goes_unnoticed(at in 0..1000usize, bits in 1..=255u8) {
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

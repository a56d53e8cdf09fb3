//! The Lua scripts, each of which Redis runs as one step.

use std::sync::Arc;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// A script. Those up to [`Script::Tell`] are carried out once and in order, see `once.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Enter,
    Leave,
    Describe,
    Suspend,
    Restate,
    Restated,
    Tell,
    Register,
    Renew,
    Evict,
    Clean,
    Place,
    Returning,
    Limit,
    Members,
    Find,
    Count,
    Nodes,
}

const CLOCK: &str = include_str!("scripts/clock.lua");
const GUARD: &str = include_str!("scripts/guard.lua");
const ABOUT: &str = include_str!("scripts/about.lua");
const ONCE: &str = include_str!("scripts/once.lua");
const ROOM: &str = include_str!("scripts/room.lua");

impl Script {
    pub const ALL: [Script; 18] = [
        Script::Enter,
        Script::Leave,
        Script::Describe,
        Script::Suspend,
        Script::Restate,
        Script::Restated,
        Script::Tell,
        Script::Register,
        Script::Renew,
        Script::Evict,
        Script::Clean,
        Script::Place,
        Script::Returning,
        Script::Limit,
        Script::Members,
        Script::Find,
        Script::Count,
        Script::Nodes,
    ];

    fn text(self) -> String {
        let own = match self {
            Script::Enter => include_str!("scripts/enter.lua"),
            Script::Leave => include_str!("scripts/leave.lua"),
            Script::Describe => include_str!("scripts/describe.lua"),
            Script::Suspend => include_str!("scripts/suspend.lua"),
            Script::Restate => include_str!("scripts/restate.lua"),
            Script::Restated => include_str!("scripts/restated.lua"),
            Script::Tell => include_str!("scripts/tell.lua"),
            Script::Register => include_str!("scripts/register.lua"),
            Script::Renew => include_str!("scripts/renew.lua"),
            Script::Evict => include_str!("scripts/evict.lua"),
            Script::Clean => include_str!("scripts/clean.lua"),
            Script::Place => include_str!("scripts/place.lua"),
            Script::Returning => include_str!("scripts/returning.lua"),
            Script::Limit => include_str!("scripts/limit.lua"),
            Script::Members => include_str!("scripts/members.lua"),
            Script::Find => include_str!("scripts/find.lua"),
            Script::Count => include_str!("scripts/count.lua"),
            Script::Nodes => include_str!("scripts/nodes.lua"),
        };
        let parts: &[&str] = match self {
            Script::Enter
            | Script::Leave
            | Script::Describe
            | Script::Suspend
            | Script::Restate
            | Script::Restated
            | Script::Tell => &[CLOCK, GUARD, ONCE, ROOM],
            Script::Register | Script::Nodes => &[CLOCK, ABOUT],
            Script::Renew => &[CLOCK, GUARD, ABOUT],
            Script::Evict => &[CLOCK, GUARD, ROOM],
            Script::Clean
            | Script::Place
            | Script::Returning
            | Script::Limit
            | Script::Members
            | Script::Find
            | Script::Count => &[CLOCK, GUARD],
        };
        [&parts.concat(), own].concat()
    }
}

/// The texts of all scripts, and the hashes by which Redis knows them.
#[derive(Debug)]
pub struct Scripts {
    texts: Vec<String>,
    hashes: Vec<String>,
}

impl Scripts {
    pub fn new() -> Arc<Scripts> {
        Scripts::of(Script::ALL.map(Script::text).to_vec())
    }

    fn of(texts: Vec<String>) -> Arc<Scripts> {
        let hashes = texts.iter().map(|text| sha1(text)).collect();
        Arc::new(Scripts { texts, hashes })
    }

    /// The texts, for `SCRIPT LOAD`.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The hash of a script, for `EVALSHA`.
    pub fn hash(&self, script: Script) -> &str {
        let index = Script::ALL.iter().position(|one| *one == script);
        index.map_or("", |index| &self.hashes[index])
    }

    /// Scripts in which parts of the text are replaced. Each part must be in one of them.
    #[cfg(test)]
    pub(crate) fn patched(patches: &[(&str, &str)]) -> Arc<Scripts> {
        let mut texts = Script::ALL.map(Script::text).to_vec();
        for (from, to) in patches {
            assert!(
                texts.iter().any(|text| text.contains(from)),
                "no script has {from}"
            );
            for text in &mut texts {
                *text = text.replace(from, to);
            }
        }
        Scripts::of(texts)
    }
}

fn sha1(text: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

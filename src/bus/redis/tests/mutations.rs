//! Each rule is needed: without one of them, some seeds fail.

use super::schedule::{Faults, first_to_notice};
use crate::room::rule::Rule;

/// At most this many seeds must notice a missing rule.
const SEEDS: u64 = 60;

/// A rule of the state machines, and the schedules that notice its absence.
const RULES: [(Rule, Faults); 12] = [
    (Rule::OlderIsNotified, Faults::All),
    (Rule::InboxIsCounted, Faults::All),
    (Rule::UnlistedMembersLeave, Faults::All),
    (Rule::MessagesAreNumbered, Faults::Connections),
    (Rule::UnconfirmedMembersLeave, Faults::All),
    (Rule::EvictedNodesStayAway, Faults::All),
    (Rule::ReplacedMembersStayAway, Faults::All),
    (Rule::MembersAreListedOnce, Faults::All),
    (Rule::UnknownEntriesEnd, Faults::All),
    (Rule::LostRostersAreRestated, Faults::All),
    (Rule::EvictedNodesEnterAnew, Faults::All),
    (Rule::ResumedMembersStay, Faults::Connections),
];

/// A rule of the scripts: its name, the text that a mutation replaces, and the replacement.
const SCRIPTS: [(&str, &str, &str, Faults); 13] = [
    (
        "an evicted node is refused",
        "return 'FENCED'\nend\n",
        "end\n",
        Faults::All,
    ),
    (
        "another world is refused",
        "return 'WORLD'\n",
        "\n",
        Faults::Data,
    ),
    (
        "a command is carried out once",
        "if number <= last then",
        "if false then",
        Faults::Connections,
    ),
    (
        "a restarted server makes a new world",
        "if not world or string.match(world, ' (%S+)$') ~= RUN then",
        "if not world then",
        Faults::All,
    ),
    (
        "the newer connection stays",
        "is_free or is_newer(age, connection, entry)",
        "true",
        Faults::All,
    ),
    (
        "the first member gets the roster",
        "'l', roster.lines(), unpack(more))\nend\nreturn 'OK'",
        "'l', '', unpack(more))\nend\nreturn 'OK'",
        Faults::Connections,
    ),
    (
        "an awaited user learns who left meanwhile",
        "'d', table.concat(awaited.left, ' ')",
        "'d', ''",
        Faults::Connections,
    ),
    (
        "newcomers are notified of an awaited user who returns",
        "'x', roster.newcomers(awaited), 'd'",
        "'x', '', 'd'",
        Faults::Connections,
    ),
    (
        "awaited users know each other",
        "known[#known + 1] = name",
        "",
        Faults::Connections,
    ),
    (
        "other nodes learn of a new description",
        "send(node, 't', 'described'",
        "send(node, 't', 'ignored'",
        Faults::Connections,
    ),
    (
        "the roster keeps a new description",
        "roster.describe(user, description)",
        "",
        Faults::Connections,
    ),
    (
        "an entry has a description",
        "'i', description, unpack(more)",
        "unpack(more)",
        Faults::Connections,
    ),
    (
        "a restated entry has a description",
        "roster.put(user, connection, age, description)\n            is_changed",
        "roster.put(user, connection, age, '')\n            is_changed",
        Faults::All,
    ),
];

/// A rule by its name, and the first seed that notices its absence.
type Noticed = (String, Option<u64>);

#[test]
fn a_missing_rule_is_noticed() {
    let rules = std::thread::spawn(|| {
        RULES.map(|(rule, faults)| {
            let first = first_to_notice(SEEDS, faults, Some(rule), &[]);
            (format!("{rule:?}"), first)
        })
    });
    let scripts = SCRIPTS.map(|(name, from, to, faults)| {
        let first = first_to_notice(SEEDS, faults, None, &[(from, to)]);
        (name.to_owned(), first)
    });
    let all: Vec<Noticed> = rules.join().unwrap().into_iter().chain(scripts).collect();
    for (name, first) in &all {
        println!("{name}: {first:?}");
    }
    let unnoticed: Vec<&Noticed> = all.iter().filter(|(_, first)| first.is_none()).collect();
    assert!(unnoticed.is_empty(), "no seed needs {unnoticed:?}");
}

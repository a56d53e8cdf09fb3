//! Words that the project no longer uses, because the field has a term of its own or plain English is
//! shorter. `docs/contributing.md` has the rules of wording.

use std::fs;

use crate::files;

/// Identifiers that were renamed to the field's terms.
const RETIRED_IDENTIFIERS: &[&str] = &[
    "AT_ONCE",
    "BIND_PATIENCE",
    "Asker",
    "Crumbs",
    "Departures",
    "Desk",
    "Doors",
    "Errand",
    "Handed",
    "Heir",
    "House",
    "KEEPS_WHOLE",
    "KEPT",
    "LONGEST",
    "Neighbours",
    "OFTEN",
    "PATIENCE",
    "Parcel",
    "PassOn",
    "Proven",
    "SELDOM",
    "Seat",
    "Seating",
    "Stray",
    "Tally",
    "Turned",
    "TurnedAway",
    "Unproven",
    "Untold",
    "allocate_again",
    "ask_for_marks",
    "ask_for_more_than_datagrams",
    "asked",
    "crew",
    "departures_of",
    "desk",
    "farewell",
    "give_way",
    "go_on",
    "heir",
    "is_paid",
    "judge_anew",
    "mmsg",
    "nothing_lost",
    "obey",
    "owe",
    "parcel",
    "parcels",
    "patience",
    "recall",
    "refresh_again",
    "seat",
    "seats",
    "shelf",
    "signers",
    "spelt_out",
    "sweep",
    "take_up",
    "take_user_away",
    "take_room_away",
    "told",
    "turned_away",
    "undisturbed",
    "untold",
    "unwise",
];

/// Phrases in comments, messages and documents.
const RETIRED_PHRASES: &[&str] = &[
    "a house",
    "the house",
    "on floor",
    "same floor",
    "hung up on",
    "hangs up on",
    "gave way",
    "gives way",
    "led nowhere",
    "leads nowhere",
    "lets nobody in",
    "borne",
    "in vain",
    "lies at",
    "is met as",
    "whoever",
    "whatever",
    "is told",
    "are told",
    "was told",
    "were told",
    "be told",
    "goes on",
    "undisturbed",
    "seldom",
    "means no good",
    "has come in",
    "lead there",
    "the lobby",
    "a seat",
    "the seat",
    "their seat",
    "seats",
    "turned away",
    "is borne",
    "in crumbs",
    "is believed",
    "are believed",
    "judged anew",
    "cut off from",
    "no trouble",
    "brings about",
    "keeps silent",
    "come to rest",
    "a stranger",
    "strangers",
];

/// Beginnings of names of functions and tests: a sentence has a subject that acts.
const RETIRED_SUBJECTS: &[&str] = &["who_", "whom_", "whose_", "whoever_", "what_", "whatever_"];

/// Beginnings of doc comments, which name their subject.
const RETIRED_OPENINGS: &[&str] = &[
    "Who ",
    "Whom ",
    "Whose ",
    "Whoever ",
    "What ",
    "Whatever ",
    "The same ",
];

/// Files and folders whose words are not parlor's own, or are quoted for a reason.
const EXEMPT: &[(&str, &str)] = &[
    ("tests/project/words.rs", "this list"),
    ("tests/fuzz/seeds/", "inputs of the fuzz targets"),
    ("docs/changelog.md", "tells old names from new ones"),
    ("src/metrics/old_names.rs", "has the old names and values"),
    ("docs/images/", "pictures"),
    ("docs/reference/licences.md", "texts by others"),
    ("Cargo.lock", "written by cargo"),
    ("LICENSE", "a text by others"),
];

/// All uses of retired words in the project, as `file:line: word`.
fn find() -> Vec<String> {
    let mut found = Vec::new();
    for path in files::project_files() {
        let name = files::name(&path);
        if EXEMPT.iter().any(|(exempt, _)| name.starts_with(exempt)) {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if name.ends_with(".rs") {
            find_in_code(&name, &text, &mut found);
        }
        find_phrases(&name, &text, &mut found);
    }
    found
}

fn find_in_code(name: &str, text: &str, found: &mut Vec<String>) {
    let mut in_doc = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let mut add = |word: &str| found.push(format!("{name}:{}: {word}", index + 1));
        let doc = trimmed
            .strip_prefix("///")
            .or_else(|| trimmed.strip_prefix("//!"));
        if let Some(doc) = doc {
            if !in_doc && let Some(opening) = starts_with_any(doc.trim_start(), RETIRED_OPENINGS) {
                add(&format!("\"{opening}…\" begins a doc comment"));
            }
            in_doc = true;
            continue;
        }
        in_doc = false;
        if trimmed.starts_with("//") {
            continue;
        }
        let function = trimmed
            .split("fn ")
            .nth(1)
            .filter(|_| trimmed.contains("fn "));
        if let Some(subject) = function.and_then(|rest| starts_with_any(rest, RETIRED_SUBJECTS)) {
            add(&format!("`{subject}…` begins the name of a function"));
        }
        for word in identifiers(line) {
            if RETIRED_IDENTIFIERS.contains(&word) {
                add(&format!("`{word}`"));
            }
        }
    }
}

/// The identifiers of a line of code, without those in string literals.
fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split('"')
        .step_by(2)
        .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
}

/// Phrases may span the lines of a comment or paragraph.
fn find_phrases(name: &str, text: &str, found: &mut Vec<String>) {
    let mut words: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line
            .trim_start()
            .trim_start_matches(['/', '!', '#', '*', '>', '-', ' ']);
        let parts = line.split(|c: char| c.is_whitespace() || "`*_(),.:;\"".contains(c));
        let parts = parts.filter(|word| !word.is_empty());
        words.extend(parts.map(|word| (index + 1, word.to_lowercase())));
    }
    for phrase in RETIRED_PHRASES {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        for window in words.windows(wanted.len()) {
            if window
                .iter()
                .map(|(_, word)| word.as_str())
                .eq(wanted.iter().copied())
            {
                found.push(format!("{name}:{}: \"{phrase}\"", window[0].0));
            }
        }
    }
}

fn starts_with_any<'a>(text: &str, beginnings: &[&'a str]) -> Option<&'a str> {
    beginnings
        .iter()
        .copied()
        .find(|beginning| text.starts_with(beginning))
}

#[test]
fn no_file_uses_a_retired_word() {
    let found = find();
    assert!(
        found.is_empty(),
        "use the field's term or plain English (docs/contributing.md):\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn a_retired_word_is_found_in_code_comments_and_documents() {
    let code =
        "/// What it does, for\n/// whoever asks.\nfn who_asks(told: u8) { print!(\"told\") }\n";
    let mut found = Vec::new();
    find_in_code("a.rs", code, &mut found);
    find_phrases("a.rs", code, &mut found);
    find_phrases("b.md", "A client that *is\n> told* nothing", &mut found);
    assert_eq!(
        found,
        [
            "a.rs:1: \"What …\" begins a doc comment",
            "a.rs:3: `who_…` begins the name of a function",
            "a.rs:3: `told`",
            "a.rs:2: \"whoever\"",
            "b.md:1: \"is told\"",
        ]
    );
}

//! Display names: their allowed characters, and how to print characters that are not allowed.
//!
//! Some characters are invisible, or change the direction of their neighbours, so that a name looks like
//! another name or is empty. `icu_properties` provides the Unicode properties.

use std::borrow::Cow;

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier, ExtendedPictographic,
    GeneralCategory, GeneralCategoryGroup, Ideographic, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Maximum length in characters.
pub const MAX_CHARS: usize = 128;

/// The rule for a name, worded as the end of a sentence.
pub const RULE: &str = "1 to 128 characters, something to see among them, and no control, direction or \
     filler characters";

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const EMOJI_PRESENTATION: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';

/// Whether a text is allowed as a name: [`RULE`].
pub fn is_valid_name(name: &str) -> bool {
    let text: Vec<char> = name.chars().take(MAX_CHARS + 1).collect();
    text.len() <= MAX_CHARS
        && is_visible(&text)
        && (0..text.len()).all(|at| is_allowed_at(&text, at))
}

/// Removes the characters that [`is_valid_name`] rejects from a name of another issuer; `None` if no visible
/// character is left.
pub fn sanitize(name: &str) -> Option<String> {
    let rest: Vec<char> = name
        .trim()
        .chars()
        .filter(|&c| depends_on_neighbours(c) || !is_deceptive(c))
        .take(MAX_CHARS)
        .collect();
    // Each decision depends on the kept characters before, and on characters after it that always stay.
    let mut kept: Vec<char> = Vec::with_capacity(rest.len());
    for at in 0..rest.len() {
        let start = kept.len();
        kept.extend(&rest[at..]);
        let fair = is_allowed_at(&kept, start);
        kept.truncate(start + usize::from(fair));
    }
    is_visible(&kept).then(|| kept.into_iter().collect())
}

/// Escapes a text for a terminal or a log: characters that are not allowed become `\u{…}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let characters: Vec<char> = text.chars().collect();
    let mut shown = String::with_capacity(text.len());
    for (at, &c) in characters.iter().enumerate() {
        if is_allowed_at(&characters, at) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    Cow::Owned(shown)
}

/// Whether the text has a visible character: not only spaces, marks without a letter, and invisible
/// characters.
fn is_visible(text: &[char]) -> bool {
    let empty = GeneralCategoryGroup::Separator
        .union(GeneralCategoryGroup::Control)
        .union(GeneralCategoryGroup::Format)
        .union(GeneralCategoryGroup::NonspacingMark)
        .union(GeneralCategoryGroup::EnclosingMark);
    let categories = CodePointMapData::<GeneralCategory>::new();
    text.iter()
        .any(|&c| !is_deceptive(c) && !empty.contains(categories.get(c)))
}

/// Whether the character at this position is allowed there.
fn is_allowed_at(text: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|at| text[at]);
    match text[at] {
        EMOJI_PRESENTATION => before.is_some_and(|c| takes_presentation(c, text.get(at + 1))),
        ZERO_WIDTH_JOINER => joins_emoji(text, at) || is_between_joining_letters(text, at),
        ZERO_WIDTH_NON_JOINER => is_between_joining_letters(text, at),
        // Selectors for a variant of a character.
        '\u{fe00}'..='\u{fe0e}' | '\u{e0100}'..='\u{e01ef}' => {
            before.is_some_and(|c| CodePointSetData::new::<Ideographic>().contains(c))
        }
        c => !is_deceptive(c),
    }
}

/// Whether [`is_allowed_at`] depends on the neighbouring characters.
fn depends_on_neighbours(c: char) -> bool {
    matches!(
        c,
        EMOJI_PRESENTATION
            | ZERO_WIDTH_JOINER
            | ZERO_WIDTH_NON_JOINER
            | '\u{fe00}'..='\u{fe0e}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

/// Whether the character is invisible, or changes the text direction, in any position.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        // Line and paragraph separators, an empty pattern of Braille, annotations, a blank note.
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2800}' | '\u{fff9}'..='\u{fffb}' | '\u{1d159}')
}

/// Emoji; digits, `#` and `*` only as keycaps.
fn takes_presentation(c: char, next: Option<&char>) -> bool {
    CodePointSetData::new::<Emoji>().contains(c) && (!c.is_ascii() || next == Some(&KEYCAP))
}

/// As in 👩‍💻: a joiner between two pictographs; the first may have a modifier or a presentation selector.
fn joins_emoji(text: &[char], at: usize) -> bool {
    let picture = |c: &char| CodePointSetData::new::<ExtendedPictographic>().contains(*c);
    let adds = |c: &&char| {
        **c == EMOJI_PRESENTATION || CodePointSetData::new::<EmojiModifier>().contains(**c)
    };
    let before = text[..at].iter().rev().find(|c| !adds(c));
    before.is_some_and(picture) && text.get(at + 1).is_some_and(picture)
}

/// As in می‌خواهم: a joiner between two joining letters, or after a virama, whose shape it selects.
fn is_between_joining_letters(text: &[char], at: usize) -> bool {
    let joining = CodePointMapData::<JoiningType>::new();
    let joins = |c: &char| {
        matches!(
            joining.get(*c),
            JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::RightJoining
        )
    };
    let counts = |c: &&char| joining.get(**c) != JoiningType::Transparent;
    let classes = CodePointMapData::<CanonicalCombiningClass>::new();
    let before = &text[..at];
    let shapes = |c: &char| classes.get(*c) == CanonicalCombiningClass::Virama;
    before.last().is_some_and(shapes)
        || before.iter().rev().find(counts).is_some_and(joins)
            && text[at + 1..].iter().find(counts).is_some_and(joins)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const GOOD: [&str; 22] = [
        "alice",
        "Zoë O’Connor-Smith",
        "山田　太郎",
        "葛\u{e0100}城",
        "❤\u{fe0f}",
        "👩\u{200d}💻",
        "👩🏽\u{200d}💻 dev",
        "🏳\u{fe0f}\u{200d}🌈",
        "👨\u{200d}👩\u{200d}👧\u{200d}👦",
        "👁\u{fe0f}\u{200d}🗨\u{fe0f}",
        "1\u{fe0f}\u{20e3}",
        "🇩🇪",
        "می\u{200c}خواهم",
        "دختر\u{200c}ها",
        "علی\u{200d}رضا",
        "ශ\u{dca}\u{200d}රී",
        "ക\u{d4d}\u{200d}",
        "דָּוִד",
        "Nguyễn Văn",
        "e\u{301}",
        "…",
        "\u{1f3f4}",
    ];

    const BAD: [&str; 29] = [
        "",
        " ",
        "\u{a0}\u{3000}",
        "\u{301}",
        "\u{2800}",
        "\u{3164}",
        "\u{200b}",
        "\u{200d}",
        "\u{fe0f}",
        "a\nb",
        "a\u{1b}[31m",
        "a\u{85}b",
        "alice\u{202e}nimda",
        "\u{2066}alice\u{2069}",
        "a\u{200e}b",
        "a\u{61c}b",
        "alice\u{e0041}\u{e007f}",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e007f}",
        "alice\u{3164}",
        "ali\u{115f}ce",
        "ali\u{ad}ce",
        "ali\u{34f}ce",
        "ali\u{feff}ce",
        "ali\u{2060}ce",
        "ali\u{200d}ce",
        "ali\u{200c}ce",
        "ali\u{fe0f}ce",
        "1\u{fe0f}",
        "a\u{2028}b",
    ];

    #[test]
    fn names_in_all_scripts_are_valid_and_unchanged() {
        for name in GOOD {
            assert!(is_valid_name(name), "{name:?}");
            assert_eq!(sanitize(name).as_deref(), Some(name));
            assert_eq!(escape(name), name);
        }
    }

    #[test]
    fn names_with_invisible_or_direction_characters_are_rejected() {
        for name in BAD {
            assert!(!is_valid_name(name), "{name:?}");
            assert_ne!(sanitize(name).as_deref(), Some(name));
        }
        assert!(is_valid_name(&"x".repeat(128)) && !is_valid_name(&"x".repeat(129)));
    }

    #[test]
    fn a_foreign_name_loses_only_its_invalid_characters() {
        for (name, left) in [
            ("  alice\u{202e}nimda ", Some("alicenimda")),
            ("ali\u{200d}ce", Some("alice")),
            ("❤\u{fe0f}\u{fe0f}\u{e0041}", Some("❤\u{fe0f}")),
            ("👩\u{200d}\u{200d}💻", Some("👩\u{200d}💻")),
            ("می\u{202b}\u{200c}خواهم", Some("می\u{200c}خواهم")),
            ("\u{202e}\u{3164} \u{200d}", None),
        ] {
            assert_eq!(sanitize(name).as_deref(), left, "{name:?}");
        }
        let long = format!("{}\u{200d}💻", "👩".repeat(127));
        assert_eq!(sanitize(&long), Some("👩".repeat(127)));
    }

    #[test]
    fn control_and_direction_characters_are_escaped_for_a_terminal() {
        assert_eq!(escape("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(escape("x\u{202e}y ❤\u{fe0f}"), "x\\u{202e}y ❤\u{fe0f}");
        assert_eq!(escape("\u{9b}31m\u{e0041}"), "\\u{9b}31m\\u{e0041}");
    }

    proptest! {
        #[test]
        fn any_sanitized_name_is_valid_and_needs_no_escape(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select([&GOOD[..], &BAD].concat()).prop_map(str::to_owned),
                    "\\PC{0,4}|.{0,4}",
                ],
                0..12,
            ),
        ) {
            let name = pieces.concat();
            match sanitize(&name) {
                Some(left) => {
                    prop_assert!(is_valid_name(&left), "{left:?}");
                    prop_assert_eq!(escape(&left), left.as_str());
                }
                None => prop_assert!(!is_valid_name(&name)),
            }
            let mut shown = escape(&name).into_owned();
            shown.retain(|c| !depends_on_neighbours(c));
            prop_assert!(!shown.contains(is_deceptive), "{shown:?}");
        }
    }
}

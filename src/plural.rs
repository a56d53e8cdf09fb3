//! Numbers with their nouns.

use std::fmt::Display;

/// Returns a number with its noun, such as `1 relay` or `2 relays`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    if number == N::from(1) {
        format!("{number} {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn only_the_number_one_has_a_noun_without_an_s() {
        let texts = [0, 1, 2, 11, 21].map(|number: i64| counted(number, "relay"));
        assert_eq!(
            texts,
            ["0 relays", "1 relay", "2 relays", "11 relays", "21 relays"]
        );
    }
}

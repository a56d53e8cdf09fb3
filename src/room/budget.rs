//! How many bad messages one connection is borne with.

/// Bad messages in a row that are borne.
const BAD_IN_A_ROW: u32 = 100;
/// Bad messages in all that are borne.
const BAD_IN_ALL: u32 = 1_000;

/// The bad messages of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    in_a_row: u32,
    in_all: u32,
}

impl Budget {
    pub fn good(&mut self) {
        self.in_a_row = 0;
    }

    /// Counts a bad message; true when the budget is spent.
    pub fn bad(&mut self) -> bool {
        self.in_a_row += 1;
        self.in_all += 1;
        self.in_a_row > BAD_IN_A_ROW || self.in_all > BAD_IN_ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_bad_messages_in_a_row_are_borne() {
        let mut budget = Budget::default();
        assert!((0..100).all(|_| !budget.bad()));
        assert!(budget.bad());
    }

    #[test]
    fn a_thousand_bad_messages_in_all_are_borne() {
        let mut budget = Budget::default();
        for _ in 0..1000 {
            assert!(!budget.bad());
            budget.good();
        }
        assert!(budget.bad());
    }
}

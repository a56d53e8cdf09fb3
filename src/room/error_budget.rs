//! The number of bad messages that one connection may send.

/// Tolerated bad messages in a row.
const MAX_CONSECUTIVE_ERRORS: u32 = 100;
/// Tolerated bad messages in total.
const MAX_TOTAL_ERRORS: u32 = 1_000;

/// The bad messages of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorBudget {
    consecutive: u32,
    total: u32,
}

impl ErrorBudget {
    /// Whether the last message was no bad one.
    pub(super) fn is_clean(&self) -> bool {
        self.consecutive == 0
    }

    pub(super) fn record_success(&mut self) {
        self.consecutive = 0;
    }

    /// Counts a bad message; true when the budget is spent.
    pub(super) fn record_error(&mut self) -> bool {
        self.consecutive += 1;
        self.total += 1;
        self.consecutive > MAX_CONSECUTIVE_ERRORS || self.total > MAX_TOTAL_ERRORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_bad_messages_in_a_row_are_tolerated() {
        let mut budget = ErrorBudget::default();
        assert!((0..100).all(|_| !budget.record_error()));
        assert!(budget.record_error());
    }

    #[test]
    fn a_thousand_bad_messages_in_total_are_tolerated() {
        let mut budget = ErrorBudget::default();
        for _ in 0..1000 {
            assert!(!budget.record_error());
            budget.record_success();
        }
        assert!(budget.record_error());
    }
}

//! The columns of the live view, and those of them that fit a terminal.

use super::rows::LinkRow;
use super::words;

/// Width of the gap between two columns.
const GAP: u16 = 2;
/// The name is cut before this width, but columns are left out first.
const MIN_NAME_WIDTH: u16 = 16;
const MAX_NAME_WIDTH: u16 = 40;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Link,
    State,
    Loss,
    Jitter,
    RoundTrip,
    BitRate,
    Silent,
    Over,
    Node,
}

/// A column and its place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub column: Column,
    pub x: u16,
    pub width: u16,
}

/// All columns from left to right.
const ALL: [Column; 10] = [
    Column::Name,
    Column::Link,
    Column::State,
    Column::Loss,
    Column::Jitter,
    Column::RoundTrip,
    Column::BitRate,
    Column::Silent,
    Column::Over,
    Column::Node,
];

/// The columns that a narrow terminal does without, the first ones first.
const OPTIONAL: [Column; 7] = [
    Column::Over,
    Column::Node,
    Column::Silent,
    Column::Jitter,
    Column::BitRate,
    Column::RoundTrip,
    Column::Loss,
];

impl Column {
    pub(super) fn title(self) -> &'static str {
        match self {
            Column::Name => "NAME",
            Column::Link => "LINK",
            Column::State => "STATE",
            Column::Loss => "LOSS",
            Column::Jitter => "JITTER",
            Column::RoundTrip => "RTT",
            Column::BitRate => "KBIT/S",
            Column::Silent => "SILENT",
            Column::Over => "OVER",
            Column::Node => "NODE",
        }
    }

    /// The least width.
    fn width(self) -> u16 {
        match self {
            Column::Name => MIN_NAME_WIDTH,
            Column::Link | Column::Over => 4,
            Column::State => 11,
            Column::Loss | Column::Jitter | Column::RoundTrip => 7,
            Column::BitRate | Column::Silent => 8,
            Column::Node => 12,
        }
    }

    /// Whether the values are numbers, which are aligned by their last digits.
    pub(super) fn is_number(self) -> bool {
        matches!(
            self,
            Column::Loss | Column::Jitter | Column::RoundTrip | Column::BitRate | Column::Silent
        )
    }

    pub(super) fn text(self, row: &LinkRow) -> String {
        let is_relayed = row.kbps.is_some();
        let known = |text: Option<String>| match text {
            Some(text) => text,
            None if is_relayed => "?".to_owned(),
            None => String::new(),
        };
        match self {
            Column::Name => row.name.clone(),
            Column::Link => row.direction.to_owned(),
            Column::State => words::state(row.state).to_owned(),
            Column::Loss => known(row.loss_pct.map(|percent| format!("{percent:.1} %"))),
            Column::Jitter => known(row.jitter_ms.map(words::milliseconds)),
            Column::RoundTrip if !row.is_first => String::new(),
            Column::RoundTrip => known(row.rtt_ms.map(words::milliseconds)),
            Column::BitRate => row.kbps.map_or(String::new(), |kbps| kbps.to_string()),
            Column::Silent => row.silent_ms.map_or(String::new(), words::silence),
            Column::Over => row.over.clone(),
            Column::Node => row.node.clone(),
        }
    }
}

/// Returns the columns that fit this width, and their places. The name takes what the others leave.
pub(super) fn placed(width: u16, has_nodes: bool) -> Vec<Placed> {
    let mut shown = ALL.to_vec();
    shown.retain(|column| *column != Column::Node || has_nodes);
    let needed = |shown: &[Column]| -> u16 {
        shown.iter().map(|column| column.width() + GAP).sum::<u16>() - GAP
    };
    for column in OPTIONAL {
        if needed(&shown) <= width {
            break;
        }
        shown.retain(|kept| *kept != column);
    }
    let others = needed(&shown) - MIN_NAME_WIDTH;
    let name = width.saturating_sub(others).clamp(1, MAX_NAME_WIDTH);
    let mut x = 0;
    let places = shown.into_iter().map(|column| {
        let width = if column == Column::Name {
            name
        } else {
            column.width()
        };
        let placed = Placed { column, x, width };
        x += width + GAP;
        placed
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_has_fewer_columns_and_then_a_shorter_name() {
        let titles = |width| {
            let columns = placed(width, true).into_iter();
            let titles: Vec<_> = columns.map(|placed| placed.column.title()).collect();
            titles.join(" ")
        };
        let all = "NAME LINK STATE LOSS JITTER RTT KBIT/S SILENT OVER NODE";
        assert_eq!(titles(200), all);
        assert_eq!(titles(102), all);
        assert_eq!(titles(101), all.replace(" OVER", ""));
        assert_eq!(titles(60), "NAME LINK STATE LOSS RTT");
        assert_eq!(titles(30), "NAME LINK STATE");
        for width in 0..200 {
            let columns = placed(width, true);
            let last = columns.last().expect("columns");
            let name = columns[0].width;
            let fits = last.x + last.width <= width;
            assert!(fits || name == 1, "{width}: {columns:?}");
        }
    }

    #[test]
    fn a_single_server_has_no_column_of_nodes() {
        let columns = placed(200, false);
        assert!(columns.iter().all(|placed| placed.column != Column::Node));
    }
}

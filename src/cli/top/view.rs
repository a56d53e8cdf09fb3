//! The frame of the live view: a function of its state, without clock and terminal.

use std::collections::BTreeSet;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::admin::{LinkState, TopSnapshot};
use crate::display_name::escape;
use crate::plural::counted;

use super::columns::{Placed, placed};
use super::rows::{LinkRow, Row};
use super::state::State;
use super::words;

/// Separates the values of the head.
const SEPARATOR: &str = " · ";
/// Lines of the head.
const HEAD_LINES: u16 = 2;
/// Lines of one notice.
const MAX_NOTICE_LINES: usize = 3;

/// Whether the view has colors (`NO_COLOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    Colors,
    Plain,
}

impl Palette {
    /// The style of a word. Without colors, weight stands out.
    fn of(self, state: LinkState) -> Style {
        match (self, state) {
            (
                _,
                LinkState::Unrated | LinkState::Silent | LinkState::NoMedia | LinkState::NotRelayed,
            ) => self.dim(),
            (Palette::Plain, LinkState::Good) => Style::new(),
            (Palette::Plain, LinkState::Weak) => Style::new().add_modifier(Modifier::BOLD),
            (Palette::Plain, _) => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
            (Palette::Colors, LinkState::Good) => Style::new().fg(Color::Green),
            (Palette::Colors, LinkState::Weak) => Style::new().fg(Color::Yellow),
            (Palette::Colors, _) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    fn notice(self) -> Style {
        match self {
            Palette::Colors => Style::new().fg(Color::Yellow),
            Palette::Plain => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    fn dim(self) -> Style {
        match self {
            Palette::Colors => Style::new().fg(Color::DarkGray),
            Palette::Plain => Style::new(),
        }
    }
}

/// Returns the number of rows that a terminal of this size shows.
pub(super) fn page(state: &State, (width, height): (u16, u16)) -> usize {
    let others = HEAD_LINES as usize + notices(state, width).len() + 2;
    usize::from(height).saturating_sub(others)
}

/// Draws the view.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, palette: Palette) {
    let area = frame.area();
    let mut lines = Lines { frame, area, y: 0 };
    for text in head(state) {
        lines.text(&text, Style::new().add_modifier(Modifier::BOLD));
    }
    for text in notices(state, area.width) {
        lines.text(&text, palette.notice());
    }
    let has_nodes = state
        .snapshot
        .as_ref()
        .is_some_and(|one| one.node.is_some());
    let columns = placed(area.width, has_nodes);
    lines.header(&columns);
    let size = (area.width, area.height);
    for row in state.rows.iter().skip(state.scroll).take(page(state, size)) {
        match row {
            Row::Room { name, people } => lines.room(name.as_deref(), *people),
            Row::Link(link) => lines.link(link, &columns, palette),
        }
    }
    if state.rows.is_empty() {
        lines.text(empty(state), palette.dim());
    }
    lines.y = area.height.saturating_sub(1);
    lines.text(&footer(state, size), palette.dim());
}

/// The lines of a frame from above.
struct Lines<'a, 'b> {
    frame: &'a mut Frame<'b>,
    area: Rect,
    y: u16,
}

impl Lines<'_, '_> {
    fn text(&mut self, text: &str, style: Style) {
        self.cell(0, self.area.width, text, style);
        self.y += 1;
    }

    /// Writes a text at `x`; one that is wider than `width` ends with an ellipsis.
    fn cell(&mut self, x: u16, width: u16, text: &str, style: Style) {
        let width = width.min(self.area.width.saturating_sub(x));
        if self.y >= self.area.height || width == 0 {
            return;
        }
        let is_wider = Span::raw(text).width() > usize::from(width);
        let buffer = self.frame.buffer_mut();
        if is_wider {
            let (end, _) = buffer.set_stringn(x, self.y, text, usize::from(width) - 1, style);
            buffer.set_string(end, self.y, "…", style);
        } else {
            buffer.set_string(x, self.y, text, style);
        }
    }

    fn header(&mut self, columns: &[Placed]) {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        self.cell(
            0,
            self.area.width,
            &" ".repeat(usize::from(self.area.width)),
            style,
        );
        for placed in columns {
            self.column(placed, placed.column.title(), style);
        }
        self.y += 1;
    }

    /// Writes a text into a column; numbers end at the right of it.
    fn column(&mut self, placed: &Placed, text: &str, style: Style) {
        let missing = usize::from(placed.width).saturating_sub(Span::raw(text).width()) as u16;
        let indent = if placed.column.is_number() {
            missing
        } else {
            0
        };
        self.cell(placed.x + indent, placed.width - indent, text, style);
    }

    fn room(&mut self, name: Option<&str>, people: usize) {
        let people = match people {
            1 => "1 person".to_owned(),
            people => format!("{people} people"),
        };
        let name = name.unwrap_or("(no room)");
        let style = Style::new().add_modifier(Modifier::BOLD);
        self.text(&format!("{name}{SEPARATOR}{people}"), style);
    }

    fn link(&mut self, link: &LinkRow, columns: &[Placed], palette: Palette) {
        for placed in columns {
            let style = match placed.column {
                super::columns::Column::State => palette.of(link.state),
                _ => Style::new(),
            };
            let text = placed.column.text(link);
            let text = match placed.column {
                super::columns::Column::Name => format!("  {text}"),
                _ => text,
            };
            self.column(placed, &text, style);
        }
        self.y += 1;
    }
}

/// The values of the server as a whole.
fn head(state: &State) -> [String; 2] {
    let Some(snapshot) = &state.snapshot else {
        return ["parlor".to_owned(), "waiting for the server".to_owned()];
    };
    let mut first = vec![format!("parlor {}", escape(&snapshot.version))];
    first.extend(
        snapshot
            .node
            .as_ref()
            .map(|node| format!("node {}", escape(node))),
    );
    first.push(format!("up {}", words::uptime(snapshot.uptime_ms)));
    let (rooms, people) = usage(snapshot);
    first.push(counted(rooms, "room"));
    first.push(match people {
        1 => "1 person".to_owned(),
        people => format!("{people} people"),
    });
    first.push(counted(snapshot.sessions, "session"));
    let second = match state.rates {
        Some(rates) => [
            words::rate(rates.bytes, "B"),
            format!("{:.0} packets/s", rates.packets),
            format!("{:.0} drops/s", rates.dropped),
            format!("{} dropped since the start", snapshot.dropped),
        ],
        None => ["? B/s", "? packets/s", "? drops/s", ""].map(str::to_owned),
    };
    let second: Vec<_> = second.into_iter().filter(|text| !text.is_empty()).collect();
    [first.join(SEPARATOR), second.join(SEPARATOR)]
}

/// The numbers of rooms and people.
fn usage(snapshot: &TopSnapshot) -> (usize, usize) {
    let people = snapshot.people.iter();
    let rooms: BTreeSet<_> = people
        .clone()
        .filter_map(|one| one.room_id.as_ref())
        .collect();
    let people: BTreeSet<_> = people.map(|one| &one.id).collect();
    (rooms.len(), people.len())
}

/// Sentences about what is missing in the view, in lines of this width.
fn notices(state: &State, width: u16) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    sentences.extend(
        state
            .problem
            .as_deref()
            .map(|problem| failure(problem, state)),
    );
    if let Some(snapshot) = &state.snapshot {
        if !snapshot.quality {
            sentences.push("turn.quality is off: links are not measured.".to_owned());
        }
        if !snapshot.silent_nodes.is_empty() {
            let nodes = snapshot.silent_nodes.join(", ");
            sentences.push(format!("Nodes without an answer: {}.", escape(&nodes)));
        }
        if !snapshot.names_complete {
            sentences.push(
                "Some names could not be read from the database; their ids are shown.".to_owned(),
            );
        }
    }
    let lines = sentences.iter().flat_map(|sentence| {
        let lines = words::wrap(sentence, usize::from(width)).into_iter();
        lines.take(MAX_NOTICE_LINES)
    });
    lines.collect()
}

/// Says that the view is not up to date.
fn failure(problem: &str, state: &State) -> String {
    let problem = escape(problem);
    match state.snapshot {
        Some(_) => format!("No answer, old values: {problem}; trying again every second."),
        None => format!("No answer: {problem}; trying again every second."),
    }
}

/// The line in place of rows.
fn empty(state: &State) -> &'static str {
    match &state.snapshot {
        None => "",
        Some(snapshot) if snapshot.people.is_empty() => "No one is connected.",
        Some(_) => "No room and no name contains the filter.",
    }
}

/// The keys, or the filter that is being typed.
fn footer(state: &State, (width, height): (u16, u16)) -> String {
    let filter = escape(&state.filter);
    if state.is_typing {
        return format!("Filter by room or name: {filter}_  (Enter: keep, Esc: clear)");
    }
    let mut keys = vec!["q quit".to_owned()];
    keys.push(format!("s sort: {}", state.order.name()));
    keys.push(match &*filter {
        "" => "/ filter".to_owned(),
        filter => format!("/ filter: {filter} (Esc: clear)"),
    });
    let shown = page(state, (width, height));
    let rows = state.rows.len();
    if rows > shown {
        let last = (state.scroll + shown).min(rows);
        keys.push(format!("↑↓ {}–{last} of {rows}", state.scroll + 1));
    }
    keys.join("  ")
}

#[cfg(test)]
mod tests;

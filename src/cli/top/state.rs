//! The state of the live view: the last snapshot, and what the keys have changed.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::admin::TopSnapshot;

use super::rows::{Row, SortOrder, rows};

/// Maximum length of a filter in characters.
const MAX_FILTER_CHARS: usize = 64;

/// The state of the view.
#[derive(Debug, Default)]
pub(super) struct State {
    /// `None` before the first answer.
    pub snapshot: Option<TopSnapshot>,
    /// Between the last two snapshots of one process.
    pub rates: Option<Rates>,
    /// The reason why the last request failed.
    pub problem: Option<String>,
    pub order: SortOrder,
    pub filter: String,
    /// Whether keys change the filter.
    pub is_typing: bool,
    pub rows: Vec<Row>,
    /// Index of the first row on the screen.
    pub scroll: usize,
    /// Number of rows on the screen.
    page: usize,
}

/// Traffic per second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rates {
    pub bytes: f64,
    pub packets: f64,
    pub dropped: f64,
}

/// The consequence of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Continue,
    Quit,
}

impl Rates {
    /// Returns the rates between two snapshots; `None` if they are of different processes or of one moment.
    fn between(earlier: &TopSnapshot, later: &TopSnapshot) -> Option<Rates> {
        let source = |snapshot: &TopSnapshot| (snapshot.process, snapshot.node.clone());
        let ms = later.uptime_ms.checked_sub(earlier.uptime_ms)?;
        if source(earlier) != source(later) || ms == 0 {
            return None;
        }
        let rate =
            |earlier: u64, later: u64| later.saturating_sub(earlier) as f64 * 1000.0 / ms as f64;
        Some(Rates {
            bytes: rate(earlier.bytes, later.bytes),
            packets: rate(earlier.packets, later.packets),
            dropped: rate(earlier.dropped, later.dropped),
        })
    }
}

impl State {
    /// Takes over an answer of the server.
    pub(super) fn update(&mut self, snapshot: TopSnapshot) {
        let last = self.snapshot.as_ref();
        self.rates = last.and_then(|last| Rates::between(last, &snapshot));
        self.snapshot = Some(snapshot);
        self.problem = None;
        self.renew_rows();
    }

    /// Keeps the last snapshot beside the reason for which there is no newer one.
    pub(super) fn fail(&mut self, reason: String) {
        self.problem = Some(reason);
        self.rates = None;
    }

    /// Sets the number of rows on the screen.
    pub(super) fn set_page(&mut self, rows: usize) {
        self.page = rows;
        self.limit_scroll();
    }

    pub(super) fn on_key(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Continue;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                _ => Action::Continue,
            };
        }
        if self.is_typing {
            self.on_filter_key(key.code);
            return Action::Continue;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Action::Quit,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.scroll = 0;
                self.renew_rows();
            }
            code => self.on_scroll_key(code),
        }
        Action::Continue
    }

    fn on_scroll_key(&mut self, code: KeyCode) {
        let page = self.page.max(1);
        self.scroll = match code {
            KeyCode::Up | KeyCode::Char('k') => self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll + 1,
            KeyCode::PageUp => self.scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll + page,
            KeyCode::Home => 0,
            KeyCode::End => self.rows.len(),
            _ => self.scroll,
        };
        self.limit_scroll();
    }

    fn on_filter_key(&mut self, code: KeyCode) {
        let mut filter = self.filter.clone();
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                filter.clear();
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(c) if filter.chars().count() < MAX_FILTER_CHARS => filter.push(c),
            _ => {}
        }
        self.set_filter(filter);
    }

    fn set_filter(&mut self, filter: String) {
        if filter != self.filter {
            self.filter = filter;
            self.scroll = 0;
            self.renew_rows();
        }
    }

    fn renew_rows(&mut self) {
        let people = self.snapshot.as_ref().map(|snapshot| &snapshot.people[..]);
        self.rows = rows(people.unwrap_or_default(), self.order, &self.filter);
        self.limit_scroll();
    }

    /// Keeps the last page full.
    fn limit_scroll(&mut self) {
        let last = self.rows.len().saturating_sub(self.page.max(1));
        self.scroll = self.scroll.min(last);
    }
}

#[cfg(test)]
mod tests;

use super::*;
use crate::admin::TopPerson;

fn person(name: &str) -> TopPerson {
    TopPerson {
        id: name.to_owned(),
        name: name.to_owned(),
        room_id: Some("lobby".to_owned()),
        room: Some("Lobby".to_owned()),
        ..TopPerson::default()
    }
}

fn snapshot(uptime_ms: u64, bytes: u64) -> TopSnapshot {
    TopSnapshot {
        process: 1,
        uptime_ms,
        bytes,
        packets: bytes / 100,
        people: (0..9)
            .map(|number| person(&format!("user{number}")))
            .collect(),
        ..TopSnapshot::default()
    }
}

fn shown() -> State {
    let mut state = State::default();
    state.set_page(4);
    state.update(snapshot(1000, 0));
    state
}

fn press(state: &mut State, code: KeyCode) -> Action {
    state.on_key(KeyEvent::from(code))
}

fn type_text(state: &mut State, text: &str) {
    for c in text.chars() {
        assert_eq!(press(state, KeyCode::Char(c)), Action::Continue);
    }
}

#[test]
fn rates_are_those_between_two_snapshots_of_one_process() {
    let mut state = shown();
    assert_eq!(state.rates, None);
    state.update(snapshot(3000, 5000));
    let rates = Rates {
        bytes: 2500.0,
        packets: 25.0,
        dropped: 0.0,
    };
    assert_eq!(state.rates, Some(rates));
    let mut restarted = snapshot(4000, 9000);
    restarted.process = 2;
    state.update(restarted);
    assert_eq!(state.rates, None, "the counts began anew");
    state.update(snapshot(100, 0));
    assert_eq!(state.rates, None, "an earlier moment");
}

#[test]
fn a_failure_keeps_the_last_snapshot_until_the_next_one() {
    let mut state = shown();
    state.update(snapshot(3000, 5000));
    state.fail("the server is gone".to_owned());
    assert_eq!(state.problem.as_deref(), Some("the server is gone"));
    assert!(state.snapshot.is_some() && !state.rows.is_empty());
    assert_eq!(state.rates, None, "an old rate is not the present one");
    state.update(snapshot(5000, 6000));
    assert_eq!(state.problem, None);
}

#[test]
fn q_escape_and_control_c_quit() {
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let keys = [KeyCode::Char('q').into(), KeyCode::Esc.into(), control_c];
    for key in keys {
        assert_eq!(shown().on_key(key), Action::Quit);
    }
    assert_eq!(press(&mut shown(), KeyCode::Char('c')), Action::Continue);
}

#[test]
fn scrolling_ends_at_the_first_and_the_last_page() {
    let mut state = shown();
    assert_eq!(state.rows.len(), 10, "a room and nine people");
    let positions = [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::PageDown, 5),
        (KeyCode::PageDown, 6),
        (KeyCode::Down, 6),
        (KeyCode::PageUp, 2),
        (KeyCode::End, 6),
        (KeyCode::Home, 0),
    ];
    for (code, position) in positions {
        press(&mut state, code);
        assert_eq!(state.scroll, position, "{code:?}");
    }
}

#[test]
fn fewer_rows_or_a_higher_terminal_keep_the_last_page_full() {
    let mut state = shown();
    press(&mut state, KeyCode::End);
    state.set_page(8);
    assert_eq!(state.scroll, 2);
    let mut fewer = snapshot(3000, 0);
    fewer.people.truncate(2);
    state.update(fewer);
    assert_eq!(state.scroll, 0);
}

#[test]
fn s_selects_each_order_in_turn() {
    let mut state = shown();
    press(&mut state, KeyCode::End);
    let mut orders = vec![state.order];
    for _ in 0..4 {
        press(&mut state, KeyCode::Char('s'));
        orders.push(state.order);
    }
    let expected = [
        SortOrder::WorstFirst,
        SortOrder::RoundTrip,
        SortOrder::BitRate,
        SortOrder::Name,
        SortOrder::WorstFirst,
    ];
    assert_eq!(orders, expected);
    assert_eq!(state.scroll, 0);
}

#[test]
fn a_filter_is_typed_kept_and_cleared() {
    let mut state = shown();
    type_text(&mut state, "/user7q");
    assert_eq!((&*state.filter, state.rows.len()), ("user7q", 0));
    press(&mut state, KeyCode::Backspace);
    assert_eq!(state.rows.len(), 2);
    press(&mut state, KeyCode::Enter);
    assert!(!state.is_typing);
    state.update(snapshot(3000, 0));
    assert_eq!(state.rows.len(), 2, "the next snapshot is filtered as well");
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Continue);
    assert_eq!((&*state.filter, state.rows.len()), ("", 10));
    type_text(&mut state, "/7");
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Continue);
    assert_eq!((&*state.filter, state.is_typing), ("", false));
    assert_eq!(press(&mut state, KeyCode::Esc), Action::Quit);
}

#[test]
fn control_c_quits_while_a_filter_is_typed_and_the_filter_is_bounded() {
    let mut state = shown();
    type_text(&mut state, "/");
    type_text(&mut state, &"x".repeat(MAX_FILTER_CHARS + 5));
    assert_eq!(state.filter.len(), MAX_FILTER_CHARS);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.on_key(control_c), Action::Quit);
}

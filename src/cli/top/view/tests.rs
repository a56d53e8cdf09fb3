use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::*;
use crate::admin::{MeasuredLink, TopPerson};

fn link(state: LinkState, loss_pct: Option<f64>, kbps: u32) -> MeasuredLink {
    MeasuredLink {
        state,
        loss_pct,
        jitter_ms: loss_pct.map(|_| 3.0),
        kbps,
        silent_ms: Some(20),
    }
}

fn person(name: &str, up: MeasuredLink, down: MeasuredLink) -> TopPerson {
    TopPerson {
        id: name.to_owned(),
        name: name.to_owned(),
        room_id: Some("lobby".to_owned()),
        room: Some("Lobby".to_owned()),
        node: None,
        over: Some("udp".to_owned()),
        rtt_ms: Some(48.2),
        up,
        down,
    }
}

fn snapshot() -> TopSnapshot {
    let good = || link(LinkState::Good, Some(0.0), 33);
    let mut carol = person("Carol", MeasuredLink::default(), MeasuredLink::default());
    carol.over = None;
    TopSnapshot {
        version: "0.1.0".to_owned(),
        process: 1,
        uptime_ms: 90_061_000,
        quality: true,
        sessions: 5,
        people: vec![
            person("Bob B.", good(), link(LinkState::Unrated, None, 34)),
            person("Alice A.", link(LinkState::Bad, Some(12.04), 34), good()),
            carol,
        ],
        names_complete: true,
        ..TopSnapshot::default()
    }
}

fn shown() -> State {
    let mut state = State::default();
    state.update(snapshot());
    let later = TopSnapshot {
        uptime_ms: 90_063_000,
        bytes: 2_400_000,
        packets: 1624,
        dropped: 7,
        ..snapshot()
    };
    state.update(later);
    state
}

fn buffer(state: &State, (width, height): (u16, u16), palette: Palette) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, palette)).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines of the screen, without spaces at their ends.
fn screen(state: &State, (width, height): (u16, u16)) -> Vec<String> {
    let buffer = buffer(state, (width, height), Palette::Plain);
    let line = |y| {
        let symbols = (0..width).map(|x| buffer[(x, y)].symbol());
        symbols.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

#[test]
fn the_view_has_head_rooms_and_links_with_the_worst_first() {
    let expected = [
        "parlor 0.1.0 · up 1day 1h · 1 room · 3 people · 5 sessions",
        "1.2 MB/s · 812 packets/s · 4 drops/s · 7 dropped since the start",
        "NAME                LINK  STATE           LOSS   JITTER      RTT    KBIT/S    SILENT  OVER",
        "Lobby · 3 people",
        "  Alice A.          up    bad           12.0 %     3 ms    48 ms        34     0.0 s  udp",
        "                    down  good           0.0 %     3 ms                 33     0.0 s",
        "  Bob B.            up    good           0.0 %     3 ms    48 ms        33     0.0 s  udp",
        "                    down  ?                  ?        ?                 34     0.0 s",
        "  Carol                   not relayed",
        "",
        "q quit  s sort: worst first  / filter",
    ];
    assert_eq!(screen(&shown(), (90, 11)), expected);
}

#[test]
fn a_narrow_terminal_cuts_columns_and_names() {
    let mut state = shown();
    state.update(TopSnapshot {
        people: vec![person(
            "A name that is longer than its column",
            link(LinkState::Weak, Some(2.5), 34),
            link(LinkState::Good, Some(0.0), 34),
        )],
        ..snapshot()
    });
    let lines = screen(&state, (44, 8));
    assert_eq!(lines[2], "NAME              LINK  STATE           LOSS");
    assert_eq!(lines[4], "  A name that i…  up    weak           2.5 %");
    let lines = screen(&state, (24, 8));
    assert_eq!(lines[0], "parlor 0.1.0 · up 1day …");
    assert_eq!(lines[4], "  A …  up    weak");
}

#[test]
fn no_size_of_the_terminal_makes_drawing_panic() {
    let mut state = shown();
    state.fail("the server (process 1) did not answer".to_owned());
    for width in [1, 2, 5, 19, 200] {
        for height in [1, 2, 3, 4, 5, 40] {
            screen(&state, (width, height));
        }
    }
}

#[test]
fn rows_scroll_between_the_head_and_the_footer() {
    let mut state = shown();
    let size = (90, 8);
    state.set_page(page(&state, size));
    let footer = |state: &State| screen(state, size)[7].clone();
    assert!(
        footer(&state).ends_with("↑↓ 1–4 of 6"),
        "{}",
        footer(&state)
    );
    state.on_key(KeyEvent::from(KeyCode::End));
    let lines = screen(&state, size);
    assert!(
        lines[3].starts_with("  Bob") || lines[3].contains("down"),
        "{lines:?}"
    );
    assert!(lines[6].starts_with("  Carol"), "{lines:?}");
    assert!(lines[7].ends_with("↑↓ 3–6 of 6"), "{lines:?}");
}

#[test]
fn a_server_that_does_not_answer_is_named_above_the_old_values() {
    let mut state = shown();
    state.fail("the server (process 1) did not answer at /run/parlor.sock: gone".to_owned());
    let lines = screen(&state, (60, 14));
    assert_eq!(lines[1], "? B/s · ? packets/s · ? drops/s");
    assert_eq!(
        lines[2..5].join("|"),
        "No answer, old values: the server (process 1) did not answer|\
         at /run/parlor.sock: gone; trying again every second.|\
         NAME                     LINK  STATE           LOSS      RTT"
    );
    let mut state = State::default();
    state.fail("gone".to_owned());
    let lines = screen(&state, (60, 6));
    assert_eq!(lines[2], "No answer: gone; trying again every second.");
}

#[test]
fn sentences_name_the_parts_that_are_missing() {
    let mut state = State::default();
    assert_eq!(screen(&state, (60, 6))[1], "waiting for the server");
    state.update(TopSnapshot {
        quality: false,
        silent_nodes: vec!["b".to_owned(), "c\u{1b}".to_owned()],
        names_complete: false,
        people: Vec::new(),
        ..snapshot()
    });
    let lines = screen(&state, (80, 9)).join("\n");
    for sentence in [
        "turn.quality is off: links are not measured.",
        "Nodes without an answer: b, c\\u{1b}.",
        "Some names could not be read from the database; their ids are shown.",
        "No one is connected.",
    ] {
        assert!(lines.contains(sentence), "{lines}");
    }
}

#[test]
fn the_footer_shows_the_filter_while_it_is_typed_and_after() {
    let mut state = shown();
    for c in "/nobody\u{7}".chars() {
        state.on_key(KeyEvent::from(KeyCode::Char(c)));
    }
    let lines = screen(&state, (90, 9));
    let prompt = "Filter by room or name: nobody\\u{7}_  (Enter: keep, Esc: clear)";
    assert_eq!(lines[8], prompt);
    assert_eq!(lines[3], "No room and no name contains the filter.");
    state.on_key(KeyEvent::from(KeyCode::Enter));
    let footer = &screen(&state, (90, 9))[8];
    assert!(
        footer.contains("/ filter: nobody\\u{7} (Esc: clear)"),
        "{footer}"
    );
}

#[test]
fn without_colors_weight_stands_out() {
    let cells = |palette| buffer(&shown(), (90, 11), palette).content().to_vec();
    let is_colored =
        |cell: &ratatui::buffer::Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
    assert!(cells(Palette::Colors).iter().any(is_colored));
    assert!(!cells(Palette::Plain).iter().any(is_colored));
    let bad = &buffer(&shown(), (90, 11), Palette::Plain)[(26, 4)];
    assert_eq!(bad.symbol(), "b");
    assert!(bad.modifier.contains(Modifier::REVERSED), "{bad:?}");
}

#[test]
fn a_cluster_has_a_column_of_nodes_and_names_the_one_that_answers() {
    let mut state = State::default();
    let mut alice = person(
        "Alice",
        link(LinkState::Good, Some(0.0), 1),
        MeasuredLink::default(),
    );
    alice.node = Some("west".to_owned());
    state.update(TopSnapshot {
        node: Some("east".to_owned()),
        people: vec![alice],
        ..snapshot()
    });
    let lines = screen(&state, (110, 8));
    assert!(
        lines[0].starts_with("parlor 0.1.0 · node east · up"),
        "{lines:?}"
    );
    assert!(
        lines[2].ends_with("NODE") && lines[4].ends_with("west"),
        "{lines:?}"
    );
}

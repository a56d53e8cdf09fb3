use super::*;

fn link(state: LinkState, loss_pct: f64) -> MeasuredLink {
    MeasuredLink {
        state,
        loss_pct: Some(loss_pct),
        ..MeasuredLink::default()
    }
}

fn person(name: &str, room: &str, up: MeasuredLink, rtt_ms: f64) -> TopPerson {
    TopPerson {
        id: name.to_lowercase(),
        name: name.to_owned(),
        room_id: Some(room.to_lowercase()),
        room: Some(room.to_owned()),
        over: Some("udp".to_owned()),
        rtt_ms: Some(rtt_ms),
        up,
        down: link(LinkState::Good, 0.0),
        ..TopPerson::default()
    }
}

/// Two rooms; Bob's way up is the worst link, and Carol has the longest round trip.
fn people() -> Vec<TopPerson> {
    vec![
        person("Alice", "Attic", link(LinkState::Good, 0.5), 20.0),
        person("Carol", "Attic", link(LinkState::Good, 0.1), 90.0),
        person("Dave", "Lobby", link(LinkState::Weak, 3.0), 40.0),
        person("Bob", "Lobby", link(LinkState::Weak, 5.0), 30.0),
    ]
}

/// The names in the rows, with their rooms before them.
fn names(people: &[TopPerson], order: SortOrder, filter: &str) -> String {
    let rows = rows(people, order, filter).into_iter();
    let names = rows.filter_map(|row| match row {
        Row::Room { name, people } => Some(format!("[{} {people}]", name.unwrap_or_default())),
        Row::Link(link) => Some(link.name).filter(|name| !name.is_empty()),
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn rooms_and_people_are_in_the_selected_order() {
    let sorted = |order| names(&people(), order, "");
    let worst_first = "[Lobby 2] Bob Dave [Attic 2] Alice Carol";
    assert_eq!(sorted(SortOrder::WorstFirst), worst_first);
    let by_round_trip = "[Attic 2] Carol Alice [Lobby 2] Dave Bob";
    assert_eq!(sorted(SortOrder::RoundTrip), by_round_trip);
    assert_eq!(
        sorted(SortOrder::Name),
        "[Attic 2] Alice Carol [Lobby 2] Bob Dave"
    );
    let mut people = people();
    people[0].down.kbps = 500;
    people[2].up.kbps = 300;
    let by_bit_rate = "[Attic 2] Alice Carol [Lobby 2] Dave Bob";
    assert_eq!(names(&people, SortOrder::BitRate, ""), by_bit_rate);
}

#[test]
fn a_lost_path_is_worse_than_loss_and_a_link_without_media_is_not_bad() {
    let mut people = people();
    people[1].up = link(LinkState::PathLost, 0.0);
    people[3].up = link(LinkState::Silent, 90.0);
    let order = "[Attic 2] Carol Alice [Lobby 2] Dave Bob";
    assert_eq!(names(&people, SortOrder::WorstFirst, ""), order);
}

#[test]
fn the_worse_of_two_links_decides() {
    let mut people = people();
    people[0].down = link(LinkState::Bad, 9.0);
    let order = "[Attic 2] Alice Carol [Lobby 2] Bob Dave";
    assert_eq!(names(&people, SortOrder::WorstFirst, ""), order);
}

#[test]
fn the_filter_finds_rooms_and_names_in_any_case() {
    let found = |filter| names(&people(), SortOrder::WorstFirst, filter);
    assert_eq!(found("LOB"), "[Lobby 2] Bob Dave");
    assert_eq!(found("car"), "[Attic 1] Carol");
    assert_eq!(found("nobody"), "");
}

#[test]
fn people_without_a_room_come_last_by_name() {
    let mut people = people();
    people[0].room = None;
    people[0].room_id = None;
    let order = "[Attic 1] Carol [Lobby 2] Bob Dave [ 1] Alice";
    assert_eq!(names(&people, SortOrder::Name, ""), order);
}

#[test]
fn two_rooms_with_one_name_stay_apart() {
    let mut people = people();
    people[0].room_id = Some("other".to_owned());
    let order = "[Attic 1] Alice [Attic 1] Carol [Lobby 2] Bob Dave";
    assert_eq!(names(&people, SortOrder::Name, ""), order);
}

#[test]
fn a_person_without_an_allocation_has_one_row() {
    let mut alice = person("Alice", "Attic", link(LinkState::NotRelayed, 0.0), 0.0);
    alice.over = None;
    let rows = rows(&[alice], SortOrder::Name, "");
    assert_eq!(rows.len(), 2);
    let Row::Link(row) = &rows[1] else {
        panic!("a person");
    };
    assert_eq!((row.state, row.kbps), (LinkState::NotRelayed, None));
}

#[test]
fn control_characters_in_texts_of_users_are_escaped() {
    let text = "\u{1b}[2J\u{202e}";
    let mut alice = person(text, text, link(LinkState::Good, 0.0), 0.0);
    alice.over = Some(text.to_owned());
    alice.node = Some(text.to_owned());
    for row in rows(&[alice], SortOrder::Name, "") {
        let texts = match row {
            Row::Room { name, .. } => vec![name.unwrap_or_default()],
            Row::Link(link) => vec![link.name, link.over, link.node],
        };
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        for text in texts {
            assert_eq!(text, "\\u{1b}[2J\\u{202e}");
        }
    }
}

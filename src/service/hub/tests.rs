use super::*;

const ISSUE: Issue = Issue::Own { generation: 0 };

fn hub() -> Arc<Hub> {
    Hub::new(&Signaling::default(), &Metrics::new())
}

fn join(hub: &Arc<Hub>, user: &str) -> RoomHandle {
    let outbox = Arc::new(Outbox::new(1000));
    hub.join("lobby", Entrance::plain(user, ISSUE), &outbox)
        .expect("a handle")
}

#[test]
fn a_room_is_removed_with_its_last_connection() {
    let hub = hub();
    let connections = [join(&hub, "alice"), join(&hub, "bob")];
    assert_eq!(hub.connected("lobby").len(), 2);
    drop(connections);
    assert!(hub.occupied_rooms().is_empty());
    assert_eq!(hub.metrics.rooms.get(), 0);
    assert_eq!(hub.metrics.connections.get(), 0);
}

#[test]
fn late_leavers_of_a_closed_room_do_not_remove_a_newcomer() {
    let hub = hub();
    let [alice, bob] = [join(&hub, "alice"), join(&hub, "bob")];
    assert_eq!(hub.close_room("lobby", CloseCode::RoomClosed), 2);
    drop(alice);
    let _carol = join(&hub, "carol");
    drop(bob);
    assert_eq!(hub.connected("lobby"), [Arc::from("carol")]);
    assert_eq!(hub.metrics.rooms.get(), 1);
}

#[test]
fn invalidating_or_closing_changes_the_epoch() {
    let hub = hub();
    let verdicts = [
        Hub::invalidate as fn(&Hub),
        |hub| assert!(!hub.close("lobby", "nobody", CloseCode::Removed)),
        |hub| assert_eq!(hub.close_room("lobby", CloseCode::RoomClosed), 0),
    ];
    for change in verdicts {
        let before = hub.epoch();
        change(&hub);
        assert_ne!(hub.epoch(), before);
    }
}

#[test]
fn a_connection_after_the_shutdown_is_rejected() {
    let hub = hub();
    let _alice = join(&hub, "alice");
    hub.shutdown();
    assert!(hub.connected("lobby").is_empty());
    let outbox = Arc::new(Outbox::new(1000));
    let late = hub
        .join("attic", Entrance::plain("bob", ISSUE), &outbox)
        .err();
    assert_eq!(late, Some(CloseCode::Stopped));
}

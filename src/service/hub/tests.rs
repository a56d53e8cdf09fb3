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

#[test]
fn a_change_of_the_relay_reaches_clients_by_their_protocol() {
    use std::task::{Context, Waker};

    let (hub, settings) = (hub(), Signaling::default());
    let extended = hub.session_outbox(&settings, "a");
    let [plain, noticing] =
        [false, true].map(|accepts| Arc::new(Outbox::new(1000).with_notices(accepts)));
    let greeting = || crate::room::Greeting::blank(std::time::Duration::from_secs(30));
    let people = [("a", &extended), ("b", &plain), ("c", &noticing)];
    let _handles = people.map(|(user, outbox)| {
        let entrance = Entrance {
            greeting: (user == "a").then(greeting),
            ..Entrance::plain(user, ISSUE)
        };
        hub.join("lobby", entrance, outbox).expect("a handle")
    });
    let take = |outbox: &Arc<Outbox>| {
        let mut frames = 0;
        let context = Context::from_waker(Waker::noop());
        let rest = outbox.take(&context, usize::MAX, |_| frames += 1);
        (frames, rest.renewals.map(|times| times.ice_due))
    };
    for (_, outbox) in people {
        take(outbox);
    }
    hub.notify_ice_servers("lobby");
    // Only the connection of the first one knows the host for URLs: it fetches the servers.
    assert_eq!(take(&extended), (0, Some(Some(0))));
    assert_eq!(take(&plain), (0, None));
    assert_eq!(take(&noticing), (1, None));
}

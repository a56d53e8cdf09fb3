use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::turn::Transport;

fn link(expected: u64, lost: u64, kbps: u32, silent_ms: u64) -> LinkQuality {
    LinkQuality {
        recent: Some(Loss { expected, lost }),
        kbps,
        silent: Some(Duration::from_millis(silent_ms)),
        ..LinkQuality::default()
    }
}

fn session(user: &str, room: Option<&str>, up: LinkQuality) -> Session {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 3478));
    Session {
        user: user.into(),
        room: room.map(Box::from),
        transport: Transport::Udp,
        client: address,
        server: address,
        relayed: address,
        relayed_ipv6: None,
        since: 0,
        bytes_up: 0,
        bytes_down: 0,
        quality: Some(Quality {
            up,
            ..Quality::default()
        }),
    }
}

#[test]
fn allocations_of_a_user_count_together_and_the_last_media_decides() {
    let sessions = [
        session("alice", Some("lobby"), link(100, 10, 1, 500)),
        session("alice", Some("lobby"), link(50, 1, 2, 20)),
        session("alice", Some("lobby"), link(30, 3, 3, 900)),
        session("alice", Some("attic"), link(200, 0, 4, 0)),
        session("bob", None, link(100, 0, 5, 0)),
    ];
    let rooms = by_room(&sessions);
    assert_eq!(rooms.len(), 2);
    let [up, down] = rooms["lobby"]["alice"];
    let loss = Loss {
        expected: 180,
        lost: 14,
    };
    assert_eq!((up.loss, up.kbps), (loss, 2));
    assert_eq!(up.silent, Some(Duration::from_millis(20)));
    assert!(up.is_rated());
    assert_eq!(down, LinkValues::default());
    assert_eq!(rooms["attic"]["alice"][0].kbps, 4);
}

#[test]
fn an_allocation_without_media_for_ten_seconds_does_not_count() {
    let over = session("alice", Some("lobby"), link(100, 50, 1, 10_001));
    assert_eq!(by_room(&[over]), RoomLinks::new());
    let at_its_end = session("alice", Some("lobby"), link(100, 50, 1, 10_000));
    assert_eq!(by_room(&[at_its_end]).len(), 1);
}

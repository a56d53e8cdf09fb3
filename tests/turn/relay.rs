//! The relay over UDP and TCP: reachability, policy, revocation and clean-up.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Class, Integrity, Message, Method, Writer};

use crate::support::turn::{Client, SECRET, both_hear_each_other, channel_data, connected};
use crate::support::{Builder, DEADLINE, Daemon, http};
use crate::{Deadline, metric, open_relay};

#[test]
fn two_clients_on_loopback_reach_each_other_with_the_default_policy() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        .env("PARLOR_TURN__SHARDS", "1")
        .start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::udp(server, "bob", None),
    );
    both_hear_each_other(&mut alice, &mut bob, false);
    assert_eq!(
        metric(
            &daemon,
            "parlor_turn_relayed_packets_total{transport=\"udp\",path=\"hairpin\"}"
        ),
        2
    );
}

#[test]
fn udp_and_tcp_clients_reach_each_other() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(Client::tcp(server, "alice"), Client::tcp(server, "bob"));
    both_hear_each_other(&mut alice, &mut bob, true);
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::tcp(server, "bob"),
    );
    both_hear_each_other(&mut alice, &mut bob, true);
}

#[test]
fn a_client_of_rfc_8489_and_a_browser_like_client_reach_each_other() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    for mut alice in [
        Client::udp(server, "alice", None),
        Client::tcp(server, "alice"),
    ] {
        alice.sha256 = true;
        let answer = alice.allocate();
        assert_eq!(answer.code(), None);
        assert_eq!(answer.message().integrity(), Some(Integrity::Sha256));
        assert!(answer.message().verify(&alice.key()));
        let ended = alice.request(Method::REFRESH, &[(Attribute::LIFETIME, vec![0; 4])]);
        assert_eq!(ended.code(), None);
        let (mut alice, mut bob) = connected(alice, Client::udp(server, "bob", None));
        both_hear_each_other(&mut alice, &mut bob, true);
    }
}

#[test]
fn ipv6_clients_reach_each_other() {
    let daemon = open_relay().env("PARLOR_TURN__LISTEN", "[::1]:0").start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::tcp(server, "bob"),
    );
    both_hear_each_other(&mut alice, &mut bob, true);
}

#[test]
fn a_wildcard_listener_responds_from_the_requested_address() {
    let daemon = open_relay()
        .env("PARLOR_TURN__LISTEN", "0.0.0.0:0,[::]:0")
        .start();
    let listeners = daemon.all("turn-udp");
    let v4 = SocketAddr::from(([127, 0, 0, 9], listeners[0].port()));
    // The client's socket is connected: it receives no response from another address.
    let relayed = Client::udp(v4, "alice", None).allocated();
    assert_eq!(relayed.ip(), v4.ip());
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], listeners[1].port()));
    let answer = Client::udp(v6, "alice", None).request(Method::BINDING, &[]);
    assert_eq!(
        answer.address(Attribute::XOR_MAPPED_ADDRESS).unwrap().ip(),
        v6.ip()
    );
}

#[test]
fn an_external_peer_is_reached_through_the_relay_socket_and_answers() {
    let daemon = open_relay().start();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    let relayed = client.allocated();
    assert_eq!(client.bind(0x4001, peer.local_addr().unwrap()).code(), None);
    client.send(&channel_data(0x4001, b"ping", false));
    let mut buffer = [0; 100];
    let (len, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from), (&b"ping"[..], relayed));
    peer.send_to(b"pong", relayed).unwrap();
    assert_eq!(client.receive(), channel_data(0x4001, b"pong", false));
}

#[test]
fn loopback_peers_and_own_listeners_are_denied_by_default() {
    let daemon = Builder::new().env("PARLOR_TURN__SECRET", SECRET).start();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    client.allocated();
    for peer in ["127.0.0.2:9", "10.0.0.1:9", "169.254.169.254:80"] {
        assert_eq!(
            client.permit(peer.parse().unwrap()).code(),
            Some(403),
            "{peer}"
        );
    }
    for listener in [daemon.http(), daemon.metrics(), daemon.turn()] {
        assert_eq!(
            client.bind(0x4001, listener).code(),
            Some(403),
            "{listener}"
        );
    }
    daemon.wait_for_log("peer denied");
}

#[test]
fn own_listeners_are_denied_even_if_loopback_is_allowed() {
    let daemon = open_relay().start();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    client.allocated();
    for listener in [daemon.http(), daemon.metrics(), daemon.turn()] {
        assert_eq!(
            client.bind(0x4001, listener).code(),
            Some(403),
            "{listener}"
        );
    }
    // A permission has no port, so each packet is checked: on this host, only relayed addresses are allowed.
    assert_eq!(client.permit("127.0.0.1:9".parse().unwrap()).code(), None);
    let dropped = "parlor_turn_dropped_total{reason=\"no such relayed address\"}";
    let before = metric(&daemon, dropped);
    for listener in [daemon.http(), daemon.metrics(), daemon.turn()] {
        let mut out = Vec::new();
        let _ = Writer::new(&mut out, Method::SEND, Class::Indication, [3; 12])
            .xor_address(Attribute::XOR_PEER_ADDRESS, listener)
            .attribute(Attribute::DATA, b"hello");
        client.send(&out);
    }
    let deadline = Deadline::new();
    while metric(&daemon, dropped) < before + 3 {
        deadline.check("three packets to be dropped");
    }
}

#[test]
fn the_external_address_is_advertised_behind_nat() {
    let daemon = open_relay()
        .env("PARLOR_TURN__EXTERNAL_IP", "203.0.114.7")
        .start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::udp(server, "bob", None),
    );
    both_hear_each_other(&mut alice, &mut bob, false);
    assert_eq!(
        Client::udp(server, "carol", None)
            .allocated()
            .ip()
            .to_string(),
        "203.0.114.7"
    );
}

#[test]
fn a_start_with_private_relayed_addresses_only_logs_a_warning() {
    let wildcard = || open_relay().env("PARLOR_TURN__LISTEN", "0.0.0.0:0");
    let warning = "set turn.external_ip";
    let private = wildcard()
        .env("PARLOR_TURN__EXTERNAL_IP", "10.9.9.9")
        .start();
    private.wait_for_log(warning);
    let public = wildcard()
        .env("PARLOR_TURN__EXTERNAL_IP", "198.41.0.4")
        .start();
    let log = public.log();
    assert!(!log.iter().any(|line| line.contains(warning)), "{log:#?}");
}

#[test]
fn leaving_a_room_ends_the_allocation_bound_to_it() {
    let daemon = open_relay().start();
    let api = http::Client::new(daemon.http());
    daemon.cli_json(&["user", "add", "alice"]);
    let alice = daemon.cli_json(&["token", "issue", "alice"]);
    let api = api.with_token(alice["token"].as_str().unwrap());
    let me = serde_json::from_slice::<serde_json::Value>(&api.get("/api/auth/me").body).unwrap();
    let id = me["id"].as_str().unwrap();
    assert_eq!(api.post("/api/rooms/lobby/join").status, 200);

    let mut client = Client::udp(daemon.turn(), id, Some("lobby"));
    client.allocated();
    assert_eq!(api.post("/api/rooms/lobby/leave").status, 200);
    daemon.wait_for_log("allocations revoked");
    assert_eq!(client.request(Method::REFRESH, &[]).code(), Some(437));
    assert_eq!(
        client.allocate().code(),
        Some(401),
        "the credential is refused from now on"
    );
    assert_eq!(api.post("/api/rooms/lobby/join").status, 200);
    assert_eq!(
        client.allocate().code(),
        Some(401),
        "and stays refused when the user has returned"
    );
    // The name that the second join hands out.
    let mut client = Client::udp(daemon.turn(), &format!("{id}/lobby"), Some("1"));
    client.allocated();
}

#[test]
fn closing_a_room_ends_bound_allocations_and_unbound_ones_of_users_without_another_room() {
    let daemon = open_relay().start();
    let api = http::Client::new(daemon.http());
    let bearer = |name: &str, options: &[&str]| {
        let user = daemon.cli_json(&[&["user", "add", name], options].concat());
        let token = daemon.cli_json(&["token", "issue", name]);
        let id = user["id"].as_str().unwrap().to_owned();
        (id, api.with_token(token["token"].as_str().unwrap()))
    };
    let (alice, as_alice) = bearer("alice", &[]);
    let (bob, as_bob) = bearer("bob", &[]);
    let (_, as_root) = bearer("root", &["--admin"]);
    daemon.cli_json(&["room", "create", "den", "--id", "den"]);
    for (user, room) in [(&as_alice, "den"), (&as_bob, "den"), (&as_bob, "lobby")] {
        user.post(&format!("/api/rooms/{room}/join")).ok();
    }
    let allocated = |user: &str, room| {
        let mut client = Client::udp(daemon.turn(), user, room);
        client.allocated();
        client
    };
    let den = [&alice, &bob].map(|user| allocated(user, Some("den")));
    let [alone, mut elsewhere] = [&alice, &bob].map(|user| allocated(user, None));
    let mut lobby = allocated(&bob, Some("lobby"));

    as_root.send("DELETE", "/api/rooms/den", &[], b"").ok();
    for mut ended in den.into_iter().chain([alone]) {
        let deadline = Deadline::new();
        while ended.request(Method::REFRESH, &[]).code() != Some(437) {
            deadline.check("the allocation to end");
        }
    }
    for living in [&mut elsewhere, &mut lobby] {
        assert_eq!(living.request(Method::REFRESH, &[]).code(), None);
    }
    let mut refused = Client::udp(daemon.turn(), &bob, Some("den"));
    assert_eq!(refused.allocate().code(), Some(401));
}

#[test]
fn a_database_change_by_another_process_ends_allocations() {
    let daemon = open_relay().start();
    let database = rusqlite::Connection::open(daemon.data_dir().join("parlor.db")).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    daemon.cli_json(&["room", "create", "den", "--id", "den"]);
    let ends = [
        "UPDATE room_participants SET left_at = '2026-01-01T00:00:00Z' WHERE room_id = 'lobby'",
        "UPDATE coworking_rooms SET closed_at = '2026-01-01T00:00:00Z' WHERE id = 'den'",
        "UPDATE users SET disabled_at = '2026-01-01T00:00:00Z'",
    ];
    for (room, sql) in [Some("lobby"), Some("den"), None].into_iter().zip(ends) {
        let name = format!("member-of-{}", room.unwrap_or("none"));
        let user = daemon.cli_json(&["user", "add", &name]);
        let id = user["id"].as_str().unwrap();
        if let Some(room) = room {
            daemon.cli_json(&["room", "add-member", room, &name]);
        }
        let mut client = Client::udp(daemon.turn(), id, room);
        client.allocated();
        database.execute_batch(sql).unwrap();
        let deadline = Deadline::new();
        while client.request(Method::REFRESH, &[]).code() != Some(437) {
            deadline.check(sql);
        }
        assert_eq!(client.allocate().code(), Some(401), "{sql}");
    }
}

/// A daemon, its database as another process opens it, and the id of a member of a room.
fn with_a_member() -> (Daemon, rusqlite::Connection, String) {
    let daemon = open_relay().start();
    let database = rusqlite::Connection::open(daemon.data_dir().join("parlor.db")).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let user = daemon.cli_json(&["user", "add", "alice"]);
    let id = user["id"].as_str().unwrap().to_owned();
    daemon.cli_json(&["room", "add-member", "lobby", "alice"]);
    (daemon, database, id)
}

#[test]
fn an_unban_restores_the_relay_of_a_member_whom_another_process_banned() {
    let (daemon, database, id) = with_a_member();
    let mut alice = Client::udp(daemon.turn(), &id, Some("lobby"));
    alice.allocated();
    let ban = "INSERT INTO room_bans (room_id, user_id, created_at) VALUES ('lobby', ?1, '2026-01-01T00:00:00Z')";
    database.execute(ban, [&id]).unwrap();
    let deadline = Deadline::new();
    while alice.request(Method::REFRESH, &[]).code() != Some(437) {
        deadline.check("the ban ends the allocation");
    }
    assert_eq!(alice.allocate().code(), Some(401));
    daemon.cli_json(&["room", "unban", "lobby", "alice"]);
    assert_eq!(alice.allocate().code(), None);
}

/// The user leaves and comes back before the daemon looks.
#[test]
fn a_leave_and_a_return_by_another_process_end_the_earlier_allocations_alone() {
    let (daemon, database, id) = with_a_member();
    let mut earlier = Client::udp(daemon.turn(), &id, Some("lobby"));
    let mut later = Client::udp(daemon.turn(), &id, Some("lobby/1"));
    let mut unbound = Client::udp(daemon.turn(), &id, None);
    for client in [&mut earlier, &mut later, &mut unbound] {
        client.allocated();
    }
    database
        .execute_batch("UPDATE room_participants SET generation = generation + 1")
        .unwrap();
    let deadline = Deadline::new();
    while earlier.request(Method::REFRESH, &[]).code() != Some(437) {
        deadline.check("the earlier allocation ends");
    }
    assert_eq!(earlier.allocate().code(), Some(401));
    for mut client in [later, unbound] {
        assert_eq!(client.request(Method::REFRESH, &[]).code(), None);
    }
}

#[test]
fn commands_end_the_allocations_of_removed_users_and_rooms() {
    let daemon = open_relay().start();
    for (number, command) in [
        ["user", "disable"],
        ["user", "delete"],
        ["room", "close"],
        ["room", "delete"],
    ]
    .into_iter()
    .enumerate()
    {
        let [name, room] = ["user", "room"].map(|kind| format!("{kind}-{number}"));
        let user = daemon.cli_json(&["user", "add", &name]);
        daemon.cli_json(&["room", "create", &room, "--id", &room]);
        daemon.cli_json(&["room", "add-member", &room, &name]);
        let id = user["id"].as_str().unwrap();
        let mut bound = Client::udp(daemon.turn(), id, Some(&room));
        let mut unbound = Client::udp(daemon.turn(), id, None);
        bound.allocated();
        unbound.allocated();
        let what = if command[0] == "user" { &name } else { &room };
        daemon.cli_json(&[command[0], command[1], what]);
        for client in [&mut bound, &mut unbound] {
            let deadline = Deadline::new();
            while client.request(Method::REFRESH, &[]).code() != Some(437) {
                deadline.check(&format!("{command:?}"));
            }
        }
        assert_eq!(bound.allocate().code(), Some(401), "{command:?}");
    }
}

#[test]
fn revocations_and_nonces_survive_a_restart() {
    let daemon = open_relay().start();
    daemon.cli_json(&["user", "add", "alice"]);
    let alice = daemon.cli_json(&["token", "issue", "alice"]);
    let token = alice["token"].as_str().unwrap().to_owned();
    let api = http::Client::new(daemon.http()).with_token(&token);
    let me = serde_json::from_slice::<serde_json::Value>(&api.get("/api/auth/me").body).unwrap();
    let id = me["id"].as_str().unwrap();
    assert_eq!(api.post("/api/rooms/lobby/join").status, 200);
    assert_eq!(api.post("/api/rooms/lobby/leave").status, 200);
    let daemon = daemon.restart();
    let mut client = Client::udp(daemon.turn(), id, Some("lobby"));
    assert_eq!(client.allocate().code(), Some(401));
}

#[test]
fn arbitrary_datagrams_do_not_disturb_a_call() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::udp(server, "bob", None),
    );
    let noise_socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in 0..600usize {
        let noise: Vec<u8> = (0..len).map(|i| (i * 31 + len * 17) as u8).collect();
        noise_socket.send_to(&noise, server).unwrap();
    }
    noise_socket.send_to(&[0x40; 65_000], server).unwrap();
    both_hear_each_other(&mut alice, &mut bob, false);
}

#[test]
fn large_datagrams_are_relayed_completely() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::tcp(server, "bob"),
    );
    let large: Vec<u8> = (0..60_001u32).map(|i| i as u8).collect();
    alice.send(&channel_data(0x4001, &large, false));
    assert_eq!(bob.receive(), channel_data(0x4002, &large, false));
}

/// The number of UDP sockets of a process. The kernel returns its table in parts, and misses some entries if
/// others change meanwhile: therefore several reads.
pub(crate) fn udp_sockets(process: u32) -> usize {
    let mut udp = BTreeSet::new();
    for _look in 0..5 {
        let table = std::fs::read_to_string(format!("/proc/{process}/net/udp")).unwrap();
        let lines = table.lines();
        let inodes = lines.filter_map(|line| line.split_whitespace().nth(9));
        udp.extend(inodes.map(|inode| format!("socket:[{inode}]")));
    }
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|link| udp.contains(&*link.to_string_lossy()))
        .count()
}

#[test]
fn eight_hundred_allocations_leave_no_resources_behind() {
    let daemon = open_relay()
        .env("PARLOR_TURN__MAX_ALLOCATIONS_PER_USER", "1000")
        .start();
    let sockets = || udp_sockets(daemon.pid());
    let before = sockets();
    let mut clients: Vec<Client> = (0..800)
        .map(|_| Client::udp(daemon.turn(), "alice", None))
        .collect();
    clients
        .iter_mut()
        .for_each(|client| assert!(client.allocated().ip().is_loopback()));
    assert_eq!(sockets(), before + 800);
    for client in &mut clients {
        let answer = client.request(Method::REFRESH, &[(Attribute::LIFETIME, vec![0; 4])]);
        assert_eq!(answer.code(), None);
    }
    // The last responses are sent a moment before their sockets are closed.
    let deadline = Deadline::new();
    while sockets() != before {
        deadline.check("every socket to be closed");
    }
}

#[test]
fn unauthenticated_requests_over_the_rate_get_no_response_and_are_counted() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "10")
        .start();
    let mut anonymous = Client::udp(daemon.turn(), "nobody", None);
    let binding = anonymous.signed(Method::BINDING, &[]);
    for _ in 0..200 {
        anonymous.send(&binding);
    }
    let name = "parlor_turn_dropped_total{reason=\"unauthenticated request over the rate\"}";
    let deadline = Deadline::new();
    while metric(&daemon, name) == 0 {
        deadline.check("some to be dropped");
    }
    assert!(
        Message::parse(&anonymous.receive()).is_ok(),
        "those within it get theirs"
    );
}

#[test]
fn the_daemon_ends_cleanly_during_a_call() {
    let daemon = Daemon::start();
    assert!(daemon.stop().success());
    let daemon = open_relay().start();
    let server = daemon.turn();
    let (mut alice, mut bob) = connected(
        Client::udp(server, "alice", None),
        Client::tcp(server, "bob"),
    );
    both_hear_each_other(&mut alice, &mut bob, true);
    assert!(daemon.stop().success());
}

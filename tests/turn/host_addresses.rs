//! A host whose addresses change: in its own network namespace, on its loopback interface.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parlor::stun::{Attribute, Method};
use serde_json::json;

use crate::support::namespace::{INSIDE, in_a_namespace};
use crate::support::turn::{Client, Wire, both_hear_each_other, channel_data, connected};
use crate::support::{Builder, DEADLINE, Daemon};
use crate::{Deadline, open_relay, turn_crate};

const V4: &str = "198.41.0.9";
const V6: &str = "2a00:1450::9";

/// Whether this process has its own namespace. Without one, the test is skipped.
fn has_addresses_of_its_own() -> bool {
    let inside = std::env::var_os(INSIDE).is_some();
    if !inside {
        eprintln!("not tried: there are no namespaces here");
    }
    inside
}

fn ip(arguments: &str) {
    let arguments = arguments.split_whitespace();
    let status = Command::new("ip").args(arguments).status();
    assert!(status.expect("ip runs").success());
}

fn add(address: &str) {
    let length = if address.contains(':') { 128 } else { 32 };
    ip(&format!("address add {address}/{length} dev lo"));
}

fn remove(address: &str) {
    let length = if address.contains(':') { 128 } else { 32 };
    ip(&format!("address delete {address}/{length} dev lo"));
}

/// With the default listen addresses.
fn everywhere() -> Builder {
    open_relay().without("PARLOR_TURN__LISTEN")
}

fn at(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 3478)
}

/// A client whose own address is the server's address, and not loopback.
fn client(ip: &str, user: &str) -> Client {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.connect(at(ip)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    Client::over(Wire::Udp(socket), user, None)
}

fn allocated(ip: &str) -> String {
    client(ip, "somebody").allocated().ip().to_string()
}

/// Waits until the log has these relayed addresses for clients on other hosts.
fn offers(daemon: &Daemon, ipv4: &str, ipv6: &str) {
    let (ipv4, ipv6) = (
        format!("\"ipv4\":\"{ipv4}\""),
        format!("\"ipv6\":\"{ipv6}\""),
    );
    daemon.wait_for_log_of("the offer", |line| {
        line.contains(&ipv4) && line.contains(&ipv6)
    });
}

fn connected_on_v6() -> (Client, Client) {
    let family = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    let (mut carol, mut dave) = (client(V6, "carol"), client(V6, "dave"));
    let [at_carol, at_dave] = [&mut carol, &mut dave].map(|client| {
        let answer = client.allocate_with(std::slice::from_ref(&family));
        answer.address(Attribute::XOR_RELAYED_ADDRESS).unwrap()
    });
    assert_eq!(carol.bind(0x4001, at_dave).code(), None);
    assert_eq!(dave.bind(0x4002, at_carol).code(), None);
    (carol, dave)
}

in_a_namespace! {
    fn an_ipv6_only_host_with_built_in_listeners_relays_on_ipv6() {
        if !has_addresses_of_its_own() {
            return;
        }
        add(V6);
        let daemon = everywhere().start();
        offers(&daemon, "none", V6);
        let offered = &daemon.cli_json(&["status"])["relayed_addresses"];
        assert_eq!(offered, &json!([{ "address": V6, "bound": V6 }]));
        assert_eq!(allocated(V6), V6);
        let named = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0]);
        let answer = client(V6, "alice").allocate_with(&[named]);
        assert_eq!(answer.code(), Some(440));
        let mut local = Client::udp(at("::1"), "alice", None);
        assert_eq!(local.allocated().ip().to_string(), "127.0.0.1");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let [alice, bob] = runtime.unwrap().block_on(async {
            let conn =
                || async { Arc::new(tokio::net::UdpSocket::bind((V6, 0)).await.unwrap()) };
            turn_crate::exchange(at(V6), conn().await, conn().await).await
        });
        assert_eq!(
            [alice.ip(), bob.ip()],
            [at(V6).ip(); 2],
            "the turn crate's clients"
        );
    }

    fn an_address_added_after_the_start_is_denied_as_a_peer_and_offered() {
        if !has_addresses_of_its_own() {
            return;
        }
        add(V6);
        let daemon = everywhere().start();
        let mut before = client(V6, "alice");
        let listeners = [V4, "198.41.0.10"].map(|ip| SocketAddr::new(ip.parse().unwrap(), 9));
        assert_eq!(before.allocated().ip().to_string(), V6);
        add(V4);
        offers(&daemon, V4, V6);
        assert_eq!(
            allocated(V6),
            V4,
            "it is what clients get that name no family"
        );
        assert_eq!(allocated(V4), V4);
        let mut client = client(V4, "bob");
        client.allocated();
        assert_eq!(client.permit(listeners[1]).code(), None);
        assert_eq!(client.bind(0x4001, listeners[1]).code(), None);
        add("198.41.0.10");
        // It is not better than the current one, so there is no log line.
        let waiting = Deadline::new();
        while client.permit(listeners[1]).code() != Some(403) {
            waiting.check("a new address to be denied");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(client.bind(0x4001, listeners[1]).code(), Some(403));
        assert_eq!(before.request(Method::REFRESH, &[]).code(), None);
    }

    fn a_removed_address_ends_its_allocations_and_no_others() {
        if !has_addresses_of_its_own() {
            return;
        }
        add(V6);
        add(V4);
        let daemon = everywhere().start();
        let mut on_v4 = client(V6, "alice");
        assert_eq!(on_v4.allocated().ip().to_string(), V4);
        let (mut carol, mut dave) = connected_on_v6();
        remove(V4);
        offers(&daemon, "none", V6);
        assert_eq!(on_v4.request(Method::REFRESH, &[]).code(), None, "for 10 s");
        assert_eq!(
            allocated(V6),
            V6,
            "what is there is given to those who come"
        );
        let waiting = Deadline::new();
        while on_v4.request(Method::REFRESH, &[]).code() != Some(437) {
            waiting.check("an allocation to end");
            thread::sleep(Duration::from_millis(100));
        }
        daemon.wait_for_log_of("the end", |line| {
            line.contains("allocations ended: address gone") && line.contains(V4)
        });
        assert_eq!(on_v4.allocated().ip().to_string(), V6);
        both_hear_each_other(&mut carol, &mut dave, false);
    }

    fn a_deprecated_address_keeps_its_allocations_and_gets_no_new_ones() {
        if !has_addresses_of_its_own() {
            return;
        }
        add(V6);
        let daemon = everywhere().start();
        let mut alice = client(V6, "alice");
        assert_eq!(alice.allocated().ip().to_string(), V6);
        ip(&format!("address change {V6}/128 dev lo preferred_lft 0"));
        offers(&daemon, "none", "none");
        assert_eq!(client(V6, "bob").allocate().code(), Some(440));
        add("2a00:1450::10");
        offers(&daemon, "none", "2a00:1450::10");
        assert_eq!(allocated(V6), "2a00:1450::10");
        assert_eq!(alice.request(Method::REFRESH, &[]).code(), None);
    }

    /// `/etc/hosts` replaces a name server here.
    fn a_new_external_ip_is_advertised_to_new_clients_and_may_be_a_name() {
        if !has_addresses_of_its_own() {
            return;
        }
        let folder = tempfile::TempDir::new().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "203.0.114.8 relay.parlor.test\n").unwrap();
        let mount = ["--bind", hosts.to_str().unwrap(), "/etc/hosts"];
        assert!(
            Command::new("mount")
                .args(mount)
                .status()
                .unwrap()
                .success()
        );
        add(V4);
        let file = folder.path().join("config.toml");
        let set = |external: &str| {
            std::fs::write(&file, format!("turn.external_ip = \"{external}\"\n")).unwrap();
        };
        set("203.0.114.7");
        let daemon = everywhere()
            .arg("--config")
            .arg(file.to_str().unwrap())
            .start();
        let (mut alice, mut bob) = connected(client(V4, "alice"), client(V4, "bob"));
        assert_eq!(allocated(V4), "203.0.114.7");
        set("relay.parlor.test");
        let changed = daemon.cli_json(&["reload"]);
        assert_eq!(changed["changed"], json!(["turn.external_ip"]));
        offers(&daemon, &format!("203.0.114.8 (here {V4})"), "none");
        assert_eq!(allocated(V4), "203.0.114.8");
        both_hear_each_other(&mut alice, &mut bob, false);
        // Clients with old and new addresses reach each other; each address is denied as another peer.
        let mut carol = client(V4, "carol");
        let at_carol = carol.allocated();
        assert_eq!(alice.bind(0x4003, at_carol).code(), None);
        let old = alice.request(Method::REFRESH, &[]);
        assert_eq!(old.code(), None);
        alice.send(&channel_data(0x4001, b"still there", false));
        assert_eq!(bob.receive(), channel_data(0x4002, b"still there", false));
        // A name that does not resolve keeps the address in force.
        set("nowhere.parlor.test");
        daemon.cli_json(&["reload"]);
        daemon.wait_for_log("turn.external_ip could not be resolved");
        assert_eq!(allocated(V4), "203.0.114.8");
    }
}

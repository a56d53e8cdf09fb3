//! Listeners of a socket unit of the service manager.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use fd_store::{FdStore, alone};

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a listener")
}

fn address(listener: &TcpListener) -> String {
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_connection_made_while_no_parlor_runs_is_served_by_the_next() {
    let _alone = alone();
    let http = listener();
    // First only the unit holds the listener, then the descriptor store as well.
    for room in [0, 100] {
        let fd_store = FdStore::with_sockets(room, std::slice::from_ref(&http));
        let builder = Builder::new().env("PARLOR_HTTP__LISTEN", &address(&http));
        let daemon = fd_store.hands_out(fd_store.manages(builder)).start();
        let mut waiting = None;
        let daemon = daemon.restart_with(|env| {
            let mut client = TcpStream::connect(http.local_addr().unwrap()).expect("not refused");
            let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            client.write_all(request.as_bytes()).unwrap();
            waiting = Some(client);
            fd_store.hand_out(env);
        });
        let mut answer = String::new();
        let mut client = waiting.expect("a client");
        client
            .set_read_timeout(Some(crate::support::DEADLINE))
            .unwrap();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_passed_listener_without_a_setting_is_reported() {
    let _alone = alone();
    let (http, other) = (listener(), listener());
    let addresses = [address(&http), address(&other)];
    let fd_store = FdStore::with_sockets(0, &[http, other]);
    let builder = Builder::new().env("PARLOR_HTTP__LISTEN", &addresses[0]);
    let daemon = fd_store.hands_out(builder).start();
    let line = daemon.wait_for_log("inherited listener is in no setting");
    assert!(line.contains(&addresses[1]), "{line}");
    let log = daemon.log();
    let named = log
        .iter()
        .filter(|line| line.contains("inherited listener is in no setting"));
    assert_eq!(named.count(), 1);
}

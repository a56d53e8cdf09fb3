//! A UDP forwarder that delays every datagram by the same time, in both directions.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parlor::clock::{self, Mono};

const MAX_DATAGRAM: usize = 65_536;

/// Starts a forwarder to `server`, and returns its address. Each client gets a socket of its own, as behind
/// a NAT. It runs until the process ends.
pub(crate) fn forward(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let address = listener.local_addr().expect("an address");
    let upward = delayed();
    thread::spawn(move || {
        let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut buffer = vec![0; MAX_DATAGRAM];
        while let Ok((len, client)) = listener.recv_from(&mut buffer) {
            let socket = clients.entry(client).or_insert_with(|| {
                let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
                let (from, to, downward) = (socket.clone(), listener.clone(), delayed());
                thread::spawn(move || {
                    let mut buffer = vec![0; MAX_DATAGRAM];
                    while let Ok(len) = from.recv(&mut buffer) {
                        send(
                            &downward,
                            delay,
                            (to.clone(), client, buffer[..len].to_vec()),
                        );
                    }
                });
                socket
            });
            send(
                &upward,
                delay,
                (socket.clone(), server, buffer[..len].to_vec()),
            );
        }
    });
    address
}

type Datagram = (Arc<UdpSocket>, SocketAddr, Vec<u8>);

fn send(queue: &mpsc::Sender<(Mono, Datagram)>, delay: Duration, datagram: Datagram) {
    // The queue ends with the process.
    let _ = queue.send((clock::now().mono + delay, datagram));
}

/// Sends each datagram of the returned queue at its time.
fn delayed() -> mpsc::Sender<(Mono, Datagram)> {
    let (queue, datagrams) = mpsc::channel::<(Mono, Datagram)>();
    thread::spawn(move || {
        for (at, (socket, target, bytes)) in datagrams {
            thread::sleep(at.since(clock::now().mono));
            // A closed port answers with an ICMP error, which the next send reports.
            let _ = socket.send_to(&bytes, target);
        }
    });
    queue
}

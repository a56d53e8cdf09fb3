//! A TCP proxy in front of a Unix socket, which can be cut as a network is.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy; it runs until the process ends.
pub(crate) struct TcpProxy {
    address: SocketAddr,
    links: Arc<Mutex<Links>>,
}

#[derive(Default)]
struct Links {
    is_cut: bool,
    connections: Vec<(TcpStream, UnixStream)>,
}

impl TcpProxy {
    pub(crate) fn start(behind: &Path) -> TcpProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let links = Arc::new(Mutex::new(Links::default()));
        let (of_thread, behind) = (links.clone(), behind.to_owned());
        thread::spawn(move || accept(&listener, &behind, &of_thread));
        TcpProxy { address, links }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops all bytes from now on, in both directions. Connections stay open, and new ones are accepted.
    pub(crate) fn cut(&self) {
        self.links.lock().unwrap().is_cut = true;
    }

    /// Closes the connections that lost bytes, and forwards new ones.
    pub(crate) fn restore(&self) {
        let mut links = self.links.lock().unwrap();
        links.is_cut = false;
        for (client, server) in links.connections.drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, behind: &PathBuf, links: &Arc<Mutex<Links>>) {
    for client in listener.incoming().flatten() {
        // A server that is away refuses the connection.
        let Ok(server) = UnixStream::connect(behind) else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
        links.lock().unwrap().connections.push(copies);
        let (mut to_server, mut from_server) = (server.try_clone().unwrap(), server);
        let (mut from_client, mut to_client) = (client.try_clone().unwrap(), client);
        let of_requests = links.clone();
        thread::spawn(move || {
            forward(&mut from_client, &mut to_server, &of_requests);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let of_replies = links.clone();
        thread::spawn(move || {
            forward(&mut from_server, &mut to_client, &of_replies);
            let _ = to_client.shutdown(Shutdown::Both);
        });
    }
}

/// Forwards bytes until one side ends.
fn forward(from: &mut impl Read, to: &mut impl Write, links: &Mutex<Links>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let is_cut = links.lock().unwrap().is_cut;
        if !is_cut && to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

//! A minimal reverse proxy that removes a prefix from each path and forwards the request.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts the proxy for the rest of the test, and returns its address.
pub(crate) fn start(prefix: &'static str, behind: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || pass_on(prefix, client, behind));
        }
    });
    address
}

/// One request and its answer, or one WebSocket: both end with the connection.
fn pass_on(prefix: &str, client: TcpStream, behind: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(behind)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    from_client.read_line(&mut line)?;
    write!(server, "{}", line.replacen(&format!(" {prefix}/"), " /", 1))?;
    loop {
        line.clear();
        if from_client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.to_ascii_lowercase().as_str() {
            "connection: keep-alive\r\n" => write!(server, "Connection: close\r\n")?,
            _ => server.write_all(line.as_bytes())?,
        }
        if line == "\r\n" {
            break;
        }
    }
    let (mut answers, mut to_client) = (server.try_clone()?, client);
    let back = thread::spawn(move || {
        let copied = io::copy(&mut answers, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
        copied
    });
    io::copy(&mut from_client, &mut server)?;
    let _ = server.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

//! The `turn` crate's client, which binds channels: over UDP, and over TCP by a framing adapter.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use parlor::credential::Credentials;
use parlor::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use crate::open_relay;
use crate::support::DEADLINE;
use crate::support::turn::SECRET;

/// TURN frames over TCP, as the datagrams that the crate expects.
struct Framed {
    reader: Mutex<OwnedReadHalf>,
    writer: Mutex<OwnedWriteHalf>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Framed {
    async fn connect(server: SocketAddr) -> Framed {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let (reader, writer) = stream.into_split();
        Framed {
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            local,
            remote,
        }
    }
}

#[async_trait]
impl Conn for Framed {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }

    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        Ok(self.recv_from(buf).await?.0)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        let mut reader = self.reader.lock().await;
        reader.read_exact(&mut buf[..4]).await?;
        let length = usize::from(u16::from_be_bytes([buf[2], buf[3]]));
        let len = if buf[0] < 0x40 {
            20 + length
        } else {
            4 + length
        };
        reader
            .read_exact(&mut buf[4..len.next_multiple_of(4)])
            .await?;
        Ok((len, self.remote))
    }

    async fn send(&self, buf: &[u8]) -> webrtc_util::Result<usize> {
        let mut frame = buf.to_vec();
        frame.resize(buf.len().next_multiple_of(4), 0);
        self.writer.lock().await.write_all(&frame).await?;
        Ok(buf.len())
    }

    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        self.send(buf).await
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(self.local)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.remote)
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

async fn client(server: SocketAddr, user: &str, conn: Arc<dyn Conn + Send + Sync>) -> Client {
    let minted = Credentials::new(&Secret::new(SECRET), &[]).mint(user, None, 4_000_000_000);
    let config = ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: minted.username,
        password: minted.credential,
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn,
        vnet: None,
    };
    let client = Client::new(config).await.unwrap();
    client.listen().await.unwrap();
    client
}

async fn over_udp() -> Arc<dyn Conn + Send + Sync> {
    Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap())
}

/// Two clients relay to each other; the first packets use indications, later ones channels. Returns
/// their relayed addresses.
pub(crate) async fn exchange(
    server: SocketAddr,
    first: Arc<dyn Conn + Send + Sync>,
    second: Arc<dyn Conn + Send + Sync>,
) -> [SocketAddr; 2] {
    let (alice, bob) = (
        client(server, "alice", first).await,
        client(server, "bob", second).await,
    );
    let at_alice = alice.allocate().await.unwrap();
    let at_bob = bob.allocate().await.unwrap();
    let (alice_address, bob_address) =
        (at_alice.local_addr().unwrap(), at_bob.local_addr().unwrap());
    // Each side's first packet asks for the permission that the other side's packets need.
    at_bob.send_to(b"open", alice_address).await.unwrap();
    let mut buffer = [0; 1500];
    for round in 0..50u32 {
        let text = format!("round {round}");
        at_alice
            .send_to(text.as_bytes(), bob_address)
            .await
            .unwrap();
        let received = timeout(DEADLINE, at_bob.recv_from(&mut buffer))
            .await
            .expect("in time");
        let (len, from) = received.unwrap();
        assert_eq!((&buffer[..len], from), (text.as_bytes(), alice_address));
        at_bob
            .send_to(text.as_bytes(), alice_address)
            .await
            .unwrap();
        loop {
            let received = timeout(DEADLINE, at_alice.recv_from(&mut buffer))
                .await
                .expect("in time");
            let (len, from) = received.unwrap();
            assert_eq!(from, bob_address);
            // The opening packet may or may not have found a permission.
            if &buffer[..len] != b"open" {
                assert_eq!(&buffer[..len], text.as_bytes());
                break;
            }
        }
    }
    alice.close().await.unwrap();
    bob.close().await.unwrap();
    [alice_address, bob_address]
}

#[tokio::test]
async fn the_turn_crates_clients_reach_each_other_over_udp() {
    let daemon = open_relay().start();
    exchange(daemon.turn(), over_udp().await, over_udp().await).await;
}

#[tokio::test]
async fn the_turn_crates_clients_reach_each_other_over_tcp() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    let first = Arc::new(Framed::connect(server).await);
    let second = Arc::new(Framed::connect(server).await);
    exchange(server, first, second).await;
}

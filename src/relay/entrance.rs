//! What a stream has to pass before its first message: the header of a proxy in front, and the
//! handshake of TLS. Each has its time, and who takes it keeps nobody else waiting.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::proxy_protocol::{self, HeaderError};
use crate::tls;

use super::tls::TlsIo;

/// For a proxy's header, and again for a handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Streams at the entrance at once. One more takes the place of the one that has been there for
/// longest: whoever means it is through within a few round trips.
const MOST: usize = 512;

/// Who must name their clients.
#[derive(Debug, Default)]
pub struct Proxies(RwLock<Trusted>);

#[derive(Debug, Default)]
struct Trusted {
    proxies: Arc<[IpNet]>,
    /// Whether a PROXY header is expected from the client.
    announce: bool,
}

impl Proxies {
    pub fn new(turn: &config::Turn, trusted: &[IpNet]) -> Proxies {
        let proxies = Proxies::default();
        proxies.set(turn, trusted);
        proxies
    }

    /// From now on these.
    pub fn set(&self, turn: &config::Turn, trusted: &[IpNet]) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = Trusted {
            proxies: trusted.into(),
            announce: turn.proxy_protocol,
        };
    }

    /// Whether the address is a proxy, which all clients behind it share.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.proxies.iter().any(|net| net.contains(&ip))
    }

    pub fn must_name_clients(&self, ip: IpAddr) -> bool {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        proxy_protocol::is_due(held.announce, &held.proxies, ip)
    }
}

/// Why a stream was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// Too many of one address, or of all.
    TooMany,
    /// A trusted proxy named no client.
    Unannounced,
    /// No handshake, or not in time.
    Handshake,
    /// It gave way to others at the entrance.
    Crowded,
}

impl Turned {
    const ALL: [(Turned, &str); 4] = [
        (Turned::TooMany, "too many"),
        (Turned::Unannounced, "no proxy header"),
        (Turned::Handshake, "no handshake"),
        (Turned::Crowded, "crowded out"),
    ];
}

/// How many were turned away, and why.
#[derive(Debug, Default)]
pub struct TurnedAway([AtomicU64; Turned::ALL.len()]);

impl TurnedAway {
    pub fn count(&self, why: Turned) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Turned::ALL.iter().zip(&self.0);
        counts.map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }
}

/// Streams that are at the entrance, the one that has been there for longest first.
#[derive(Debug, Default)]
pub struct Entrance(Mutex<VecDeque<CancellationToken>>);

/// A stream at the entrance; it has left when this is dropped.
pub struct Waiting {
    entrance: Arc<Entrance>,
    /// Cancelled when it has to give way.
    pub give_way: CancellationToken,
}

impl Entrance {
    pub fn enter(self: &Arc<Self>) -> Waiting {
        let give_way = CancellationToken::new();
        let mut held = self.held();
        if held.len() >= MOST
            && let Some(oldest) = held.pop_front()
        {
            oldest.cancel();
        }
        held.push_back(give_way.clone());
        Waiting {
            entrance: self.clone(),
            give_way,
        }
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.entrance.held().retain(|one| *one != self.give_way);
    }
}

/// Whom a stream is from: `peer`, unless that is a proxy which names another.
pub async fn client(socket: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, HeaderError> {
    let named = proxy_protocol::read(socket, PATIENCE).await?;
    Ok(named.unwrap_or(peer))
}

/// The stream within TLS; `None` of an authority that has what it came for, a challenge's certificate
/// (RFC 8737), after which there is nothing to be said.
pub async fn handshake(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Option<TlsIo>> {
    let deadline = Instant::now() + PATIENCE;
    let accepted = timeout_at(deadline, TlsAcceptor::from(config).accept(socket)).await;
    let (socket, session) = accepted.map_err(|_| io::ErrorKind::TimedOut)??.into_inner();
    if session.alpn_protocol() == Some(tls::ACME_TLS) {
        return Ok(None);
    }
    Ok(Some(TlsIo::new(socket.into_std()?, session)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn who_has_been_at_the_entrance_for_longest_gives_way() {
        let entrance = Arc::new(Entrance::default());
        let mut waiting: Vec<_> = (0..MOST).map(|_| entrance.enter()).collect();
        // Whoever is through keeps nobody else out.
        drop(waiting.remove(1));
        let newer = entrance.enter();
        assert!(!waiting[0].give_way.is_cancelled());
        let newest = entrance.enter();
        assert!(waiting[0].give_way.is_cancelled());
        assert!(!waiting[1].give_way.is_cancelled() && !newer.give_way.is_cancelled());
        drop((waiting, newer, newest));
        assert!(entrance.held().is_empty());
    }

    #[test]
    fn proxies_name_clients_where_that_is_on_and_are_looked_up_live() {
        let trusted: [IpNet; 1] = ["192.0.2.0/24".parse().unwrap()];
        let mut turn = config::Turn::default();
        let proxies = Proxies::new(&turn, &trusted);
        let ip = IpAddr::from([192, 0, 2, 1]);
        assert!(!proxies.must_name_clients(ip));
        turn.proxy_protocol = true;
        proxies.set(&turn, &trusted);
        assert!(proxies.must_name_clients(ip));
        assert!(!proxies.must_name_clients(IpAddr::from([198, 51, 100, 1])));
        proxies.set(&turn, &[]);
        assert!(!proxies.must_name_clients(ip));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_has_ten_seconds() {
        let place = tempfile::tempdir().unwrap();
        let (cert, key) = (place.path().join("cert"), place.path().join("key"));
        let made = rcgen::generate_simple_self_signed(["talk.example.org".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let current = tls::CertResolver::new(&tls::read(&cert, &key).unwrap());
        let config = tls::server_config(current, &[tls::STUN_TURN]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (socket, _) = listener.accept().await.unwrap();
        let start = Instant::now();
        let error = handshake(socket, config).await.err().expect("no handshake");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());
        drop(client);
    }

    #[test]
    fn every_reason_has_its_name() {
        for (index, (why, _)) in Turned::ALL.iter().enumerate() {
            assert_eq!(*why as usize, index);
        }
    }
}

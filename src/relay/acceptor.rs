//! TURN over TCP and TLS: receives streams from [`crate::ingress`] and gives each to a shard. The shard
//! itself reads and writes the stream ([`super::stream`]): no task stands between them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::ingress::{self, Accepted, AdmissionLimits, Limits, RejectReason, Stream, StreamPermit};
use crate::rate::SharedGcra;
use crate::turn::{Route, Transport};

use super::mailbox::{Command, Mailbox};
use super::stream::{StreamInfo, StreamIo};
use super::tls::TlsIo;

/// Unsent bytes that the kernel may buffer for a stream.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// Stream numbers stay below this, since they are also tokens of the pollers.
const STREAM_NUMBERS: u32 = 1 << 30;

/// Gives streams to shards.
pub(super) struct Acceptor {
    shards: Arc<[Mailbox]>,
    admission: Arc<AdmissionLimits>,
    proxy_warnings: SharedGcra,
    next: AtomicU32,
}

impl Acceptor {
    pub(super) fn new(shards: Arc<[Mailbox]>, admission: Arc<AdmissionLimits>) -> Acceptor {
        Acceptor {
            shards,
            admission,
            proxy_warnings: SharedGcra::default(),
            next: AtomicU32::new(0),
        }
    }

    /// Receives a stream from a listener of another service. It counts for the limits of TURN from now on.
    pub(super) fn receive(&self, accepted: Accepted) {
        match self.admission.admit_classified(accepted.client.ip()) {
            Ok(permit) => self.open(accepted, permit),
            Err(reason) => {
                ingress::reject(self, accepted.number, accepted.client, &reason.into());
            }
        }
    }

    fn open(&self, accepted: Accepted, permit: StreamPermit) {
        if let Err(error) = self.try_open(accepted, permit) {
            tracing::debug!(%error, "TURN stream failed before it reached a shard");
        }
    }

    fn try_open(&self, accepted: Accepted, permit: StreamPermit) -> io::Result<()> {
        let Accepted {
            number,
            client,
            stream,
            ..
        } = accepted;
        match stream {
            Stream::Plain(socket) => {
                let server = prepare(&socket)?;
                let socket = socket.into_std()?;
                self.open_io(socket, Transport::Tcp, client, server, number, permit);
            }
            Stream::Tls(stream) => {
                let (socket, session) = stream.into_inner();
                let server = prepare(&socket)?;
                let io = TlsIo::new(socket.into_std()?, session);
                self.open_io(io, Transport::Tls, client, server, number, permit);
            }
        }
        Ok(())
    }

    /// Gives a stream to its shard. `io` never blocks, and is past any TLS handshake. `connection` is the
    /// number of the connection in the log.
    fn open_io(
        &self,
        io: impl StreamIo + 'static,
        transport: Transport,
        client: SocketAddr,
        server: SocketAddr,
        connection: u64,
        permit: StreamPermit,
    ) {
        let stream = self.next.fetch_add(1, Ordering::Relaxed) % STREAM_NUMBERS;
        let route = Route {
            transport,
            client,
            server,
            via: stream,
        };
        let own_shard = stream as usize % self.shards.len();
        let info = Arc::new(StreamInfo::new(own_shard, connection, permit));
        // Every shard knows each stream: an allocation that claims a reserved port is created where the
        // port is. The stream's own shard comes last: the others know the stream before its first message.
        for (index, shard) in self.shards.iter().enumerate() {
            if index != own_shard {
                let info = info.clone();
                shard.send(Command::StreamOpened {
                    route,
                    info,
                    io: None,
                });
            }
        }
        let io: Option<Box<dyn StreamIo>> = Some(Box::new(io));
        self.shards[own_shard].send(Command::StreamOpened { route, info, io });
    }
}

impl ingress::Service for Acceptor {
    type Admission = AdmissionLimits;

    const NAME: &'static str = "turn";

    fn admission(&self) -> &AdmissionLimits {
        &self.admission
    }

    fn limits(&self) -> Arc<Limits> {
        self.admission.live.get()
    }

    fn count_rejected(&self, reason: RejectReason) {
        self.admission.rejected.count(reason);
    }

    fn proxy_warnings(&self) -> &SharedGcra {
        &self.proxy_warnings
    }

    async fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        permit: StreamPermit,
        _: CancellationToken,
    ) {
        self.open(accepted, permit);
    }
}

/// Limits the kernel's buffer for a slow reader: by default the kernel would buffer megabytes, which are
/// seconds of a call and too late by then.
#[cfg(target_os = "linux")]
fn limit_unsent(socket: &TcpStream) {
    // An error only delays packets to slow readers.
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES);
}

#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream) {}

/// Makes a socket send at once and buffer little. Returns its local address.
fn prepare(socket: &TcpStream) -> io::Result<SocketAddr> {
    socket.set_nodelay(true)?;
    limit_unsent(socket);
    socket.local_addr()
}

//! The TLS handshake of a connection, and its protocol by ALPN.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accepted::{Classified, Protocol, is_turn, within};
use super::reject::AcceptError;
use super::stream::Stream;
use crate::tls;

/// Accepts TLS for HTTP and TURN. ALPN decides the protocol; without ALPN the first byte does.
pub(super) async fn accept(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    step_timeout: Duration,
) -> Result<Option<Classified>, AcceptError> {
    let mut stream = handshake(stream, config, step_timeout).await?;
    let alpn = stream.get_ref().1.alpn_protocol();
    let protocol = match alpn {
        Some(tls::HTTP_2) => Protocol::Http2,
        Some(tls::STUN_TURN) => Protocol::Turn,
        None | Some(tls::HTTP_1) => {
            let is_negotiated = alpn.is_some();
            let buffered = within(step_timeout, stream.fill_buf()).await?;
            let first = buffered.first().ok_or(io::ErrorKind::UnexpectedEof);
            let first = *first.map_err(io::Error::from)?;
            if !is_negotiated && is_turn(first) {
                Protocol::Turn
            } else {
                Protocol::Http1 { redirect: false }
            }
        }
        Some(_) => return end_validation(stream, step_timeout).await,
    };
    Ok(Some((protocol, Stream::Tls(Box::new(stream)))))
}

/// Accepts TLS for TURN alone.
pub(super) async fn accept_turn(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    step_timeout: Duration,
) -> Result<Option<Classified>, AcceptError> {
    let stream = handshake(stream, config, step_timeout).await?;
    if stream.get_ref().1.alpn_protocol() == Some(tls::ACME_TLS) {
        return end_validation(stream, step_timeout).await;
    }
    Ok(Some((Protocol::Turn, Stream::Tls(Box::new(stream)))))
}

async fn handshake(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    step_timeout: Duration,
) -> Result<TlsStream<TcpStream>, AcceptError> {
    let accepting = TlsAcceptor::from(config.clone()).accept(stream);
    let accepted = within(step_timeout, accepting).await;
    accepted.map_err(AcceptError::Handshake)
}

/// Closes the connection of an ACME validation: the authority needs the handshake alone.
async fn end_validation(
    mut stream: TlsStream<TcpStream>,
    step_timeout: Duration,
) -> Result<Option<Classified>, AcceptError> {
    // The authority has the certificate whether it reads the close or not.
    let _ = within(step_timeout, stream.shutdown()).await;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_without_a_handshake_is_rejected_after_the_step_timeout() {
        const STEP_TIMEOUT: Duration = Duration::from_secs(10);
        let own = rcgen::generate_simple_self_signed(["talk.example.org".to_owned()]).unwrap();
        let pem = own.cert.pem() + &own.signing_key.serialize_pem();
        let resolver = tls::CertResolver::new(&tls::parse(&pem).unwrap());
        let config = tls::server_config(resolver, &[tls::STUN_TURN]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (socket, _) = listener.accept().await.unwrap();
        let start = Instant::now();
        let error = accept_turn(socket, &config, STEP_TIMEOUT).await.err();
        let Some(AcceptError::Handshake(error)) = error else {
            panic!("a handshake without a client: {error:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), STEP_TIMEOUT.as_secs());
        drop(client);
    }
}

//! Requests to https servers of others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::url::{Host, HttpsUrl};

/// The time for one request, from the look-up of the name to the end of the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a resource could not be fetched, as the rest of a sentence about its URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("has no valid certificate: {0}")]
    Tls(String),
    #[error("answered with HTTP status {}, not 200", .0.as_u16())]
    Status(StatusCode),
    #[error("answered with an invalid response: {0}")]
    Response(String),
    #[error("did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Sends requests, each on a connection of its own.
#[derive(Clone)]
pub struct HttpsClient {
    tls: TlsConnector,
}

impl HttpsClient {
    /// `tls` decides which servers are trusted.
    pub fn new(tls: Arc<ClientConfig>) -> HttpsClient {
        HttpsClient {
            tls: TlsConnector::from(tls),
        }
    }

    /// Fetches a resource of at most `limit` bytes. Redirects are not followed.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn get(&self, url: &HttpsUrl, limit: usize) -> Result<Bytes, FetchError> {
        tokio::time::timeout(TIMEOUT, self.fetch(url, limit))
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn fetch(&self, url: &HttpsUrl, limit: usize) -> Result<Bytes, FetchError> {
        let invalid = |error: hyper::Error| FetchError::Response(error.to_string());
        let stream = self.connect(url).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(invalid)?;
        let request = Request::get(url.target())
            .header(header::HOST, url.authority())
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("parlor/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::<Bytes>::new())
            .map_err(|error| FetchError::Response(error.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(invalid)?;
            match response.status() {
                StatusCode::OK => {}
                other => return Err(FetchError::Status(other)),
            }
            let body = Limited::new(response.into_body(), limit).collect().await;
            let body = body.map_err(|error| FetchError::Response(error.to_string()))?;
            Ok(body.to_bytes())
        };
        // The connection is driven by this future alone, and ends with it. A failure of the connection ends
        // the answer as well.
        let driven = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = driven => never,
        }
    }

    async fn connect(
        &self,
        url: &HttpsUrl,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, FetchError> {
        let unreachable = |error: std::io::Error| FetchError::Unreachable(error.to_string());
        let (stream, name) = match url.host() {
            Host::Ip(ip) => {
                let stream = TcpStream::connect((*ip, url.port())).await;
                (stream.map_err(unreachable)?, ServerName::from(*ip))
            }
            Host::Name(name) => {
                let stream = TcpStream::connect((name.as_str(), url.port())).await;
                let name = ServerName::try_from(name.trim_end_matches('.').to_owned());
                let name = name.map_err(|error| FetchError::Tls(error.to_string()))?;
                (stream.map_err(unreachable)?, name)
            }
        };
        let secured = self.tls.connect(name, stream).await;
        secured.map_err(|error| FetchError::Tls(error.to_string()))
    }
}

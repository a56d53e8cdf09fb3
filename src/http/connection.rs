//! Serves a connection over HTTP/1.1 or HTTP/2, within limits of size, number and time.

use std::convert::Infallible;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
#[cfg(test)]
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frame_budget::FrameBudget;
use super::request_head;
use super::request_service::RequestService;
use super::response::Response;
use super::write_timeout::WriteTimeout;
use crate::config;
use crate::ingress::{Accepted, Protocol, Stream};

/// Bytes of a request's head. Tokens of browsers stay far below.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Concurrent requests of a connection (HTTP/2).
const MAX_CONCURRENT_STREAMS: u32 = 64;

/// Requests that a client may have reset before the server looked at them (HTTP/2). A reset stream no
/// longer counts as concurrent, so this bounds a "rapid reset" (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// Requests that a client may make the server reset (HTTP/2; "made you reset", CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 64;

/// Unsent bytes of responses to a client (HTTP/2).
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of a request's body that a client may send in advance (HTTP/2).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// Bytes of all bodies that a client may send in advance (HTTP/2).
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// The timeouts of a connection, as of its start.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// For a request's head, and between requests.
    header: Duration,
    /// For the client to read a response.
    request: Duration,
}

impl Timeouts {
    pub(super) fn new(http: &config::Http) -> Timeouts {
        Timeouts {
            header: http.header_timeout,
            request: http.request_timeout,
        }
    }
}

/// The number of requests in progress on a connection.
type ActiveRequests = watch::Sender<usize>;

/// A request in progress.
struct ActiveRequest(ActiveRequests);

impl ActiveRequest {
    fn begin(active: &ActiveRequests) -> ActiveRequest {
        active.send_modify(|count| *count += 1);
        ActiveRequest(active.clone())
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Serves a connection until the client or `shutdown` ends it. Requests over HTTP/2 run on `tasks`.
pub(super) async fn serve(
    accepted: Accepted,
    service: RequestService,
    timeouts: Timeouts,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let Accepted {
        protocol,
        mut stream,
        ..
    } = accepted;
    let is_http2 = protocol == Protocol::Http2;
    let mut early = Vec::new();
    if !is_http2 {
        let head = request_head::read(&mut stream, MAX_HEAD_BYTES, timeouts.header);
        match shutdown.run_until_cancelled(head).await {
            None => return,
            Some(Ok(head)) => early = head,
            Some(Err(error)) => {
                tracing::debug!(%error, "HTTP connection ended");
                return;
            }
        }
    }
    let stream = WriteTimeout::new(stream, early, timeouts.request);
    let active = ActiveRequests::new(0);
    let counted = active.clone();
    let service = service_fn(move |request| {
        let active = ActiveRequest::begin(&counted);
        let responding = service.respond(request);
        async move {
            let response = responding.await;
            drop(active);
            response
        }
    });
    // Boxed: a connection without a request does not allocate memory for later states.
    let ended = if !is_http2 {
        Box::pin(http1(stream, service, timeouts, shutdown)).await
    } else {
        Box::pin(http2(stream, service, &active, timeouts, tasks, shutdown)).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// Serves HTTP/1.1 until the client or `shutdown` ends it.
async fn http1<S>(
    stream: WriteTimeout<Stream>,
    service: S,
    timeouts: Timeouts,
    shutdown: &CancellationToken,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    match shutdown.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Serves HTTP/2 until the client or `shutdown` ends it, or the connection was idle for as long as
/// HTTP/1.1 waits for a request. Then the client has `timeouts.request` to read its responses.
async fn http2<S>(
    stream: WriteTimeout<Stream>,
    service: S,
    active: &ActiveRequests,
    timeouts: Timeouts,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    let connection = http2::Builder::new(TrackedExecutor(tasks.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(TokioIo::new(FrameBudget::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shutdown.cancelled() => {}
        () = wait_until_idle(active.subscribe(), timeouts.header) => {}
    }
    connection.as_mut().graceful_shutdown();
    let ended = timeout(timeouts.request, connection).await;
    ended.unwrap_or(Ok(()))
}

/// Waits until the connection has been idle for `limit`.
async fn wait_until_idle(mut active: watch::Receiver<usize>, limit: Duration) {
    loop {
        if active.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        // A request that begins and ends meanwhile restarts the wait.
        if timeout(limit, active.changed()).await.is_err() {
            return;
        }
    }
}

/// Runs the requests of HTTP/2 on tasks that the shutdown waits for.
#[derive(Clone)]
struct TrackedExecutor(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for TrackedExecutor {
    fn execute(&self, request: F) {
        self.0.spawn(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_it_has_had_no_request_for_the_timeout() {
        const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
        let (start, active) = (Instant::now(), ActiveRequests::new(0));
        let waiting = tokio::spawn(wait_until_idle(active.subscribe(), IDLE_TIMEOUT));
        let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        sleep(9).await;
        let (one, other) = (ActiveRequest::begin(&active), ActiveRequest::begin(&active));
        sleep(60).await;
        drop(one);
        sleep(60).await;
        drop(other);
        sleep(9).await;
        drop(ActiveRequest::begin(&active));
        waiting.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 9 + 60 + 60 + 9 + 10);
    }
}

//! A connection's requests, over HTTP/1.1 or HTTP/2: how large, how many, and how long there may be none.

use std::convert::Infallible;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
#[cfg(test)]
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frame_budget::FrameBudget;
use super::response::Response;
use super::stream::Stream;
use super::write_timeout::WriteTimeout;
use crate::config;

/// Bytes of a request's head; browsers' tokens stay far below.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Requests of one connection at once (HTTP/2).
const MAX_CONCURRENT_STREAMS: u32 = 64;

/// Requests that a client may have taken back before they were looked at (HTTP/2): a stream that is
/// reset counts among those at once no more, and would else be the way around that bound
/// (CVE-2023-44487, "rapid reset").
const MAX_PENDING_RESETS: usize = 20;

/// Requests that a client may bring us to take back (HTTP/2; CVE-2025-8671, "made you reset").
const MAX_LOCAL_RESETS: usize = 64;

/// Bytes of answers that wait for one client (HTTP/2).
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of bodies that a client may send unasked (HTTP/2): of one request, and of all.
const WINDOWS: [u32; 2] = [64 * 1024, 256 * 1024];

/// How many requests are being answered on a connection.
pub type ActiveRequests = watch::Sender<usize>;

/// One of them, until it is dropped.
pub struct ActiveRequest(ActiveRequests);

impl ActiveRequest {
    pub fn begin(active: &ActiveRequests) -> ActiveRequest {
        active.send_modify(|count| *count += 1);
        ActiveRequest(active.clone())
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// HTTP/1.1, until the client or `shutdown` ends it.
pub async fn http1<S>(
    stream: WriteTimeout<Stream>,
    service: S,
    limits: &config::Http,
    shutdown: &CancellationToken,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
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

/// HTTP/2, until the client or `shutdown` ends it, or nothing has been asked for as long as HTTP/1.1
/// waits for a request, too. Its answers are given as long then as any client has to take them.
pub async fn http2<S>(
    stream: WriteTimeout<Stream>,
    service: S,
    active: &ActiveRequests,
    limits: &config::Http,
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
        .initial_stream_window_size(WINDOWS[0])
        .initial_connection_window_size(WINDOWS[1])
        .serve_connection(TokioIo::new(FrameBudget::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shutdown.cancelled() => {}
        () = wait_until_idle(active.subscribe(), limits.header_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    let ended = timeout(limits.request_timeout, connection).await;
    ended.unwrap_or(Ok(()))
}

/// Waits until nothing has been asked for so long.
async fn wait_until_idle(mut active: watch::Receiver<usize>, limit: Duration) {
    loop {
        if active.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        // A request that begins and ends meanwhile has the wait begin anew, too.
        if timeout(limit, active.changed()).await.is_err() {
            return;
        }
    }
}

/// Runs the requests of HTTP/2 where they are waited for at the end.
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
    async fn a_connection_is_idle_when_nothing_has_been_asked_for_a_while() {
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

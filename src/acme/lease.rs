//! The lease of an order in the database: the process that has it orders, and no other one does.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long a process that died keeps others from ordering.
pub(super) const LEASE: Duration = Duration::from_secs(20);

/// Interval of extending the lease.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// An order ends this long before its lease, so that the orders of two processes never overlap.
const MARGIN: Duration = Duration::from_secs(3);

/// Extends a lease, and returns before another process can have it: the database has given it away, or did not answer
/// in time. `requested_at` is when this process requested the lease.
pub(super) async fn keep<E, F>(mut requested_at: Instant, extend: impl Fn() -> F)
where
    F: Future<Output = Result<bool, E>>,
{
    loop {
        let end = requested_at + LEASE - MARGIN;
        let next = timeout_at(end, async {
            loop {
                sleep(RENEWAL_INTERVAL).await;
                let sent_at = Instant::now();
                match extend().await {
                    Ok(true) => return Some(sent_at),
                    Ok(false) => return None,
                    Err(_) => {}
                }
            }
        });
        match next.await {
            Ok(Some(sent_at)) => requested_at = sent_at,
            Ok(None) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs [`keep`] with a database that answers as `answer` says, `delay` after each request. Returns its time.
    async fn kept(delay: Duration, answer: impl Fn(Duration) -> Result<bool, ()>) -> Duration {
        let begin = Instant::now();
        let extend = || {
            let answer = answer(begin.elapsed());
            async move {
                sleep(delay).await;
                answer
            }
        };
        keep(begin, extend).await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_ends_before_its_lease_while_the_database_is_away() {
        let away_at = Duration::from_secs(7);
        // The request at the fifth second was the last that was answered.
        let expected = Duration::from_secs(5) + LEASE - MARGIN;
        for delay in [Duration::ZERO, Duration::from_secs(4)] {
            let answer = |at| if at < away_at { Ok(true) } else { Err(()) };
            assert_eq!(kept(delay, answer).await, expected, "{delay:?}");
        }
        // A database that never answers.
        let never = kept(Duration::MAX, |_| Ok(true)).await;
        assert_eq!(never, LEASE - MARGIN);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_ends_when_another_process_has_its_lease() {
        let hours = Duration::from_secs(2 * 3600);
        let time = kept(Duration::ZERO, |at| Ok(at < hours)).await;
        assert_eq!(time, hours);
    }
}

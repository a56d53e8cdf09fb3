//! The rate limits of the API. Their tables do not grow.

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::clock::Mono;
use crate::http::forwarded::ClientInfo;
use crate::password;
use crate::rate::{KeyedLimiter, Limit, PerIpLimiter, SharedGcra};
use crate::secret::Secret;
use crate::service::App;

/// Approximate number of addresses, names or users that have a limit of their own.
const TABLE_SIZE: usize = 4096;
const SMALL_TABLE_SIZE: usize = 1024;

/// Attempts to log in, or to redeem an invite, from one address: successful or not.
const ATTEMPTS_PER_SECOND: u64 = 1;
const ATTEMPT_BURST: u64 = 30;

/// Attempts to log in with one name, from any address: one per interval after the burst.
pub(crate) const NAME_INTERVAL: Duration = Duration::from_secs(6);
const NAME_BURST: u64 = 20;

/// Attempts to log in from one known device of the user: the same rate as for a name.
const DEVICE_INTERVAL: Duration = NAME_INTERVAL;
const DEVICE_BURST: u64 = NAME_BURST;

/// Previews from one address, successful or not.
const PREVIEWS_PER_SECOND: u64 = 2;
const PREVIEW_BURST: u64 = 60;

/// Invites and rooms that one user creates.
const CREATIONS_PER_SECOND: u64 = 1;
const CREATION_BURST: u64 = 30;

/// Changes by one moderator.
const MODERATIONS_PER_SECOND: u64 = 1;
const MODERATION_BURST: u64 = 30;

/// Messages of one user.
const MESSAGES_PER_SECOND: u64 = 2;
const MESSAGE_BURST: u64 = 20;

/// Passwords that are hashed at the same time, at most: each takes 19 MiB and a core.
const MAX_CONCURRENT_HASHES: usize = 4;

/// The limits of all routes.
pub(crate) struct ApiLimits {
    pub guests: PerIpLimiter,
    pub logins: LoginLimits,
    pub previews: PerIpLimiter,
    pub inviters: KeyedLimiter,
    pub room_creators: KeyedLimiter,
    pub message_authors: KeyedLimiter,
    pub moderators: KeyedLimiter,
}

impl Default for ApiLimits {
    fn default() -> ApiLimits {
        let attempts = Limit::per_second(ATTEMPTS_PER_SECOND, ATTEMPT_BURST);
        let previews = Limit::per_second(PREVIEWS_PER_SECOND, PREVIEW_BURST);
        let creations = Limit::per_second(CREATIONS_PER_SECOND, CREATION_BURST);
        let moderations = Limit::per_second(MODERATIONS_PER_SECOND, MODERATION_BURST);
        let messages = Limit::per_second(MESSAGES_PER_SECOND, MESSAGE_BURST);
        ApiLimits {
            guests: PerIpLimiter::new(attempts, TABLE_SIZE),
            logins: LoginLimits::default(),
            previews: PerIpLimiter::new(previews, TABLE_SIZE),
            inviters: KeyedLimiter::new(creations, SMALL_TABLE_SIZE),
            room_creators: KeyedLimiter::new(creations, SMALL_TABLE_SIZE),
            message_authors: KeyedLimiter::new(messages, TABLE_SIZE),
            moderators: KeyedLimiter::new(moderations, SMALL_TABLE_SIZE),
        }
    }
}

/// The limits of logins, and of concurrent password hashing.
pub(crate) struct LoginLimits {
    sources: PerIpLimiter,
    names: KeyedLimiter,
    pub devices: KeyedLimiter,
    /// Permits for unknown and for known devices: they do not wait for each other.
    hashing: [Arc<Semaphore>; 2],
    log_limits: [SharedGcra; 3],
}

/// The limit that a client has reached.
#[derive(Clone, Copy)]
pub(crate) enum LimitReached {
    Address,
    Name,
    Invites,
}

impl LimitReached {
    fn reason(self) -> &'static str {
        match self {
            LimitReached::Address => "too many attempts from one address",
            LimitReached::Name => "too many attempts at one name",
            LimitReached::Invites => "too many attempts at invites from one address",
        }
    }
}

impl Default for LoginLimits {
    fn default() -> LoginLimits {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let attempts = Limit::per_second(ATTEMPTS_PER_SECOND, ATTEMPT_BURST);
        LoginLimits {
            sources: PerIpLimiter::new(attempts, TABLE_SIZE),
            names: KeyedLimiter::new(Limit::every(NAME_INTERVAL, NAME_BURST), TABLE_SIZE),
            devices: KeyedLimiter::new(Limit::every(DEVICE_INTERVAL, DEVICE_BURST), TABLE_SIZE),
            hashing: [cores.min(MAX_CONCURRENT_HASHES), 1]
                .map(|permits| Arc::new(Semaphore::new(permits))),
            log_limits: <[SharedGcra; 3]>::default(),
        }
    }
}

impl LoginLimits {
    /// Whether `password` matches `hash`; waits for a permit. A check that has begun keeps its
    /// permit to its end, even if the client has gone.
    pub(crate) async fn verify(
        &self,
        password: Secret,
        hash: Option<String>,
        is_known: bool,
    ) -> Result<bool, JoinError> {
        let hashing = &self.hashing[usize::from(is_known)];
        let permit = hashing.clone().acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            password::verify(&password, hash.as_deref())
        })
        .await
    }

    /// Counts an attempt from an address; false if there were too many.
    pub(crate) fn try_take_address(&self, client: &ClientInfo, now: Mono) -> bool {
        let taken = client.try_take(&self.sources, now);
        if !taken {
            self.log_limit(now, client.address, LimitReached::Address);
        }
        taken
    }

    /// Counts an attempt for a name, on this node and then on all nodes; false if there were too many.
    pub(crate) async fn try_take_name(
        &self,
        app: &App,
        client: &ClientInfo,
        name: &str,
        now: Mono,
    ) -> bool {
        let taken =
            self.names.take(name, now) && app.try_take_name(name, NAME_INTERVAL, NAME_BURST).await;
        if !taken {
            self.log_limit(now, client.address, LimitReached::Name);
        }
        taken
    }

    /// Logs a reached limit, each once a minute, because an attack must not fill the disk.
    pub(crate) fn log_limit(&self, now: Mono, client: IpAddr, limit: LimitReached) {
        if self.log_limits[limit as usize].take(Limit::per_minute(), now, 1) {
            let reason = limit.reason();
            tracing::info!(%client, reason, "login rate limit reached");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_password_check_waits_for_a_permit() {
        let logins = LoginLimits {
            hashing: [1, 1].map(|permits| Arc::new(Semaphore::new(permits))),
            ..LoginLimits::default()
        };
        let hash = password::hash(&Secret::new("right")).unwrap();
        let [unknown_devices, devices] = &logins.hashing;
        let permit = unknown_devices.clone().acquire_owned().await.unwrap();
        let verify = |is_known| logins.verify(Secret::new("right"), Some(hash.clone()), is_known);
        let mut waiting = Box::pin(verify(false));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(unknown_devices.available_permits(), 0);
        // A known device does not wait for unknown ones.
        assert!(verify(true).await.unwrap());
        drop(permit);
        assert!(waiting.await.unwrap());
        assert_eq!(unknown_devices.available_permits(), 1);
        assert_eq!(devices.available_permits(), 1);
    }
}

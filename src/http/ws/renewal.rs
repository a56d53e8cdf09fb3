//! Renewals within a session of `parlor.v1`: the warning before the token ends, and fresh ICE servers.

use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::requests::Requests;
use crate::clock;
use crate::config;
use crate::http::api::{BoundTo, Offer, WARNING_SECONDS};
use crate::room;
use crate::service::{App, Outbox, Renewals, member};
use crate::storage::StoreError;
use crate::url::Host;

/// A credential that ends with its user's access is renewed this long before, if the access was prolonged.
const LAST_RENEWAL_SECONDS: u64 = 30;
/// The pause before ICE servers are fetched again after a failure.
const RETRY_SECONDS: u64 = 30;

/// The part of a connection that a plain one does not have.
pub(super) struct Extended {
    /// The number of the last frame before the last ping.
    pub pinged_seq: u64,
    pub schedule: Schedule,
    pub requests: Requests,
    source: IceSource,
}

/// The times at which a connection renews what expires.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    times: Renewals,
    /// The end of a token that the client has been warned of.
    warned_of: Option<u64>,
}

/// The ICE servers of one user in one room.
#[derive(Clone)]
pub(super) struct IceSource {
    pub app: Arc<App>,
    pub room: Arc<str>,
    pub user: Arc<str>,
    /// The host of the request, for URLs if the settings name none.
    pub host: Host,
}

impl Extended {
    pub(super) fn new(source: IceSource, requests: Requests) -> Extended {
        Extended {
            pinged_seq: 0,
            schedule: Schedule::default(),
            requests,
            source,
        }
    }

    /// Carries out what is due.
    pub(super) fn renew(&mut self, unix: u64, outbox: &Arc<Outbox>) {
        if let Some(seconds) = self.schedule.take_warning(unix) {
            let frame = room::token_expiring(&self.source.room, seconds);
            outbox.push(frame, None);
        }
        if self.schedule.take_ice(unix) {
            self.source.clone().send_to(outbox.clone());
        }
    }
}

impl Schedule {
    /// Takes over the times of renewals. Returns whether they have changed.
    pub(super) fn update(&mut self, times: Renewals) -> bool {
        std::mem::replace(&mut self.times, times) != times
    }

    /// When the token ends, in Unix seconds.
    pub(super) fn token_end(&self) -> Option<u64> {
        self.times.token_end
    }

    /// The time of the next renewal or warning, in Unix seconds.
    pub(super) fn next(&self) -> Option<u64> {
        let warning = self
            .unwarned_end()
            .map(|end| end.saturating_sub(WARNING_SECONDS));
        warning.into_iter().chain(self.ice_due()).min()
    }

    /// The time of the next ICE servers, in Unix seconds. Those that are due shortly before the token ends wait for
    /// another token: a guest's would end at the same time as the earlier ones.
    fn ice_due(&self) -> Option<u64> {
        let last = self
            .times
            .token_end
            .map(|end| end.saturating_sub(LAST_RENEWAL_SECONDS));
        self.times
            .ice_due
            .filter(|due| last.is_none_or(|last| *due < last))
    }

    /// The end of a token that the client has not been warned of.
    fn unwarned_end(&self) -> Option<u64> {
        self.times
            .token_end
            .filter(|end| self.warned_of != Some(*end))
    }

    /// Returns the seconds that are left, if the client has to be warned now.
    fn take_warning(&mut self, unix: u64) -> Option<u64> {
        let end = self.unwarned_end()?;
        let left = end.saturating_sub(unix);
        if left > WARNING_SECONDS {
            return None;
        }
        self.warned_of = Some(end);
        Some(left)
    }

    /// Whether ICE servers are due now.
    fn take_ice(&mut self, unix: u64) -> bool {
        let is_due = self.ice_due().is_some_and(|due| due <= unix);
        if is_due {
            self.times.ice_due = None;
        }
        is_due
    }
}

impl IceSource {
    /// Fetches ICE servers in a task of its own, and sends them to the client.
    fn send_to(self, outbox: Arc<Outbox>) {
        outbox.begin_ice_renewal();
        tokio::spawn(async move {
            let (frame, next) = match self.fetch().await {
                Ok(Some(offer)) => {
                    let next = Some(renewal_time(&offer));
                    let servers = offer.into_json().to_string();
                    (Some(room::ice_servers(&self.room, &servers)), next)
                }
                // The connection is about to be closed.
                Ok(None) => (None, None),
                Err(error) => {
                    tracing::error!(%error, "database request failed");
                    (None, Some(clock::now().unix + RETRY_SECONDS))
                }
            };
            outbox.finish_ice_renewal(frame, next);
        });
    }

    /// Returns fresh ICE servers; `None` if the user may not be in the room any more.
    async fn fetch(&self) -> Result<Option<Offer>, StoreError> {
        let Some((user, generation)) = member(&self.app, &self.user, &self.room).await? else {
            return Ok(None);
        };
        let named = config::ice_host(&self.app.settings().config);
        let host = named.unwrap_or_else(|| self.host.clone());
        let bound = BoundTo {
            room: &self.room,
            generation,
        };
        Ok(Some(Offer::new(&self.app, host, &user, Some(bound)).await))
    }
}

/// Returns the time, in Unix seconds, at which servers are replaced: after half to three quarters of the validity of
/// their credential, at random, so that clients that have come at once do not renew at once; shortly before the end of a
/// credential that ends with the guest's access, which may be prolonged until then.
pub(super) fn renewal_time(offer: &Offer) -> u64 {
    if offer.ends_with_access {
        return offer.expires.saturating_sub(LAST_RENEWAL_SECONDS);
    }
    let mut random = [0; 4];
    // Without random bytes the time is the earliest one.
    let _ = SystemRandom::new().fill(&mut random);
    let validity = Duration::from_secs(offer.ttl);
    let issued = offer.expires.saturating_sub(offer.ttl);
    issued + renewal_delay(validity, u32::from_be_bytes(random)).as_secs()
}

fn renewal_delay(validity: Duration, random: u32) -> Duration {
    let share = 0.5 + 0.25 * f64::from(random) / (f64::from(u32::MAX) + 1.0);
    validity.mul_f64(share)
}

#[cfg(test)]
mod tests;

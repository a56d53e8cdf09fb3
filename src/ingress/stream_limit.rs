//! Limits of TURN streams: in total, per source, and of those that are not yet classified.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{Limits, LiveLimits, MAX_STREAMS};
use super::pending::{PendingGuard, PendingLimit};
use super::permits::ConnectionAdmission;
use super::reject::{RejectCounters, RejectReason};
use crate::rate;

/// The limits of TURN streams, and their rejections.
#[derive(Debug)]
pub struct AdmissionLimits {
    /// The limits that a reload replaces.
    pub live: Arc<LiveLimits>,
    pub rejected: Arc<RejectCounters>,
    total: Arc<Semaphore>,
    sources: Arc<PerSourceLimit>,
    pending: Arc<PendingLimit>,
}

/// Open streams of each source.
#[derive(Debug, Default)]
pub(super) struct PerSourceLimit(Mutex<HashMap<u64, usize>>);

/// A stream's share of the limits. Dropping the permit returns it.
#[derive(Debug)]
pub struct StreamPermit {
    _total: OwnedSemaphorePermit,
    /// Until the stream is classified.
    pending: Option<PendingGuard>,
    /// Once the client is known.
    source: Option<SourcePermit>,
}

/// A stream's share of the limit of its source.
#[derive(Debug)]
struct SourcePermit {
    sources: Arc<PerSourceLimit>,
    prefix: u64,
}

impl AdmissionLimits {
    pub fn new(limits: Limits) -> AdmissionLimits {
        AdmissionLimits {
            live: Arc::new(LiveLimits::new(limits)),
            rejected: Arc::default(),
            total: Arc::new(Semaphore::new(MAX_STREAMS)),
            sources: Arc::default(),
            pending: Arc::default(),
        }
    }

    /// Admits a stream of a known `client` that is classified already.
    pub fn admit_classified(&self, client: IpAddr) -> Result<StreamPermit, RejectReason> {
        let mut permit = self.acquire()?;
        self.assign(&mut permit, client, client, &self.live.get())?;
        Ok(permit)
    }

    fn acquire(&self) -> Result<StreamPermit, RejectReason> {
        let total = self.total.clone().try_acquire_owned();
        let total = total.map_err(|_| RejectReason::TotalLimit)?;
        Ok(StreamPermit {
            _total: total,
            pending: None,
            source: None,
        })
    }
}

impl Default for AdmissionLimits {
    fn default() -> AdmissionLimits {
        AdmissionLimits::new(Limits::default())
    }
}

impl ConnectionAdmission for AdmissionLimits {
    type Permit = StreamPermit;

    fn admit(&self, _: IpAddr, _: &Limits) -> Result<Option<StreamPermit>, RejectReason> {
        self.acquire().map(Some)
    }

    fn evicted(&self, permit: &mut StreamPermit) -> impl Future<Output = ()> + Send + 'static {
        let guard = permit.pending.insert(self.pending.register());
        guard.evicted().clone().cancelled_owned()
    }

    fn assign(
        &self,
        permit: &mut StreamPermit,
        _: IpAddr,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<(), RejectReason> {
        let source = self.sources.acquire(client, limits.max_per_source);
        permit.source = Some(source.ok_or(RejectReason::SourceLimit)?);
        Ok(())
    }

    fn classified(&self, permit: &mut StreamPermit) {
        permit.pending = None;
    }
}

impl PerSourceLimit {
    /// Adds a stream; `None` if the source of `client` has `max` already.
    fn acquire(self: &Arc<Self>, client: IpAddr, max: usize) -> Option<SourcePermit> {
        let prefix = rate::source_prefix(client);
        let mut counts = self.counts();
        let count = counts.get(&prefix).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        counts.insert(prefix, count + 1);
        Some(SourcePermit {
            sources: self.clone(),
            prefix,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        let mut counts = self.sources.counts();
        if let Some(count) = counts.get_mut(&self.prefix) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn limits(max_streams_per_address: usize) -> Limits {
        let turn = config::Turn {
            max_streams_per_address,
            ..config::Turn::default()
        };
        Limits::turn(&turn, &[])
    }

    #[test]
    fn the_streams_of_an_ipv6_site_count_for_one_source() {
        let admission = AdmissionLimits::new(limits(64));
        let site = |host| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
        let permits: Vec<_> = (0..100u16)
            .map_while(|host| admission.admit_classified(site(host)).ok())
            .collect();
        assert_eq!(permits.len(), 64);
        drop(permits);
        assert!(admission.sources.counts().is_empty());
    }

    #[test]
    fn a_new_limit_applies_to_new_streams_and_closes_none() {
        let admission = AdmissionLimits::new(limits(64));
        let admit = || admission.admit_classified(IpAddr::from([192, 0, 2, 1]));
        let permits: Vec<_> = (0..3).map_while(|_| admit().ok()).collect();
        admission.live.set(limits(3));
        assert_eq!(permits.len(), 3);
        assert_eq!(admit().err(), Some(RejectReason::SourceLimit));
        admission.live.set(limits(4));
        assert!(admit().is_ok());
    }

    #[test]
    fn a_stream_over_the_total_limit_is_rejected() {
        let admission = AdmissionLimits::new(limits(MAX_STREAMS + 1));
        let admit = || admission.admit_classified(IpAddr::from([192, 0, 2, 1]));
        let permits: Vec<_> = (0..MAX_STREAMS).map_while(|_| admit().ok()).collect();
        assert_eq!(permits.len(), MAX_STREAMS);
        assert_eq!(admit().err(), Some(RejectReason::TotalLimit));
        drop(permits);
        assert!(admit().is_ok());
    }
}

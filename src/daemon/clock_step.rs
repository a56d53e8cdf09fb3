//! Detects steps of the system's clock while parlor runs: a machine without a battery-backed clock starts
//! with a wrong time, and NTP corrects it minutes later.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Now};
use crate::storage::{Store, StoreError};

use super::default_room::FirstInvite;
use super::reload::Reloader;

/// How often the two clocks are compared.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Smaller differences are drift or gradual adjustments.
const MIN_STEP_SECONDS: u64 = 30;
/// Within this time after the start, a step means that the clock was wrong at the start.
const SETTLING_TIME: Duration = Duration::from_secs(3600);

/// Compares the wall clock with the monotonic clock.
#[derive(Debug)]
struct ClockStepDetector {
    last: Now,
}

impl ClockStepDetector {
    /// Returns the seconds by which the wall clock was set since the last check; `None` without a step.
    fn check(&mut self, now: Now) -> Option<i64> {
        let passed = now.mono.since(self.last.mono).as_secs();
        let expected = self.last.unix.saturating_add(passed);
        self.last = now;
        let size = now.unix.abs_diff(expected);
        let step = i64::try_from(size).unwrap_or(i64::MAX);
        let step = if now.unix < expected { -step } else { step };
        (size >= MIN_STEP_SECONDS).then_some(step)
    }
}

/// Notifies all tasks that depend on the wall clock after each step, for as long as the daemon runs.
pub(super) async fn follow(
    started: Now,
    reloader: Arc<Reloader>,
    store: Store,
    mut invite: Option<FirstInvite>,
) {
    let mut detector = ClockStepDetector { last: started };
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let now = clock::now();
        let Some(seconds) = detector.check(now) else {
            continue;
        };
        tracing::info!(seconds, "system clock was set");
        reloader.recheck_certificate();
        if let Some(invite) = &mut invite
            && now.mono.since(started.mono) < SETTLING_TIME
            && let Err(error) = extend_invite(&store, invite, seconds).await
        {
            tracing::error!(%error, "expiry of the first invite could not be corrected");
        }
    }
}

/// Corrects the expiry of the link that the start printed, which was computed from the wrong clock.
async fn extend_invite(
    store: &Store,
    invite: &mut FirstInvite,
    seconds: i64,
) -> Result<(), StoreError> {
    invite.expires_at = invite.expires_at.saturating_add_signed(seconds);
    store.set_invite_expiry(&invite.id, invite.expires_at).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use crate::storage::{NewInvite, NewRoom};

    fn at(mono_seconds: u64, unix: u64) -> Now {
        Now {
            mono: Mono(mono_seconds * 1_000_000_000),
            unix,
        }
    }

    #[test]
    fn a_step_of_the_clock_is_detected_and_normal_progress_is_not() {
        let mut detector = ClockStepDetector {
            last: at(100, 1000),
        };
        assert_eq!(detector.check(at(160, 1060)), None);
        assert_eq!(detector.check(at(220, 1125)), None);
        assert_eq!(detector.check(at(280, 1_800_000_000)), Some(1_799_998_815));
        assert_eq!(detector.check(at(340, 1_800_000_060)), None);
        assert_eq!(detector.check(at(400, 1000)), Some(-1_799_999_120));
        assert_eq!(detector.check(at(460, 1060)), None);
        detector.check(at(500, u64::MAX));
        detector.check(at(0, 0));
    }

    #[tokio::test]
    async fn the_first_invite_keeps_its_lifetime_after_a_clock_step() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("parlor.db")).unwrap();
        let room = NewRoom {
            id: Some("lobby".to_owned()),
            name: "Lobby".to_owned(),
            ..NewRoom::default()
        };
        store.create_room(room).await.unwrap();
        let week = Duration::from_secs(7 * 24 * 3600);
        let made = NewInvite {
            room_id: "lobby".to_owned(),
            ttl: week,
            uses: None,
            created_by: None,
        };
        let made = store.create_invite(made).await.unwrap();
        let mut invite = FirstInvite {
            id: made.id,
            expires_at: made.expires_at,
        };
        let years = 3 * 365 * 24 * 3600;
        let later = clock::now().unix + years;
        assert_eq!(store.invites(None, later, 10).await.unwrap(), []);
        extend_invite(&store, &mut invite, years as i64)
            .await
            .unwrap();
        let living = store.invites(None, later, 10).await.unwrap();
        assert_eq!(living[0].expires_at, made.expires_at + years);
    }
}

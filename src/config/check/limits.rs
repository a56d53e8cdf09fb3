//! Durations and numbers: ranges, and limits that depend on each other.

use std::time::Duration;

use super::violations::Violations;
use crate::config::Config;
use crate::config::duration::{MAX_DURATION, MAX_DURATION_TEXT};

/// The largest `auth.leeway`. Longer ones would hide a wrong clock.
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);

pub(super) fn durations(config: &Config, violations: &mut Violations) {
    let Config {
        http,
        auth,
        signaling,
        turn,
        ..
    } = config;
    let all: [(&'static str, Duration); 7] = [
        ("http.header_timeout", http.header_timeout),
        ("http.request_timeout", http.request_timeout),
        ("auth.token_ttl", auth.token_ttl),
        ("signaling.ping_interval", signaling.ping_interval),
        ("signaling.ping_timeout", signaling.ping_timeout),
        ("signaling.close_timeout", signaling.close_timeout),
        ("turn.credential_ttl", turn.credential_ttl),
    ];
    for (key, span) in all {
        violations.require(
            !span.is_zero(),
            key,
            "must be longer than zero, such as 10s",
        );
        violations.require(
            span <= MAX_DURATION,
            key,
            format!("must not be longer than {MAX_DURATION_TEXT}"),
        );
    }
    violations.require(
        signaling.resume_grace <= MAX_DURATION,
        "signaling.resume_grace",
        format!("must not be longer than {MAX_DURATION_TEXT}"),
    );
    violations.require(
        auth.leeway <= MAX_LEEWAY,
        "auth.leeway",
        "must not be longer than 5m: set the clocks of both machines (NTP)",
    );
    // Zero ends at once.
    violations.require(
        config.server.drain_timeout <= MAX_DURATION,
        "server.drain_timeout",
        format!("must not be longer than {MAX_DURATION_TEXT}"),
    );
    violations.require(
        turn.coalesce_delay <= Duration::from_millis(1),
        "turn.coalesce_delay",
        "must not be longer than 1ms: calls would be delayed",
    );
    // Tokens and credentials expire on a whole second.
    for (key, span) in [
        ("auth.token_ttl", auth.token_ttl),
        ("turn.credential_ttl", turn.credential_ttl),
    ] {
        let sound = span.is_zero() || span >= Duration::from_secs(1);
        violations.require(sound, key, "must be at least one second");
    }
}

pub(super) fn amounts(config: &Config, violations: &mut Violations) {
    let Config {
        http,
        signaling,
        turn,
        ..
    } = config;
    for (key, amount) in [
        ("http.max_body", http.max_body),
        ("http.max_connections", http.max_connections),
        (
            "http.max_connections_per_address",
            http.max_connections_per_address,
        ),
        ("store.max_connections", config.store.max_connections),
        ("signaling.max_message", signaling.max_message),
        ("signaling.rate", signaling.rate as usize),
        ("signaling.burst", signaling.burst as usize),
        (
            "turn.max_allocations_per_user",
            turn.max_allocations_per_user as usize,
        ),
        ("turn.max_permissions", turn.max_permissions),
        ("turn.max_channels", turn.max_channels),
        ("turn.max_streams_per_address", turn.max_streams_per_address),
    ] {
        violations.require(amount > 0, key, "must be at least 1");
    }
    let (queue, message) = (signaling.max_queue, signaling.max_message);
    violations.require_with(
        queue >= message,
        "signaling.max_queue",
        &["signaling.max_message"],
        format!("must be at least signaling.max_message ({message}), or that message does not fit"),
    );
    let burst = signaling.byte_burst;
    violations.require_with(
        burst == 0 || signaling.byte_rate == 0 || (message..queue).contains(&burst),
        "signaling.byte_burst",
        &["signaling.max_message", "signaling.max_queue"],
        format!(
            "must be at least signaling.max_message ({message}), or that message closes its \
             sender, and less than signaling.max_queue ({queue}), or one sender fills it"
        ),
    );
}

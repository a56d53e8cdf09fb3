//! Several nodes: what each of them needs.

use std::time::Duration;

use super::violations::Violations;
use crate::config::Config;

/// Limits of `cluster.lease`.
const MIN_LEASE: Duration = Duration::from_secs(1);
const MAX_LEASE: Duration = Duration::from_secs(60);
/// The maximum length of the name of a node and of a prefix.
const MAX_NAME_BYTES: usize = 63;

pub(super) fn cluster(config: &Config, violations: &mut Violations) {
    let cluster = &config.cluster;
    violations.require(
        cluster.node.as_deref().is_none_or(is_node_name),
        "cluster.node",
        "must have 1 to 63 characters: letters, digits, `.`, `_` and `-`",
    );
    let is_plain = |c: char| c.is_ascii_graphic();
    violations.require(
        (1..=MAX_NAME_BYTES).contains(&cluster.prefix.len())
            && cluster.prefix.chars().all(is_plain),
        "cluster.prefix",
        "must have 1 to 63 characters: ASCII without blanks",
    );
    violations.require(
        (MIN_LEASE..=MAX_LEASE).contains(&cluster.lease),
        "cluster.lease",
        "must be 1s to 60s",
    );
    if cluster.redis_url.is_none() {
        return;
    }
    violations.require_with(
        config.store.url.is_some(),
        "cluster.redis_url",
        &["store.url"],
        "needs store.url: all nodes share a PostgreSQL server",
    );
}

/// Whether a text may be the name of a node.
pub fn is_node_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_plain)
}

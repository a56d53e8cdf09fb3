//! Validation of values beyond their types, alone and in combination.

mod addresses;
mod cluster;
mod ice;
mod limits;
#[cfg(test)]
mod tests;
mod texts;
mod violations;

use super::Config;
use super::value_source::Violation;
pub use cluster::is_node_name;
use violations::Violations;

/// Returns every violation of `config`: the key, and what must change.
pub(super) fn check(config: &Config) -> Vec<Violation> {
    let mut violations = Violations::default();
    limits::durations(config, &mut violations);
    limits::amounts(config, &mut violations);
    texts::names_and_paths(config, &mut violations);
    texts::secrets(config, &mut violations);
    addresses::listeners(config, &mut violations);
    addresses::public_addresses(config, &mut violations);
    cluster::cluster(config, &mut violations);
    ice::ice_servers(config, &mut violations);
    violations.into_vec()
}

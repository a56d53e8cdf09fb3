//! The self-signed certificate (`tls.mode = "self-signed"`), stored in the data directory and renewed before
//! it expires.

use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::relay::local_addresses;
use crate::secret::Secret;
use crate::tls::{self, Identity};

/// File with certificate and key.
const FILE_NAME: &str = "self-signed.pem";

/// Apple's systems reject certificates that are valid for longer than 398 days.
const VALIDITY_DAYS: u16 = 397;

/// Remaining validity at which it is renewed.
const RENEW_BEFORE_SECONDS: i64 = 30 * 24 * 3600;

/// Returns the stored certificate if it covers all hosts and does not expire soon. Otherwise creates one,
/// for this host's addresses as well.
pub(super) fn load_or_create(
    config: &Config,
    data_dir: &DataDir,
    now: u64,
) -> anyhow::Result<Identity> {
    let mut hosts = config::own_hosts(config);
    if let Some(kept) = data_dir.read_file(FILE_NAME)? {
        match tls::parse(kept.expose()) {
            Ok(identity) if is_usable(&identity, &hosts, now) => return Ok(identity),
            Ok(_) => {}
            Err(why) => {
                tracing::warn!("{FILE_NAME} in the data directory {why}: creating a new one");
            }
        }
    }
    let addresses = local_addresses::own_addresses()?.into_iter();
    let addresses = addresses.map(|address| address.to_string());
    hosts.extend(addresses.filter(|one| !one.starts_with("fe80:")));
    hosts.sort();
    hosts.dedup();
    let pem = tls::self_signed(&hosts, now, VALIDITY_DAYS)?;
    data_dir.write_file(FILE_NAME, &Secret::new(pem.clone()))?;
    tls::parse(&pem).map_err(anyhow::Error::msg)
}

fn is_usable(identity: &Identity, hosts: &[String], now: u64) -> bool {
    let validity = identity.validity();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let ends_soon = validity.until.saturating_sub(now) < RENEW_BEFORE_SECONDS;
    !ends_soon && validity.from <= now && hosts.iter().all(|host| identity.is_valid_for(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn the_certificate_is_renewed_a_month_before_it_expires() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::acquire(place.path()).unwrap();
        let config = Config::default();
        let load_or_create = |now| load_or_create(&config, &dir, now).unwrap();
        let first = load_or_create(NOW);
        assert!(first.is_valid_for("localhost") && first.is_valid_for("127.0.0.1"));
        assert_eq!(load_or_create(NOW + 366 * DAY), first);
        let second = load_or_create(NOW + 368 * DAY);
        assert_ne!(second, first);
        assert_eq!(load_or_create(NOW + 369 * DAY), second);
        // The clock was wrong and has been corrected.
        assert_ne!(load_or_create(NOW), second);
    }

    #[test]
    fn a_new_host_name_or_a_damaged_file_causes_a_new_certificate() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::acquire(place.path()).unwrap();
        let mut config = Config::default();
        let first = load_or_create(&config, &dir, NOW).unwrap();
        config.server.public_url = Some("https://talk.example.org".to_owned());
        let second = load_or_create(&config, &dir, NOW).unwrap();
        assert!(second.is_valid_for("talk.example.org"));
        assert_ne!(second, first);
        dir.write_file(FILE_NAME, &Secret::new("nonsense")).unwrap();
        let third = load_or_create(&config, &dir, NOW).unwrap();
        assert_ne!(third, second);
        assert_eq!(load_or_create(&config, &dir, NOW).unwrap(), third);
    }
}

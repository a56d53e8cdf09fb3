//! The URL of a PostgreSQL server: `postgres://user@host/database?sslmode=verify-full`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use tokio_postgres::config::Host;

use crate::secret::Secret;

/// The URL of a PostgreSQL server. It prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    /// Without the parameters that parlor reads itself.
    url: Secret,
    ssl_mode: Option<SslMode>,
    shown: String,
}

/// Encryption and verification of the server, in PostgreSQL's words (`sslmode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS with any certificate.
    Require,
    /// TLS with a certificate of a trusted authority, for any name.
    VerifyCa,
    /// TLS with a certificate of a trusted authority for this host.
    VerifyFull,
}

impl StoreUrl {
    /// Returns the settings of the client, with the password of the URL.
    ///
    /// # Errors
    /// The sentence says what is wrong with the URL, and does not repeat it.
    pub fn client_config(&self) -> Result<tokio_postgres::Config, String> {
        let parsed = self.url.expose().parse::<tokio_postgres::Config>();
        let config = parsed.map_err(|error| match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("names no host".to_owned());
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err("names no database".to_owned());
        }
        Ok(config)
    }

    pub fn has_password(&self) -> bool {
        self.client_config()
            .is_ok_and(|config| config.get_password().is_some())
    }

    /// Returns the mode of the URL, or the default: `verify-full`, and no TLS on a Unix socket or a loopback
    /// address.
    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode.unwrap_or(if self.is_local() {
            SslMode::Disable
        } else {
            SslMode::VerifyFull
        })
    }

    /// Whether every host is a Unix socket, `localhost` or a loopback address, and so is every `hostaddr`.
    pub fn is_local(&self) -> bool {
        self.client_config().is_ok_and(|config| {
            let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
            hosts.iter().all(is_local) && addresses.iter().all(IpAddr::is_loopback)
        })
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.parse::<IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreUrl, String> {
        const FORM: &str = "is not a URL such as postgres://user@host/database";
        let Some((scheme @ ("postgres" | "postgresql"), rest)) = text.split_once("://") else {
            return Err(FORM.to_owned());
        };
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let (user, hosts) = match authority.split_once('@') {
            Some((login, hosts)) => (login.split(':').next(), hosts),
            None => (None, authority),
        };
        // It would be unclear where the password ends: the client's parser takes it up to the first `@`.
        if [hosts, path, query].iter().any(|part| part.contains('@')) {
            return Err(
                "has a `@` in the wrong place: in a password, write %40 for it, %2F for `/` \
                        and %3F for `?`"
                    .to_owned(),
            );
        }
        let mut ssl_mode = None;
        let mut kept = Vec::new();
        let mut shown = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => {
                    ssl_mode = Some(mode.parse()?);
                    shown.push(parameter);
                }
                // The client's parser decodes names, so that one may hide `password`.
                Some((name, _)) if name.contains('%') => {
                    return Err("has a parameter with a `%` in its name".to_owned());
                }
                Some(("sslrootcert", _)) => {
                    return Err("has sslrootcert: set store.ca_file instead".to_owned());
                }
                Some(("password", _)) => kept.push(parameter),
                _ => {
                    kept.push(parameter);
                    shown.push(parameter);
                }
            }
        }
        let user = user.map_or(String::new(), |user| format!("{user}@"));
        let url = StoreUrl {
            url: Secret::new(format!("{scheme}://{address}{}", query_of(&kept))),
            ssl_mode,
            shown: format!("{scheme}://{user}{hosts}/{path}{}", query_of(&shown)),
        };
        url.client_config()?;
        Ok(url)
    }
}

/// The end of a URL with these parameters.
fn query_of(parameters: &[&str]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    format!("?{}", parameters.join("&"))
}

impl FromStr for SslMode {
    type Err = String;

    fn from_str(text: &str) -> Result<SslMode, String> {
        match text {
            "disable" => Ok(SslMode::Disable),
            "require" => Ok(SslMode::Require),
            "verify-ca" => Ok(SslMode::VerifyCa),
            "verify-full" => Ok(SslMode::VerifyFull),
            _ => Err(
                "has an unknown sslmode: use disable, require, verify-ca or verify-full".to_owned(),
            ),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StoreUrl, D::Error> {
        // A secret, because its error does not repeat the text.
        let text = Secret::deserialize(deserializer)?;
        text.expose().parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_prints_without_its_password() {
        for (text, shown) in [
            ("postgres://u:p%40ss%3Aw@db/x", "postgres://u@db/x"),
            (
                "postgresql://u@a,b:5433/x?password=p&application_name=n",
                "postgresql://u@a,b:5433/x?application_name=n",
            ),
            (
                "postgres://%2Frun%2Fpostgresql/x?user=u&sslmode=require",
                "postgres://%2Frun%2Fpostgresql/x?user=u&sslmode=require",
            ),
        ] {
            assert_eq!(url(text).to_string(), shown, "{text}");
            assert_eq!(format!("{:?}", url(text)), shown, "{text}");
        }
        let config = url("postgres://u:secret@db/x").client_config().unwrap();
        assert_eq!(config.get_password(), Some(&b"secret"[..]));
    }

    #[test]
    fn the_mode_is_verify_full_except_on_this_host() {
        for (text, mode) in [
            ("postgres://u@db/x", SslMode::VerifyFull),
            ("postgres://u@192.0.2.1/x", SslMode::VerifyFull),
            ("postgres://u@localhost,db/x", SslMode::VerifyFull),
            ("postgres://u@localhost/x", SslMode::Disable),
            ("postgres://u@127.0.0.1:5433/x", SslMode::Disable),
            ("postgres://u@%2Frun%2Fpostgresql/x", SslMode::Disable),
            (
                "postgres://u@localhost/x?sslmode=verify-ca",
                SslMode::VerifyCa,
            ),
            ("postgres://u@db/x?sslmode=require", SslMode::Require),
            (
                "postgres:///x?hostaddr=203.0.113.5&user=u",
                SslMode::VerifyFull,
            ),
            (
                "postgres://u@localhost/x?hostaddr=203.0.113.5",
                SslMode::VerifyFull,
            ),
            (
                "postgres://u@localhost/x?hostaddr=127.0.0.1",
                SslMode::Disable,
            ),
            ("postgres:///x?hostaddr=::1&user=u", SslMode::Disable),
        ] {
            assert_eq!(url(text).ssl_mode(), mode, "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_rejected_without_its_password() {
        for text in [
            "mysql://u:hunter2@db/x",
            "postgres://u:hunter2@db/x?sslmode=prefer",
            "postgres://u:hunter2@db/x?sslrootcert=/ca.pem",
            "postgres://u:hunter2@db/x?nonsense=1",
            "postgres://u:hunter2@db:port/x",
            "postgres://u:hunter2@db",
            "postgres://u:hunter2/w@db/x",
            "postgres://u:w/hunter2@db/x",
            "postgres://u:hunter2?w@db/x",
            "postgres://u:w?hunter2@db/x",
            "postgres://u:w@hunter2@db/x",
            "postgres://u:w@hunter2/v@db/x",
            "postgres://u@db/x?%70assword=hunter2",
            "host=db password=hunter2",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}

//! The URL of a Redis server: `rediss://user@host:port/database`, or `redis+sentinel://host,host/service`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use redis::{ConnectionAddr, IntoConnectionInfo};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::secret::Secret;
use crate::url::Sentinels;

/// The URL of a Redis server. It prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    url: Secret,
    shown: String,
    kind: Kind,
    has_password: bool,
}

/// The way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tls,
    /// TCP to a loopback address, or a Unix socket.
    Local,
    /// TCP without TLS to another host.
    Plain,
}

impl RedisUrl {
    /// Returns the URL with its password, if it has one.
    pub fn expose(&self) -> &str {
        self.url.expose()
    }

    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// Whether others can read the connection: it leaves the host, and has no TLS.
    pub fn is_exposed(&self) -> bool {
        self.kind == Kind::Plain
    }

    /// Whether the connection uses TLS.
    pub fn has_tls(&self) -> bool {
        self.kind == Kind::Tls
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<RedisUrl, String> {
        const FORM: &str = "is not a URL such as rediss://user@host:6379";
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(FORM.to_owned());
        };
        match scheme {
            "redis" | "rediss" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" => {}
            _ => return Err(FORM.to_owned()),
        }
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        // It would be unclear where the password ends.
        if [login, path, query].iter().any(|part| part.contains('@')) || rest.contains('#') {
            return Err(
                "has a `@` or a `#` in the wrong place: in a password, write %40 for `@`, %23 for \
                 `#`, %2F for `/` and %3F for `?`"
                    .to_owned(),
            );
        }
        let sentinels = Sentinels::parse(text).transpose();
        let sentinels = sentinels.map_err(|error| error.to_string())?;
        // The crate parses `rediss` only with a TLS stack of its own.
        let plain = match &sentinels {
            Some(sentinels) => sentinels.login.clone(),
            None => text.replacen("rediss://", "redis://", 1),
        };
        let info = plain.as_str().into_connection_info().map_err(|error| {
            // The text of an error may repeat the URL.
            let kind = error.category().to_owned();
            format!("cannot be used ({kind}): it is not a URL such as rediss://user@host:6379/0")
        })?;
        let kind = match info.addr() {
            _ if sentinels.as_ref().is_some_and(|known| known.has_tls) => Kind::Tls,
            _ if sentinels.as_ref().is_some_and(|known| !known.is_local) => Kind::Plain,
            ConnectionAddr::Tcp(_, _) if scheme == "rediss" => Kind::Tls,
            ConnectionAddr::Tcp(host, _) if is_loopback(host) => Kind::Local,
            ConnectionAddr::Tcp(_, _) => Kind::Plain,
            ConnectionAddr::Unix(_) => Kind::Local,
            _ => return Err(FORM.to_owned()),
        };
        let user = login.split(':').next().filter(|user| !user.is_empty());
        let user = user.map_or(String::new(), |user| format!("{user}@"));
        let path = address
            .split_once('/')
            .map_or(String::new(), |(_, path)| format!("/{path}"));
        let parameters = query.split('&').filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            ["db", "user", "protocol"].contains(&name)
        });
        let parameters = parameters.collect::<Vec<_>>().join("&");
        let query = match parameters.as_str() {
            "" => String::new(),
            some => format!("?{some}"),
        };
        Ok(RedisUrl {
            url: Secret::new(text),
            shown: format!("{scheme}://{user}{hosts}{path}{query}"),
            kind,
            has_password: info.redis_settings().password().is_some(),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RedisUrl, D::Error> {
        // A secret, because its error does not repeat the text.
        let text = Secret::deserialize(deserializer)?;
        text.expose().parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_prints_without_its_password() {
        for (text, shown) in [
            ("rediss://redis.example.org", "rediss://redis.example.org"),
            (
                "rediss://parlor:hunter2@db:6380/1",
                "rediss://parlor@db:6380/1",
            ),
            ("redis://:hunter2@[::1]:6380", "redis://[::1]:6380"),
            (
                "redis+sentinel://parlor:hunter2@a:26380,b/main?db=1",
                "redis+sentinel://parlor@a:26380,b/main?db=1",
            ),
            (
                "redis+unix:///run/redis.sock?db=2&pass=hunter2&user=parlor",
                "redis+unix:///run/redis.sock?db=2&user=parlor",
            ),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
            assert_eq!(url.has_password(), text.contains("hunter2"));
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn only_a_connection_to_another_host_without_tls_is_exposed() {
        for (text, exposed) in [
            ("rediss://db", false),
            ("redis://localhost:6380", false),
            ("redis://127.0.0.1", false),
            ("redis://[::1]", false),
            ("redis+unix:///run/redis.sock", false),
            ("redis://db", true),
            ("redis+sentinel://localhost,127.0.0.1/main", false),
            ("redis+sentinel://localhost,db/main", true),
            ("rediss+sentinel://localhost,db/main", false),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.is_exposed(), exposed, "{text}");
        }
    }

    #[test]
    fn the_error_of_a_url_does_not_repeat_it() {
        for text in [
            "redis.example.org",
            "http://u:hunter2@db",
            "redis+sentinel://:hunter2@db",
            "redis+sentinel://db/main?password=hunter2",
            "redis://u:hunter2@db:port",
            "redis://u:hunter2@w@db",
            "redis://u:hunter2@db/@",
            "redis://u:hunter2#@db",
            "redis://u:hunter2@db/hunter2",
            "redis://",
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}

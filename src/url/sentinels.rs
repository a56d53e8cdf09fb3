//! The URL of a Redis server that Redis Sentinel names.

use std::fmt;

use super::authority::Authority;

/// The scheme without and with TLS.
const SCHEMES: [(&str, bool); 2] = [("redis+sentinel", false), ("rediss+sentinel", true)];
const SENTINEL_PORT: u16 = 26379;

/// `redis+sentinel://user:password@host:26379,host/service?db=1`, or `rediss+sentinel://` with TLS to the sentinels
/// and the servers.
/// It prints without its login.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Host and port of each, at least one.
    pub sentinels: Vec<(String, u16)>,
    /// The name of the master.
    pub service: String,
    pub has_tls: bool,
    /// A `redis://` URL with the login and the database; its host is the first sentinel.
    pub login: String,
    /// Whether all sentinels are on this host.
    pub is_local: bool,
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.sentinels, self.service)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a URL such as redis+sentinel://host:26379,host/service")]
pub struct SentinelsError;

impl Sentinels {
    /// Parses a URL; `None` if it has another scheme.
    ///
    /// # Errors
    /// The URL has no host, no service, or an invalid one.
    pub fn parse(url: &str) -> Option<Result<Sentinels, SentinelsError>> {
        let (scheme, rest) = url.split_once("://")?;
        let (_, has_tls) = SCHEMES.iter().find(|(known, _)| *known == scheme)?;
        Some(Sentinels::parse_rest(rest, *has_tls).ok_or(SentinelsError))
    }

    fn parse_rest(rest: &str, has_tls: bool) -> Option<Sentinels> {
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, service) = address.split_once('/')?;
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let parse = |text| Authority::parse(text).ok();
        let hosts: Vec<Authority> = hosts.split(',').map(parse).collect::<Option<_>>()?;
        let database = match query.split_once('=') {
            None if query.is_empty() => 0,
            Some(("db", number)) => number.parse::<u32>().ok()?,
            _ => return None,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if service.is_empty() || !service.chars().all(is_plain) {
            return None;
        }
        Some(Sentinels {
            login: format!("redis://{login}{}/{database}", hosts.first()?),
            is_local: hosts.iter().all(|host| host.host().is_loopback()),
            sentinels: hosts
                .iter()
                .map(|one| {
                    let host = one.host().unbracketed();
                    (host, one.port().unwrap_or(SENTINEL_PORT))
                })
                .collect(),
            service: service.to_owned(),
            has_tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Option<Sentinels> {
        Sentinels::parse(url).unwrap().ok()
    }

    #[test]
    fn a_url_names_sentinels_and_a_service() {
        let url = "rediss+sentinel://parlor:pa%40ss@one,two:5000,[::1]:7/main-1?db=3";
        let expected = Sentinels {
            sentinels: [("one", 26379), ("two", 5000), ("::1", 7)]
                .map(|(host, port)| (host.to_owned(), port))
                .to_vec(),
            service: "main-1".to_owned(),
            has_tls: true,
            login: "redis://parlor:pa%40ss@one/3".to_owned(),
            is_local: false,
        };
        assert_eq!(parse(url), Some(expected));
        let shown = format!("{:?}", parse(url).unwrap());
        assert!(!shown.contains("pa%40ss"), "{shown}");
        let local = parse("redis+sentinel://localhost,127.0.0.1/main").unwrap();
        assert!(local.is_local && !local.has_tls);
        assert_eq!(local.login, "redis://localhost/0");
    }

    #[test]
    fn a_url_without_a_host_or_a_service_is_an_error() {
        for rest in [
            "",
            "/main",
            "one",
            "one/",
            "one,/main",
            "one:0/main",
            "one/main/1",
            "one/main?db=x",
            "one/main?password=x",
            "one/ma in",
        ] {
            assert!(
                parse(&format!("redis+sentinel://{rest}")).is_none(),
                "{rest}"
            );
        }
        assert!(Sentinels::parse("redis://one/0").is_none());
        assert!(Sentinels::parse("one/main").is_none());
    }
}

//! Makes a configuration of the merged layers: reads the files it names, checks it, and gives each
//! diagnostic the source of its value.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::layers::MergedLayers;
use super::settings::Config;
use super::value_source::{Diagnostic, ValueSource, ValueSources, Violation};
use super::{acme, check, jwt_keys, public_url, secrets, tls, warnings};
use crate::url::{IceUrl, OriginPattern, WebOrigin, to_ascii};

/// The checked configuration with its diagnostics.
pub(super) struct Validated {
    pub config: Config,
    pub value_sources: ValueSources,
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

/// Checks the merged values. A violation that may follow from an unreadable value is omitted.
pub(super) fn validate(layers: MergedLayers, environment: &[(OsString, OsString)]) -> Validated {
    let MergedLayers {
        tree,
        mut value_sources,
        unreadable: mut unreliable,
        suspected,
        aliases,
        mut errors,
    } = layers;
    let (twice, mut warnings) = aliases.report();
    errors.extend(twice);
    let unset = |key: &String| !value_sources.contains_key(key);
    unreliable.extend(suspected.into_iter().filter(unset));
    let mut config = serde_json::from_value(tree).unwrap_or_else(|error| {
        errors.push(Diagnostic::new(ValueSource::BuiltIn, "", error.to_string()));
        Config::default()
    });
    normalise(&mut config);
    let unreadable = secrets::read(&mut config, environment, &mut value_sources);
    let behind = unreadable
        .iter()
        .flat_map(|violation| violation.with.iter().copied());
    let behind: Vec<_> = behind.map(str::to_owned).collect();
    errors.extend(report(unreadable, &unreliable, &value_sources));
    // A secret in an unreadable file is unknown, not unset.
    unreliable.extend(behind);
    for violations in [
        check::check(&config),
        acme::check(&config),
        jwt_keys::load_public_keys(&mut config.auth),
        tls::load_identity(&mut config.tls),
    ] {
        errors.extend(report(violations, &unreliable, &value_sources));
    }
    let risky = warnings::check(&config, &value_sources);
    warnings.extend(report(risky, &unreliable, &value_sources));
    Validated {
        config,
        value_sources,
        errors,
        warnings,
    }
}

/// Turns violations into diagnostics with their sources. Omits those that may follow from an unreadable value.
fn report(
    violations: Vec<Violation>,
    unreliable: &BTreeSet<String>,
    value_sources: &ValueSources,
) -> Vec<Diagnostic> {
    let sure = |violation: &Violation| violation.keys().all(|key| !unreliable.contains(key));
    let messages = violations.into_iter().filter(sure).map(|violation| {
        let source = value_sources
            .get(violation.key)
            .cloned()
            .unwrap_or(ValueSource::BuiltIn);
        Diagnostic::new(source, violation.key, violation.text)
    });
    messages.collect()
}

/// Writes URLs and origins in their normal form, so that they can be compared as text, and names in their
/// DNS form. An invalid value stays: the check reports it.
fn normalise(config: &mut Config) {
    let ice = &mut config.ice;
    for url in ice.stun_urls.iter_mut().chain(&mut ice.turn_urls) {
        if let Ok(normal) = IceUrl::parse(url) {
            *url = normal.to_string();
        }
    }
    let hosts = config.turn.public_host.iter_mut();
    for host in hosts.chain(&mut config.tls.domains) {
        *host = to_ascii(host).into_owned();
    }
    if let Some(text) = &mut config.server.public_url
        && let Ok(url) = public_url::parse(text)
    {
        *text = url.to_string();
    }
    for text in &mut config.http.allowed_origins {
        if let Ok(pattern) = OriginPattern::parse(text) {
            *text = pattern.to_string();
        }
    }
    for text in &mut config.http.frame_ancestors {
        if let Ok(origin) = WebOrigin::parse(text) {
            *text = origin.to_string();
        }
    }
}

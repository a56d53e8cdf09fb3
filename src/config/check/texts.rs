//! Texts, paths and secrets.

use super::violations::Violations;
use crate::config::Config;
use crate::config::acme::ca_file_error;
use crate::public_key::is_public;

/// The minimum length of `auth.secret`. A shorter secret can be guessed.
const MIN_AUTH_SECRET_BYTES: usize = 32;

pub(super) fn names_and_paths(config: &Config, violations: &mut Violations) {
    for (key, text) in [
        ("server.public_url", &config.server.public_url),
        ("auth.issuer", &config.auth.issuer),
        ("auth.audience", &config.auth.audience),
        ("ice.turn_username", &config.ice.turn_username),
        ("turn.public_host", &config.turn.public_host),
    ] {
        let sound = text.as_ref().is_none_or(|text| !text.trim().is_empty());
        violations.require(sound, key, "must not be empty: leave the key out instead");
    }
    let socket = config.admin.socket.as_ref();
    violations.require(
        socket.is_none_or(|path| path.is_absolute()),
        "admin.socket",
        "must be a path that begins with /: leave the key out for the default",
    );
    let path = config.server.data_dir.as_ref();
    violations.require(
        path.is_none_or(|path| !path.as_os_str().is_empty()),
        "server.data_dir",
        "must not be empty: leave the key out for the default",
    );
    for (key, ca_file) in [
        ("auth.jwks_ca_file", &config.auth.jwks_ca_file),
        ("store.ca_file", &config.store.ca_file),
        ("cluster.redis_ca_file", &config.cluster.redis_ca_file),
    ] {
        if let Some(error) = ca_file.as_deref().and_then(ca_file_error) {
            violations.require(false, key, error);
        }
    }
    let realm = &config.turn.realm;
    let plain = realm
        .chars()
        .all(|c| !c.is_control() && c != '"' && c != '\\');
    violations.require(
        (1..128).contains(&realm.chars().count()) && plain,
        "turn.realm",
        "must have 1 to 127 characters, none of them a quote or a control character",
    );
}

pub(super) fn secrets(config: &Config, violations: &mut Violations) {
    for (key, password) in [
        ("store.password", &config.store.password),
        ("cluster.redis_password", &config.cluster.redis_password),
    ] {
        let password = password.as_ref();
        violations.require(
            password.is_none_or(|password| !password.expose().trim().is_empty()),
            key,
            "must not be blank: leave the key out instead",
        );
    }
    let newest = config
        .auth
        .secret
        .iter()
        .map(|secret| ("auth.secret", secret));
    let older = config.auth.previous_secrets.iter();
    for (key, secret) in newest.chain(older.map(|secret| ("auth.previous_secrets", secret))) {
        violations.require(
            !is_public(secret.expose()),
            key,
            "is a public key, which is not secret: \
             name its file in auth.public_key_file or auth.jwks_file",
        );
        let bytes = secret.expose().len();
        violations.require(
            bytes >= MIN_AUTH_SECRET_BYTES,
            key,
            format!(
                "must have at least {MIN_AUTH_SECRET_BYTES} bytes, not {bytes}: \
                 `openssl rand -hex 32` makes a good one"
            ),
        );
    }
    let newest = config
        .turn
        .secret
        .iter()
        .map(|secret| ("turn.secret", secret));
    let older = config.turn.previous_secrets.iter();
    for (key, secret) in newest.chain(older.map(|secret| ("turn.previous_secrets", secret))) {
        let sound = !secret.expose().is_empty();
        violations.require(sound, key, "must not be empty: leave the key out instead");
    }
}

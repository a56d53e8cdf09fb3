//! The path of the data directory: from the configuration, systemd or the user's home.

use std::env;
use std::path::{Path, PathBuf};

use super::error::DataDirError;
use crate::config;

/// Returns the directory that the configuration or the environment names.
///
/// # Errors
/// [`DataDirError::NoHome`] if neither names one.
pub fn resolve(server: &config::Server) -> Result<PathBuf, DataDirError> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = || {
        let user = || nix::unistd::User::from_uid(nix::unistd::geteuid());
        variable("HOME")
            .map(PathBuf::from)
            .or_else(|| Some(user().ok()??.dir))
    };
    select(
        server.data_dir.as_deref(),
        variable("STATE_DIRECTORY").map(PathBuf::from),
        variable("XDG_DATA_HOME").map(PathBuf::from),
        home,
    )
    .ok_or(DataDirError::NoHome)
}

/// Returns the directory that the configuration or systemd names, if any.
pub fn configured(server: &config::Server) -> Option<PathBuf> {
    let state = env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
    select(
        server.data_dir.as_deref(),
        state.map(PathBuf::from),
        None,
        || None,
    )
}

fn select(
    configured: Option<&Path>,
    state: Option<PathBuf>,
    xdg: Option<PathBuf>,
    home: impl FnOnce() -> Option<PathBuf>,
) -> Option<PathBuf> {
    if let Some(path) = configured {
        return Some(path.to_owned());
    }
    if let Some(paths) = state {
        // systemd separates several directories by colons.
        return env::split_paths(&paths).next();
    }
    if let Some(data) = xdg.filter(|data| data.is_absolute()) {
        return Some(data.join("parlor"));
    }
    Some(home()?.join(".local/share/parlor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_directory_precedes_systemd_xdg_and_home() {
        let configured = Some(Path::new("/conf"));
        let state = || Some(PathBuf::from("/state:/other"));
        let xdg = || Some(PathBuf::from("/xdg"));
        let home = || Some(PathBuf::from("/home/me"));
        let chosen = [
            select(configured, state(), xdg(), home),
            select(None, state(), xdg(), home),
            select(None, None, xdg(), home),
            select(None, None, Some("relative".into()), home),
            select(None, None, None, || None),
        ];
        let chosen = chosen.map(|path| path.map(|path| path.display().to_string()));
        let chosen = chosen
            .each_ref()
            .map(|path| path.as_deref().unwrap_or("nowhere"));
        let default = "/home/me/.local/share/parlor";
        assert_eq!(
            chosen,
            ["/conf", "/state", "/xdg/parlor", default, "nowhere"]
        );
    }
}

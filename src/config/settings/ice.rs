//! `[ice]`

use std::path::PathBuf;

use super::macros::settings;
use crate::secret::Secret;

settings! {
    /// Extra ICE servers for clients, in addition to parlor's own.
    ///
    /// parlor offers at most four URLs of its own: `stun:`, `turn:` over UDP and over TCP, and one `turns:`.
    /// The port is 3478 if parlor listens on it, else the first of `turn.listen`; `turns:` uses 443 if parlor
    /// serves TLS there. Five or more URLs delay the start of every call; `parlor check` warns of them.
    pub struct Ice in ice {
        /// STUN servers, such as `["stun:stun.example.org:3478"]`.
        ///
        /// The first one also answers `turn.external_ip = "auto"`.
        stun_urls: Vec<String> = Vec::new(), Live;

        /// TURN servers, such as `["turn:turn.example.org:3478?transport=udp"]`, all with the same name and
        /// password, which are required.
        turn_urls: Vec<String> = Vec::new(), Live;

        /// The name for `ice.turn_urls`.
        turn_username: Option<String> = None, Live, example "name";

        /// The password for `ice.turn_urls`.
        turn_password: Option<Secret> = None, Live, example "password";

        /// A file with `ice.turn_password` alone, instead of that key.
        /// (systemd: `LoadCredential=ice.turn_password:FILE` needs no setting.)
        turn_password_file: Option<PathBuf> = None, Live, example "/etc/parlor/ice.turn_password";
    }
}

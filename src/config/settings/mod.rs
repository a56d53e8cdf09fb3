//! Every setting: its key, type, default, reload scope and text, each written once.
//!
//! `config.toml` and the tables of `docs/reference/configuration.md` are generated from these files by
//! `UPDATE=1 cargo test --test cli settings_documents`.

mod admin;
mod auth;
mod cluster;
mod http;
mod ice;
mod log;
mod macros;
mod rooms;
mod section;
mod server;
mod signaling;
mod store;
mod tls;
mod turn;

pub use admin::Admin;
pub use auth::{Algorithm, Auth};
pub use cluster::Cluster;
pub use http::Http;
pub use ice::Ice;
pub use log::{Log, LogFormat, LogLevel};
pub use rooms::{RoomCreators, Rooms};
pub use section::{ReloadScope, Section, Setting};
pub use server::Server;
pub use signaling::Signaling;
pub use store::Store;
pub use tls::{Tls, TlsMode};
pub use turn::{QualityMode, RelayMode, RelayScope, TrafficMode, Turn};

macros::sections! {
    /// The effective configuration of one process.
    pub struct Config {
        server: Server,
        store: Store,
        cluster: Cluster,
        http: Http,
        tls: Tls,
        auth: Auth,
        signaling: Signaling,
        rooms: Rooms,
        ice: Ice,
        turn: Turn,
        admin: Admin,
        log: Log,
    }
}

#[cfg(test)]
mod tests {
    use super::SECTIONS;
    use crate::config::Schema;

    #[test]
    fn the_table_has_exactly_the_known_keys() {
        let settings = SECTIONS.iter().flat_map(|section| section.settings);
        let mut listed: Vec<_> = settings.map(|setting| setting.key).collect();
        listed.sort_unstable();
        let schema = Schema::known();
        let known: Vec<_> = schema.iter().map(|(key, _)| key).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn an_unset_key_has_an_example_and_every_other_key_has_none() {
        let schema = Schema::known();
        for setting in SECTIONS.iter().flat_map(|section| section.settings) {
            let is_unset = schema
                .default_of(setting.key)
                .is_some_and(|value| value.is_null());
            assert_eq!(setting.example.is_some(), is_unset, "{}", setting.key);
        }
    }
}

//! Settings: default < file < environment < flags. Every diagnostic names the source of its value.
//!
//! `settings` is the only list of keys. Nothing here reads the environment or the
//! command line behind the caller's back: both come in as [`Sources`].

mod acme;
mod aliases;
mod alternate_port;
mod alternate_server;
mod check;
mod cidr;
pub mod duration;
mod environment;
mod external_ip;
mod file;
mod jwt_keys;
mod layers;
mod load;
mod parse_errors;
mod port_list;
mod public_url;
mod redis_url;
mod reload;
mod schema;
mod secrets;
mod segmentation;
mod settings;
mod sources;
mod store_url;
mod tls;
mod urls;
mod validate;
mod value_source;
mod warnings;

pub use acme::{acme_directory, acme_domains};
pub use aliases::ALIASES;
pub use alternate_port::discovery_pairs;
pub use check::is_node_name;
pub use environment::LEGACY_VARIABLES;
pub use external_ip::{ExternalIp, ExternalIpError, PublicAddress, external_ips};
pub use load::{ConfigErrors, Loaded, load};
pub use redis_url::RedisUrl;
pub use reload::ReloadReport;
pub use schema::Schema;
pub use segmentation::Segmentation;
pub use settings::{
    Admin, Algorithm, Auth, Cluster, Config, Http, Ice, Log, LogFormat, LogLevel, QualityMode,
    RelayMode, RelayScope, ReloadScope, RoomCreators, Rooms, SECTIONS, Section, Server, Setting,
    Signaling, Store, Tls, TlsMode, TrafficMode, Turn,
};
pub use sources::{Flag, SYSTEM_FILE, Sources};
pub use store_url::{SslMode, StoreUrl};
pub use tls::{
    https_listen, own_hosts, plain_listen, read_certificate, tcp_listeners, turn_tls_listen,
};
pub use urls::{
    HTTPS_PORT, advertised_port, advertised_tls, base_url, connectable, ice_host, invite_link,
    public_url,
};
pub use value_source::{Diagnostic, ValueSource, ValueSources, variable};

//! Every setting, its unit and its built-in value: the only list of keys. `config.toml` is this file
//! in TOML; tests hold it, and `docs/reference/configuration.md`, to what is here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Segmentation;
use crate::net::PortRange;
use crate::public_key::{Kind, PublicKey};
use crate::secret::Secret;
use crate::tls::Identity;

/// The effective configuration of one process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub http: Http,
    pub tls: Tls,
    pub auth: Auth,
    pub signaling: Signaling,
    pub rooms: Rooms,
    pub ice: Ice,
    pub turn: Turn,
    pub admin: Admin,
    pub log: Log,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where the database and generated secrets live. Unset: `$STATE_DIRECTORY`, else
    /// `$XDG_DATA_HOME/parlor`, else `~/.local/share/parlor`.
    pub data_dir: Option<PathBuf>,
    /// What users type to get here (`https://talk.example.org`): invite links and the host of ICE URLs.
    pub public_url: Option<String>,
    /// After SIGTERM or SIGINT. Zero: ends at once.
    #[serde(with = "super::duration")]
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Over TLS, where `tls.mode` is not off. TURN over TCP, or TLS, is served there, too.
    pub listen: Vec<SocketAddr>,
    /// Without TLS beside it: sends requests on to it, and answers what authorities ask.
    pub plain_listen: Vec<SocketAddr>,
    /// Origins that may call. Empty: any, without credentials.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are believed.
    #[serde(deserialize_with = "super::cidr::deserialize")]
    pub trusted_proxies: Vec<IpNet>,
    /// A connection from one of them begins with a PROXY header, which names the client.
    pub proxy_protocol: bool,
    /// From accept to the first byte, and again to the end of a request's headers.
    #[serde(with = "super::duration")]
    pub header_timeout: Duration,
    /// For the whole of a request, WebSockets excepted.
    #[serde(with = "super::duration")]
    pub request_timeout: Duration,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// TCP connections at once, WebSockets included.
    pub max_connections: usize,
    /// Connections of one client address (IPv6: one /56), except trusted proxies.
    pub max_connections_per_address: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub mode: TlsMode,
    /// PEM: the server's own certificate, then those that lead to it.
    pub cert_file: Option<PathBuf>,
    /// PEM: the key of the first of them.
    pub key_file: Option<PathBuf>,
    /// Names that a certificate is asked for. Empty: the hosts of `server.public_url` and
    /// `turn.public_host`.
    pub domains: Vec<String>,
    /// Whom it is asked of: `letsencrypt`, `letsencrypt-staging`, or the URL of a directory.
    pub acme_directory: String,
    /// Where the authority may write to.
    pub acme_contact: Option<String>,
    /// PEM: the root of an authority that the system does not know.
    pub acme_ca_file: Option<PathBuf>,
    /// What stands in the two files.
    #[serde(skip)]
    pub identity: Option<Identity>,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// From nowhere: nothing speaks TLS.
    #[default]
    Off,
    /// From files that somebody else renews.
    Files,
    /// Made here and vouched for by nobody.
    SelfSigned,
    /// From an authority that is asked for it (RFC 8555).
    Acme,
}

impl TlsMode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            TlsMode::Off => "off",
            TlsMode::Files => "files",
            TlsMode::SelfSigned => "self-signed",
            TlsMode::Acme => "acme",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Shared secret of the tokens, at least 32 bytes. Unset: generated once into the data directory.
    pub secret: Option<Secret>,
    /// A file that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// Older secrets that still check, but no longer sign.
    pub previous_secrets: Vec<Secret>,
    /// A file that holds them, one on each line.
    pub previous_secrets_file: Option<PathBuf>,
    pub algorithm: Algorithm,
    /// Public keys (PEM) of whoever signs tokens, for an algorithm that takes them.
    pub public_key_file: Option<PathBuf>,
    /// The same as a JWKS; both may be set.
    pub jwks_file: Option<PathBuf>,
    /// What stands in the two files, in order.
    #[serde(skip)]
    pub public_keys: Vec<PublicKey>,
    /// Checked in tokens when set.
    pub issuer: Option<String>,
    /// Checked in tokens when set.
    pub audience: Option<String>,
    /// Life of the tokens that the server issues; `parlor token issue` has `--ttl`.
    #[serde(with = "super::duration")]
    pub token_ttl: Duration,
    /// A valid token whose `sub` is not known yet makes that user.
    pub provision_users: bool,
    /// A `role` of `admin` in somebody else's token makes its bearer one.
    pub trust_roles: bool,
    /// Close plain WebSockets, too, when their token expires.
    pub enforce_expiry: bool,
}

/// Signature algorithms of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// As RFC 7518 and RFC 8037 spell it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// The public keys that it takes; `None` for those that take a shared secret.
    pub fn key_kind(self) -> Option<Kind> {
        match self {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
            Algorithm::ES256 => Some(Kind::P256),
            Algorithm::ES384 => Some(Kind::P384),
            Algorithm::EdDSA => Some(Kind::Ed25519),
            _ => Some(Kind::Rsa),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signaling {
    #[serde(with = "super::duration")]
    pub ping_interval: Duration,
    #[serde(with = "super::duration")]
    pub ping_timeout: Duration,
    /// How long a closed connection may take to read its close frame.
    #[serde(with = "super::duration")]
    pub close_timeout: Duration,
    /// Bytes of one message.
    pub max_message: usize,
    /// Bytes that may wait for one reader; past that it is closed with 4010.
    pub max_queue: usize,
    /// Messages a second, per connection.
    pub rate: u32,
    /// Messages at once, per connection.
    pub burst: u32,
    /// Bytes of messages a second, per connection; 0 = unlimited.
    pub byte_rate: u32,
    /// Burst of message bytes, per connection; 0 = three quarters of `max_queue`.
    pub byte_burst: usize,
}

impl Signaling {
    /// Bytes that one connection may send at once. One message always fits.
    pub fn byte_burst(&self) -> usize {
        match self.byte_burst {
            0 => (self.max_queue / 4 * 3).max(self.max_message),
            burst => burst,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// Who makes rooms over HTTP.
    pub create: RoomCreators,
    /// Messages that a room keeps, the newest; 0 = all.
    pub max_messages: u32,
    /// How long a guest may be away before their seat is free again; 0 = until their time runs out.
    #[serde(with = "super::duration")]
    pub guest_grace_period: Duration,
    /// How long a room rejects a user after a kick.
    #[serde(with = "super::duration")]
    pub kick_cooldown: Duration,
}

/// Who makes rooms over HTTP. The command line always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomCreators {
    Users,
    Admins,
}

/// External servers that are added to the ICE list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ice {
    pub stun_urls: Vec<String>,
    pub turn_urls: Vec<String>,
    pub turn_username: Option<String>,
    pub turn_password: Option<Secret>,
    /// A file that holds the password.
    pub turn_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Each address serves UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// TURN over TLS, and nothing else; empty: port 5349 on the addresses of `listen`. `http.listen`
    /// serves it, too, where `tls.mode` is not off.
    pub tls_listen: Vec<SocketAddr>,
    /// As `http.proxy_protocol`, for streams.
    pub proxy_protocol: bool,
    /// A second port on two addresses of one family, for NAT behaviour discovery; 0 = off.
    pub alternate_port: u16,
    pub mode: RelayMode,
    /// How long a thread may wait, under load, for packets to share a wake-up; 0 = never.
    #[serde(with = "super::duration")]
    pub coalesce_delay: Duration,
    /// Whether runs of equally long datagrams are sent as one message that the kernel segments.
    pub segmentation: Segmentation,
    /// Threads that relay. 0 = one for each core that the process may run on.
    pub shards: u8,
    pub realm: String,
    /// Shared secret of the time-limited credentials. Unset: generated once into the data directory.
    pub secret: Option<Secret>,
    /// A file that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// Older secrets that still check, but no longer mint.
    pub previous_secrets: Vec<Secret>,
    /// A file that holds them, one on each line.
    pub previous_secrets_file: Option<PathBuf>,
    #[serde(with = "super::duration")]
    pub credential_ttl: Duration,
    /// `address`, `public/private`, or `auto` (asked of the first of `ice.stun_urls`).
    pub external_ip: Vec<String>,
    /// The host in ICE URLs. Unset: that of `server.public_url`, else that of the request.
    pub public_host: Option<String>,
    /// `first-last`.
    pub relay_ports: PortRange,
    /// Peers that may be reached although they are denied by default.
    #[serde(deserialize_with = "super::cidr::deserialize")]
    pub allowed_peers: Vec<IpNet>,
    /// Peers that may never be reached; outranks `allowed_peers`.
    #[serde(deserialize_with = "super::cidr::deserialize")]
    pub denied_peers: Vec<IpNet>,
    /// Denied peer ports; our own relayed addresses are exempt.
    #[serde(with = "super::port_list")]
    pub denied_peer_ports: Vec<PortRange>,
    /// Servers that clients are sent to when this one is full, one of a family at most.
    pub alternate_server: Vec<SocketAddr>,
    /// 0 = as many as descriptors allow.
    pub max_allocations: usize,
    pub max_allocations_per_user: u32,
    /// Allocations of one client address (IPv6: one /56). 0 = half of all.
    pub max_allocations_per_address: usize,
    pub max_permissions: usize,
    pub max_channels: usize,
    /// Bits a second in each direction, 0 = unlimited.
    pub bandwidth_per_allocation: u64,
    /// Bits a second in each direction, 0 = unlimited.
    pub bandwidth_per_user: u64,
    /// Bits a second in each direction, 0 = unlimited.
    pub bandwidth_total: u64,
    /// Whether credentials that name no user may allocate.
    pub allow_anonymous: bool,
    /// Answers a second to an address that has proved nothing, 0 = unlimited.
    pub unauthenticated_rate: u32,
    /// TURN streams (TCP and TLS) from one address.
    pub max_streams_per_address: usize,
}

/// What relayed addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayMode {
    /// UDP ports of this host.
    Ports,
    /// Numbers that exist in this process alone: clients reach each other, and nobody else.
    Internal,
}

impl RelayMode {
    /// What clients set as `iceTransportPolicy`.
    pub fn ice_transport_policy(self) -> &'static str {
        match self {
            RelayMode::Ports => "all",
            RelayMode::Internal => "relay",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The Unix socket at which commands reach the daemon. Unset: in `$RUNTIME_DIRECTORY`, else in
    /// the data directory.
    pub socket: Option<PathBuf>,
    /// Where `/metrics` is served.
    pub metrics_listen: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            data_dir: None,
            public_url: None,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: both_families(8000),
            plain_listen: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_body: 64 * 1024,
            max_connections: 12_000,
            max_connections_per_address: 2_000,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            mode: TlsMode::Off,
            cert_file: None,
            key_file: None,
            domains: Vec::new(),
            acme_directory: "letsencrypt".to_owned(),
            acme_contact: None,
            acme_ca_file: None,
            identity: None,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            secret: None,
            secret_file: None,
            previous_secrets: Vec::new(),
            previous_secrets_file: None,
            algorithm: Algorithm::HS256,
            public_key_file: None,
            jwks_file: None,
            public_keys: Vec::new(),
            issuer: None,
            audience: None,
            token_ttl: Duration::from_secs(12 * 3600),
            provision_users: false,
            trust_roles: false,
            enforce_expiry: false,
        }
    }
}

impl Default for Signaling {
    fn default() -> Self {
        Signaling {
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            max_message: 256 * 1024,
            max_queue: 1024 * 1024,
            rate: 100,
            burst: 1000,
            byte_rate: 128 * 1024,
            byte_burst: 0,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms {
            create: RoomCreators::Users,
            max_messages: 10_000,
            guest_grace_period: Duration::from_secs(5 * 60),
            kick_cooldown: Duration::from_secs(30),
        }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Turn {
            listen: both_families(3478),
            tls_listen: Vec::new(),
            proxy_protocol: false,
            alternate_port: 0,
            mode: RelayMode::Ports,
            coalesce_delay: Duration::from_micros(200),
            segmentation: Segmentation::Auto,
            shards: 0,
            realm: "parlor".to_owned(),
            secret: None,
            secret_file: None,
            previous_secrets: Vec::new(),
            previous_secrets_file: None,
            credential_ttl: Duration::from_secs(12 * 3600),
            external_ip: Vec::new(),
            public_host: None,
            relay_ports: PortRange {
                first: 49152,
                last: 65535,
            },
            allowed_peers: Vec::new(),
            denied_peers: Vec::new(),
            denied_peer_ports: Vec::new(),
            alternate_server: Vec::new(),
            max_allocations: 0,
            max_allocations_per_user: 200,
            max_allocations_per_address: 0,
            max_permissions: 64,
            max_channels: 64,
            bandwidth_per_allocation: 8_000_000,
            bandwidth_per_user: 100_000_000,
            bandwidth_total: 0,
            allow_anonymous: true,
            unauthenticated_rate: 50,
            max_streams_per_address: 64,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            socket: None,
            metrics_listen: vec![SocketAddr::from(([127, 0, 0, 1], 9641))],
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            format: LogFormat::Text,
            level: LogLevel::Info,
        }
    }
}

/// `0.0.0.0` and `[::]`: two sockets, so that IPv4 addresses arrive as such.
fn both_families(port: u16) -> Vec<SocketAddr> {
    vec![
        SocketAddr::from(([0, 0, 0, 0], port)),
        SocketAddr::from(([0u16; 8], port)),
    ]
}

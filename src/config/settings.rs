//! Every setting, its unit and its default: the only list of keys. Tests compare `config.toml` and
//! `docs/reference/configuration.md` with this file.

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
    /// The directory of the database and the generated secrets. Unset: `$STATE_DIRECTORY`, else
    /// `$XDG_DATA_HOME/parlor`, else `~/.local/share/parlor`.
    pub data_dir: Option<PathBuf>,
    /// The public URL (`https://talk.example.org`): the base of invite links and the host of ICE URLs.
    pub public_url: Option<String>,
    /// The maximum duration of a drain after SIGTERM or SIGINT. Zero: the process ends at once.
    #[serde(with = "super::duration")]
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Listeners for HTTP, over TLS unless `tls.mode` is off. They also serve TURN over TCP or TLS.
    pub listen: Vec<SocketAddr>,
    /// Plain HTTP listeners beside TLS: they redirect to HTTPS and answer ACME HTTP challenges.
    pub plain_listen: Vec<SocketAddr>,
    /// Origins of pages that may call the API. Empty: any, without credentials.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are trusted.
    #[serde(deserialize_with = "super::cidr::deserialize")]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections from `trusted_proxies` begin with a PROXY header, which names the client.
    pub proxy_protocol: bool,
    /// The timeout from accept to the first byte, and again to the end of a request's headers.
    #[serde(with = "super::duration")]
    pub header_timeout: Duration,
    /// The timeout of a whole request, WebSockets excepted.
    #[serde(with = "super::duration")]
    pub request_timeout: Duration,
    /// The maximum number of bytes in a request's body.
    pub max_body: usize,
    /// The maximum number of open TCP connections, WebSockets included.
    pub max_connections: usize,
    /// The maximum number of connections of one client address (IPv6: one /56), except trusted proxies.
    pub max_connections_per_address: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub mode: TlsMode,
    /// The certificate chain in PEM, the server's own certificate first.
    pub cert_file: Option<PathBuf>,
    /// The private key of the certificate in PEM.
    pub key_file: Option<PathBuf>,
    /// Names in the certificate request. Empty: the hosts of `server.public_url` and
    /// `turn.public_host`.
    pub domains: Vec<String>,
    /// The certificate authority: `letsencrypt`, `letsencrypt-staging`, or the URL of a directory.
    pub acme_directory: String,
    /// The e-mail address of the ACME account.
    pub acme_contact: Option<String>,
    /// The root certificate (PEM) of an authority that the system does not trust.
    pub acme_ca_file: Option<PathBuf>,
    /// The contents of `cert_file` and `key_file`.
    #[serde(skip)]
    pub identity: Option<Identity>,
}

/// The source of the certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No certificate: TLS is off.
    #[default]
    Off,
    /// Files that another program renews.
    Files,
    /// A self-signed certificate that parlor generates.
    SelfSigned,
    /// A certificate authority by ACME (RFC 8555).
    Acme,
}

impl TlsMode {
    /// The name in the configuration.
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
    /// A file with `secret` alone.
    pub secret_file: Option<PathBuf>,
    /// Older secrets. They verify tokens but do not sign.
    pub previous_secrets: Vec<Secret>,
    /// A file with `previous_secrets`, one on each line.
    pub previous_secrets_file: Option<PathBuf>,
    pub algorithm: Algorithm,
    /// Public keys (PEM) of the token issuer, for an asymmetric `algorithm`.
    pub public_key_file: Option<PathBuf>,
    /// Public keys of the token issuer as a JWKS, in addition to `public_key_file`.
    pub jwks_file: Option<PathBuf>,
    /// The keys in `public_key_file` and `jwks_file`, in order.
    #[serde(skip)]
    pub public_keys: Vec<PublicKey>,
    /// The required `iss` of tokens, if set.
    pub issuer: Option<String>,
    /// The required `aud` of tokens, if set.
    pub audience: Option<String>,
    /// The lifetime of tokens that the server issues; `parlor token issue` has `--ttl`.
    #[serde(with = "super::duration")]
    pub token_ttl: Duration,
    /// Whether a valid token with an unknown `sub` creates that user.
    pub provision_users: bool,
    /// Whether `role` `admin` in a token of another issuer makes its bearer an admin.
    pub trust_roles: bool,
    /// Whether the expiry of a token also closes the user's WebSockets.
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
    /// The name in RFC 7518 or RFC 8037.
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

    /// The kind of public key of the algorithm; `None` for a shared secret.
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
    /// The maximum number of bytes in one message.
    pub max_message: usize,
    /// The maximum number of queued bytes for one reader; above it the reader is closed with 4010.
    pub max_queue: usize,
    /// Messages a second, per connection.
    pub rate: u32,
    /// Burst of messages, per connection.
    pub burst: u32,
    /// Bytes of messages a second, per connection; 0 = unlimited.
    pub byte_rate: u32,
    /// Burst of message bytes, per connection; 0 = three quarters of `max_queue`.
    pub byte_burst: usize,
}

impl Signaling {
    /// The effective burst of one connection in bytes. One message always fits.
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
    /// The users who may create rooms over HTTP.
    pub create: RoomCreators,
    /// The number of newest messages that a room keeps; 0 = all.
    pub max_messages: u32,
    /// How long an absent guest stays a member; 0 = until their token expires.
    #[serde(with = "super::duration")]
    pub guest_grace_period: Duration,
    /// How long a room rejects a user after a kick.
    #[serde(with = "super::duration")]
    pub kick_cooldown: Duration,
}

/// The users who may create rooms over HTTP. The command line always may.
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
    /// A file with `turn_password` alone.
    pub turn_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Listeners for STUN and TURN; each serves UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Listeners for TURN over TLS alone; empty: port 5349 on the addresses of `listen`. `http.listen`
    /// serves it too unless `tls.mode` is off.
    pub tls_listen: Vec<SocketAddr>,
    /// Whether TCP connections to TURN from `http.trusted_proxies` begin with a PROXY header.
    pub proxy_protocol: bool,
    /// A second port on two addresses of one family, for NAT behaviour discovery; 0 = off.
    pub alternate_port: u16,
    pub mode: RelayMode,
    /// How long a thread may wait, under load, for packets to share a wake-up; 0 = never.
    #[serde(with = "super::duration")]
    pub coalesce_delay: Duration,
    /// Whether runs of equally long datagrams are sent as one message that the kernel segments.
    pub segmentation: Segmentation,
    /// The number of relay threads; 0 = one for each core that the process may run on.
    pub shards: u8,
    pub realm: String,
    /// Shared secret of the time-limited credentials. Unset: generated once into the data directory.
    pub secret: Option<Secret>,
    /// A file with `secret` alone.
    pub secret_file: Option<PathBuf>,
    /// Older secrets. They verify credentials but create none.
    pub previous_secrets: Vec<Secret>,
    /// A file with `previous_secrets`, one on each line.
    pub previous_secrets_file: Option<PathBuf>,
    #[serde(with = "super::duration")]
    pub credential_ttl: Duration,
    /// The public address: an address, `public/private`, a DNS name, or `auto` (from the first of
    /// `ice.stun_urls`).
    pub external_ip: Vec<String>,
    /// The host in ICE URLs. Unset: that of `server.public_url`, else that of the request.
    pub public_host: Option<String>,
    /// UDP ports of relayed addresses: `first-last`.
    pub relay_ports: PortRange,
    /// Peers that are allowed although they are denied by default.
    #[serde(deserialize_with = "super::cidr::deserialize")]
    pub allowed_peers: Vec<IpNet>,
    /// Peers that are always denied, even if `allowed_peers` has them.
    #[serde(deserialize_with = "super::cidr::deserialize")]
    pub denied_peers: Vec<IpNet>,
    /// Denied peer ports. Relayed addresses of this server are exempt.
    #[serde(with = "super::port_list")]
    pub denied_peer_ports: Vec<PortRange>,
    /// Servers for ALTERNATE-SERVER when this one is full, at most one of each family.
    pub alternate_server: Vec<SocketAddr>,
    /// The maximum number of allocations; 0 = as many as descriptors allow.
    pub max_allocations: usize,
    pub max_allocations_per_user: u32,
    /// The maximum number of allocations of one client address (IPv6: one /56). 0 = half of all.
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
    /// Responses a second to an unauthenticated address; 0 = unlimited.
    pub unauthenticated_rate: u32,
    /// The maximum number of TURN streams (TCP and TLS) from one address.
    pub max_streams_per_address: usize,
}

/// The kind of relayed addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayMode {
    /// UDP ports of this host.
    Ports,
    /// Virtual ports inside this process: clients reach other clients only.
    Internal,
}

impl RelayMode {
    /// The `iceTransportPolicy` for clients.
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
    /// The Unix socket for admin commands. Unset: in `$RUNTIME_DIRECTORY`, else in
    /// the data directory.
    pub socket: Option<PathBuf>,
    /// Listeners for `/metrics`.
    pub metrics_listen: Vec<SocketAddr>,
    /// Whether `/metrics` uses the names and label values of older versions, until 0.3.0.
    pub old_metric_names: bool,
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
            old_metric_names: false,
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

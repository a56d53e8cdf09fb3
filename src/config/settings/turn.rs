//! `[turn]`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::macros::settings;
use crate::config::Segmentation;
use crate::net::{PortRange, both_families};
use crate::secret::Secret;

settings! {
    /// STUN and TURN: listeners, credentials, relayed addresses, peers and limits.
    pub struct Turn in turn {
        /// Addresses and ports for STUN and TURN; each serves UDP and TCP.
        listen: Vec<SocketAddr> = both_families(3478), Restart;

        /// Addresses and ports for TURN over TLS alone, unless `tls.mode` is `"off"`; `http.listen` serves it
        /// in any case. Empty: port 5349 on the addresses of `turn.listen`.
        tls_listen: Vec<SocketAddr> = Vec::new(), Restart;

        /// Whether a TCP connection to TURN from one of `http.trusted_proxies` begins with a PROXY header,
        /// which names the client.
        ///
        /// See [PROXY protocol](../run/ports.md#proxy-protocol).
        proxy_protocol: bool = false, Live;

        /// A second UDP port for NAT behaviour discovery (RFC 5780), such as 3479, if `turn.listen` names two
        /// addresses of one family with the same port. It serves STUN alone. 0 = off.
        ///
        /// Wildcards do not count as addresses. Where there is NAT, two outside addresses are needed as well.
        /// See [Choices](../inside/relay.md#choices).
        alternate_port: u16 = 0, Restart;

        /// The kind of relayed addresses: `"ports"` of this host, which any peer can send to; or `"internal"`,
        /// virtual ports inside parlor. With `"internal"`, clients use the relay alone and reach other clients
        /// only, and TURN needs no open ports but those of `turn.listen`.
        ///
        /// See [One open port for everything](../run/ports.md#internal-mode).
        mode: RelayMode = RelayMode::Ports, Restart;

        /// How long a relay thread may wait, under load, to process several packets in one wake-up.
        /// This saves processor time and adds at most this delay. At most `"1ms"`; 0 = never.
        ///
        /// Without load no thread waits.
        #[serde(with = "crate::config::duration")]
        coalesce_delay: Duration = Duration::from_micros(200), Restart;

        /// Send runs of equally long datagrams as one message that the kernel segments (UDP_SEGMENT): `"auto"`,
        /// `"on"` or `"off"`. Linux 7.0 to 7.1.4 can corrupt such segments: `"auto"` turns segmentation off
        /// there, `"on"` does not.
        ///
        /// Segmentation saves processor time. The corruption happens on some network cards, without an error.
        /// `parlor check` and `parlor status` show the effective value and the reason.
        segmentation: Segmentation = Segmentation::Auto, Restart;

        /// Relay threads, each with its own share of the clients; 0 = one for each core that parlor may run on.
        shards: u8 = 0, Restart;

        /// The realm of STUN authentication. Clients repeat it; users do not see it.
        realm: String = "parlor".to_owned(), Restart;

        /// The secret of the time-limited credentials, shared with other services that create them
        /// (coturn's `static-auth-secret`). Unset: generated once and stored in the data directory.
        ///
        /// The generated one is in the file `turn.secret` with mode 0600. A secret of less than 16 bytes
        /// causes a warning, because a client with a credential can guess it.
        secret: Option<Secret> = None, Live, example "shared with services that create credentials";

        /// A file with `turn.secret` alone, instead of that key.
        /// (systemd: `LoadCredential=turn.secret:FILE` needs no setting.)
        secret_file: Option<PathBuf> = None, Live, example "/etc/parlor/turn.secret";

        /// Older secrets. Credentials created with them are still valid; parlor creates them with `turn.secret`
        /// alone.
        previous_secrets: Vec<Secret> = Vec::new(), Live;

        /// A file with `turn.previous_secrets`, one on each line, instead of that key.
        /// (systemd: `LoadCredential=turn.previous_secrets:FILE` needs no setting.)
        previous_secrets_file: Option<PathBuf> = None, Live,
            example "/etc/parlor/turn.previous_secrets";

        /// How long a credential from the API may open allocations. Open allocations stay open, unless
        /// `turn.end_at_expiry` is set.
        #[serde(with = "crate::config::duration")]
        credential_ttl: Duration = Duration::from_secs(12 * 3600), Live;

        /// The public address of this host, if no interface has it (1:1 NAT, most clouds): `"203.0.113.7"`, or
        /// `"203.0.113.7/10.0.0.5"` (public/private), one for each family. A DNS name in place of the public
        /// address is resolved every minute. `"auto"` queries the first of `ice.stun_urls`, at the start and
        /// every 5 minutes.
        ///
        /// Of pairs there is one for each private address. Of a DNS name parlor takes the IPv4 address, if it
        /// has one. `"auto"` also queries when this host's addresses change. The start waits for the first
        /// answer; later, the last known address stays in force until there is an answer. A new address
        /// applies to new allocations only:
        /// [existing ones keep theirs](../inside/relay.md#addresses-of-this-host).
        external_ip: Vec<String> = Vec::new(), Live;

        /// The host in ICE URLs: a name or an address, without a port. Unset: that of `server.public_url`, else
        /// that of the request.
        public_host: Option<String> = None, Live, example "turn.example.org";

        /// UDP ports for relayed addresses, first and last. Open them in the firewall (`parlor ports` lists
        /// all), unless `turn.mode` is `"internal"`.
        ///
        /// In mode `"internal"` parlor does not open them; they still limit the number of relayed addresses
        /// on an IP.
        relay_ports: PortRange = PortRange { first: 49152, last: 65535 }, Restart;

        /// Networks or addresses that clients may reach through the relay although they are denied by default
        /// (loopback, private, link-local and other special ones), such as `["10.1.0.0/16"]`.
        ///
        /// 6to4 (`2002::/16`) and Teredo (`2001::/32`) stay denied (RFC 8656 section 21.4).
        #[serde(deserialize_with = "crate::config::cidr::deserialize")]
        allowed_peers: Vec<IpNet> = Vec::new(), Live;

        /// Networks or addresses that clients may never reach, even if `turn.allowed_peers` has them.
        #[serde(deserialize_with = "crate::config::cidr::deserialize")]
        denied_peers: Vec<IpNet> = Vec::new(), Live;

        /// Which clients of this relay reach each other through it: `"any"`, or `"room"`, only those with
        /// credentials of the same room. Clients without a room then reach clients without a room.
        ///
        /// Peers outside this relay are not concerned: with `turn.mode = "internal"` there are none, so
        /// `"room"` separates the rooms.
        scope: RelayScope = RelayScope::Any, Live;

        /// Ports of peers that clients may never reach, such as `["25", "135-139"]`. Relayed addresses of this
        /// server are exempt: calls between its clients need them.
        #[serde(with = "crate::config::port_list")]
        denied_peer_ports: Vec<PortRange> = Vec::new(), Live;

        /// Other TURN servers with the same secret, such as `["203.0.113.8:3478"]`, one for each family.
        /// Clients are redirected there (300, ALTERNATE-SERVER) when this server has no allocation or relay
        /// port left.
        ///
        /// Clients of a family without an entry get an error. Browsers follow, except to a loopback address.
        alternate_server: Vec<SocketAddr> = Vec::new(), Live;

        /// The maximum number of allocations; 0 = as many as the limit of open files and `turn.relay_ports`
        /// allow (in mode `"internal"`, the latter alone).
        ///
        /// An allocation with relayed addresses of both families counts as two.
        max_allocations: usize = 0, Live;

        /// The maximum number of allocations of one user. A browser makes one for each peer connection, URL and
        /// network interface.
        ///
        /// An allocation with relayed addresses of both families counts as two.
        max_allocations_per_user: u32 = 200, Live;

        /// The maximum number of allocations of all clients at one address (IPv6: one /56); 0 = half of
        /// `turn.max_allocations`. When few allocations are free, the limit is lower: an address never holds
        /// more than are free.
        ///
        /// So one address alone reaches half of the total, two reach a third each, and a new client still gets
        /// an allocation. The address is that of the PROXY header, if there is one. Raise the limit if all
        /// clients share one address (an office's NAT, a proxy without a PROXY header).
        max_allocations_per_address: usize = 0, Live;

        /// The maximum number of permissions of one allocation.
        max_permissions: usize = 64, Live;

        /// The maximum number of channels of one allocation.
        max_channels: usize = 64, Live;

        /// Bits a second of one allocation, in each direction; 0 = unlimited.
        bandwidth_per_allocation: u64 = 8_000_000, Live;

        /// Bits a second of all allocations of one user, in each direction; 0 = unlimited.
        bandwidth_per_user: u64 = 100_000_000, Live;

        /// Bits a second of all allocations together, in each direction; 0 = unlimited.
        ///
        /// The relay drops and counts packets above the limit (`total bandwidth`).
        bandwidth_total: u64 = 0, Live;

        /// Whether credentials that name no user may open allocations (only an expiry, as Prosody and STUNner
        /// create them). Quotas and bandwidth limits count them by the client's address (IPv6: the /64).
        ///
        /// See [Credentials](../inside/relay.md#credentials).
        allow_anonymous: bool = true, Live;

        /// Whether an allocation ends when its credential expires, for those who sell or lend relay time. A call
        /// that is longer needs a new allocation with a fresh credential, so the default lets calls continue.
        ///
        /// When it is switched on, it holds for an existing allocation from its next refresh on, at most an hour
        /// later.
        end_at_expiry: bool = false, Live;

        /// The data that the relay carries: `"any"`; `"webrtc"`, only what WebRTC sends (STUN, DTLS, RTP and RTCP);
        /// or `"rooms"`, the same for credentials that are bound to a room, and any for others. The rest is
        /// dropped and counted (`traffic`).
        ///
        /// See [What may be relayed](../inside/relay.md#what-may-be-relayed).
        traffic: TrafficMode = TrafficMode::Rooms, Live;

        /// New peers of one user in a minute, and at once. A peer is new if the user has had no permission or
        /// channel for it in the last ten minutes. More get 508 (`new peers`), and Send indications to them are
        /// dropped, which bounds scans of networks and ports. 0 = unlimited.
        ///
        /// A browser needs two for each remote candidate. See [New peers](../inside/relay.md#new-peers).
        new_peers_per_minute: u32 = 600, Live;

        /// Whether the relay measures loss, jitter, round trips and silence of its clients, and notices when the
        /// path of a client dies in the middle of a call: `"on"` or `"off"`. It reads the headers of media
        /// packets, which are not encrypted.
        ///
        /// See [Quality of calls](../run/quality.md).
        quality: QualityMode = QualityMode::On, Live;

        /// Responses a second to an unauthenticated address; the burst is twice that. The limit prevents floods
        /// to forged addresses, and is enough for an office behind one NAT. 0 = unlimited.
        unauthenticated_rate: u32 = 50, Live;

        /// The maximum number of TCP connections to TURN from one address, TLS included.
        max_streams_per_address: usize = 64, Live;
    }
}

/// The data that the relay carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrafficMode {
    Any,
    /// Only what WebRTC sends.
    Webrtc,
    /// Only what WebRTC sends, with a credential that is bound to a room.
    Rooms,
}

/// Whether the relay measures the quality of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QualityMode {
    On,
    Off,
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

/// Which clients of this relay reach each other through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayScope {
    /// All clients.
    Any,
    /// Clients with credentials of the same room, and clients without a room among themselves.
    Room,
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

//! Why a request gets an error response, and why a datagram is dropped.

use serde::{Deserialize, Serialize};

/// Why a request gets an error response. Its text is the `reason` of metrics and log lines.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
pub enum ErrorReason {
    /// The first 401 of every client: part of the protocol, not an error.
    #[error("challenge")]
    Challenge,
    #[error("bad request")]
    BadRequest,
    /// PASSWORD-ALGORITHMS differs from the list that this server sent: an attacker on the path may
    /// have changed it.
    #[error("password algorithms")]
    PasswordAlgorithms,
    #[error("unknown attribute")]
    UnknownAttribute,
    #[error("stale nonce")]
    StaleNonce,
    #[error("unknown realm")]
    UnknownRealm,
    #[error("unknown user")]
    UnknownUser,
    #[error("bad credential")]
    BadCredential,
    /// Both are wrong. Without a valid nonce the source address may be spoofed, so nobody is banned
    /// for it.
    #[error("bad credential and nonce")]
    BadCredentialAndNonce,
    #[error("expired")]
    Expired,
    #[error("revoked")]
    Revoked,
    #[error("wrong credentials")]
    WrongCredentials,
    #[error("allocation mismatch")]
    AllocationMismatch,
    #[error("address family not supported")]
    AddressFamily,
    #[error("unsupported transport")]
    UnsupportedTransport,
    #[error("peer address family mismatch")]
    PeerFamily,
    #[error("peer denied")]
    PeerDenied,
    /// The client has a 6to4 or Teredo address (RFC 8656 section 21.4).
    #[error("client behind a tunnel")]
    TunnelledClient,
    #[error("peer port denied")]
    PeerPortDenied,
    /// The peer is a client of this relay whose credential is bound to another room.
    #[error("peer of another room")]
    OtherRoom,
    #[error("user quota")]
    UserQuota,
    #[error("address quota")]
    AddressQuota,
    #[error("quota of permissions or channels")]
    PeerQuota,
    /// The user has reached too many new peers.
    #[error("new peers")]
    NewPeers,
    #[error("total quota")]
    TotalQuota,
    #[error("no relay port")]
    NoPort,
    #[error("no such reservation")]
    NoReservation,
    #[error("draining")]
    Draining,
    /// The credential names no user, and `turn.allow_anonymous` is off.
    #[error("anonymous not allowed")]
    AnonymousNotAllowed,
    /// Another server relays the room of the credential.
    #[error("room relayed elsewhere")]
    OtherServer,
}

/// Why a datagram is dropped. Its text is the `reason` of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    #[error("not STUN")]
    NotStun,
    #[error("malformed")]
    Malformed,
    #[error("unsupported class")]
    NotForServer,
    #[error("unauthenticated request over the rate")]
    UnauthenticatedRate,
    #[error("request in progress")]
    Pending,
    #[error("no allocation")]
    NoAllocation,
    #[error("no channel")]
    NoChannel,
    #[error("no permission")]
    NoPermission,
    #[error("peer denied")]
    PeerDenied,
    #[error("peer port denied")]
    PeerPortDenied,
    #[error("peer of another room")]
    OtherRoom,
    /// The user has reached too many new peers.
    #[error("new peers")]
    NewPeers,
    #[error("no such relayed address")]
    NoRelay,
    /// `turn.traffic` does not allow this application data.
    #[error("traffic")]
    Traffic,
    #[error("too large for a Data indication")]
    TooLarge,
    #[error("allocation bandwidth")]
    AllocationBandwidth,
    #[error("user bandwidth")]
    UserBandwidth,
    #[error("total bandwidth")]
    TotalBandwidth,
    /// The type of the ICMP error is not one that RFC 8656 reports to clients.
    #[error("not an ICMP error to report")]
    IcmpType,
    #[error("ICMP errors over the rate")]
    IcmpRate,
}

impl ErrorReason {
    /// All variants, in the order of their discriminants.
    pub const ALL: [ErrorReason; 30] = [
        ErrorReason::Challenge,
        ErrorReason::BadRequest,
        ErrorReason::PasswordAlgorithms,
        ErrorReason::UnknownAttribute,
        ErrorReason::StaleNonce,
        ErrorReason::UnknownRealm,
        ErrorReason::UnknownUser,
        ErrorReason::BadCredential,
        ErrorReason::BadCredentialAndNonce,
        ErrorReason::Expired,
        ErrorReason::Revoked,
        ErrorReason::WrongCredentials,
        ErrorReason::AllocationMismatch,
        ErrorReason::AddressFamily,
        ErrorReason::UnsupportedTransport,
        ErrorReason::PeerFamily,
        ErrorReason::PeerDenied,
        ErrorReason::TunnelledClient,
        ErrorReason::PeerPortDenied,
        ErrorReason::OtherRoom,
        ErrorReason::UserQuota,
        ErrorReason::AddressQuota,
        ErrorReason::PeerQuota,
        ErrorReason::NewPeers,
        ErrorReason::TotalQuota,
        ErrorReason::NoPort,
        ErrorReason::NoReservation,
        ErrorReason::Draining,
        ErrorReason::AnonymousNotAllowed,
        ErrorReason::OtherServer,
    ];

    /// Returns the error code and the reason phrase of the response. They say no more than the RFC
    /// requires, so that a client that guesses credentials learns nothing.
    pub(super) fn error_code(self) -> (u16, &'static str) {
        match self {
            ErrorReason::OtherServer => (300, "Try Alternate"),
            ErrorReason::BadRequest | ErrorReason::PasswordAlgorithms => (400, "Bad Request"),
            ErrorReason::Challenge
            | ErrorReason::UnknownRealm
            | ErrorReason::UnknownUser
            | ErrorReason::BadCredential
            | ErrorReason::BadCredentialAndNonce
            | ErrorReason::Expired
            | ErrorReason::Revoked
            | ErrorReason::AnonymousNotAllowed => (401, "Unauthorized"),
            ErrorReason::PeerDenied
            | ErrorReason::PeerPortDenied
            | ErrorReason::OtherRoom
            | ErrorReason::TunnelledClient => (403, "Forbidden"),
            ErrorReason::UnknownAttribute => (420, "Unknown Attribute"),
            ErrorReason::AllocationMismatch => (437, "Allocation Mismatch"),
            ErrorReason::StaleNonce => (438, "Stale Nonce"),
            ErrorReason::AddressFamily => (440, "Address Family not Supported"),
            ErrorReason::WrongCredentials => (441, "Wrong Credentials"),
            ErrorReason::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            ErrorReason::PeerFamily => (443, "Peer Address Family Mismatch"),
            ErrorReason::UserQuota | ErrorReason::AddressQuota | ErrorReason::TotalQuota => {
                (486, "Allocation Quota Reached")
            }
            ErrorReason::PeerQuota
            | ErrorReason::NewPeers
            | ErrorReason::NoPort
            | ErrorReason::NoReservation
            | ErrorReason::Draining => (508, "Insufficient Capacity"),
        }
    }
}

impl DropReason {
    /// All variants, in the order of their discriminants.
    pub const ALL: [DropReason; 20] = [
        DropReason::NotStun,
        DropReason::Malformed,
        DropReason::NotForServer,
        DropReason::UnauthenticatedRate,
        DropReason::Pending,
        DropReason::NoAllocation,
        DropReason::NoChannel,
        DropReason::NoPermission,
        DropReason::PeerDenied,
        DropReason::PeerPortDenied,
        DropReason::OtherRoom,
        DropReason::NewPeers,
        DropReason::NoRelay,
        DropReason::Traffic,
        DropReason::TooLarge,
        DropReason::AllocationBandwidth,
        DropReason::UserBandwidth,
        DropReason::TotalBandwidth,
        DropReason::IcmpType,
        DropReason::IcmpRate,
    ];
}

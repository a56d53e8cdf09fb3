//! Attribute types (RFC 8489 section 18.3, RFC 8656 section 18).

/// The type of an attribute. Types without a constant are valid as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attribute(pub u16);

impl Attribute {
    pub const MAPPED_ADDRESS: Attribute = Attribute(0x0001);
    pub const CHANGE_REQUEST: Attribute = Attribute(0x0003);
    pub const USERNAME: Attribute = Attribute(0x0006);
    pub const MESSAGE_INTEGRITY: Attribute = Attribute(0x0008);
    pub const ERROR_CODE: Attribute = Attribute(0x0009);
    pub const UNKNOWN_ATTRIBUTES: Attribute = Attribute(0x000a);
    pub const CHANNEL_NUMBER: Attribute = Attribute(0x000c);
    pub const LIFETIME: Attribute = Attribute(0x000d);
    pub const XOR_PEER_ADDRESS: Attribute = Attribute(0x0012);
    pub const DATA: Attribute = Attribute(0x0013);
    pub const REALM: Attribute = Attribute(0x0014);
    pub const NONCE: Attribute = Attribute(0x0015);
    pub const XOR_RELAYED_ADDRESS: Attribute = Attribute(0x0016);
    pub const REQUESTED_ADDRESS_FAMILY: Attribute = Attribute(0x0017);
    pub const EVEN_PORT: Attribute = Attribute(0x0018);
    pub const REQUESTED_TRANSPORT: Attribute = Attribute(0x0019);
    pub const DONT_FRAGMENT: Attribute = Attribute(0x001a);
    pub const MESSAGE_INTEGRITY_SHA256: Attribute = Attribute(0x001c);
    pub const PASSWORD_ALGORITHM: Attribute = Attribute(0x001d);
    pub const USERHASH: Attribute = Attribute(0x001e);
    pub const XOR_MAPPED_ADDRESS: Attribute = Attribute(0x0020);
    pub const RESERVATION_TOKEN: Attribute = Attribute(0x0022);
    pub const ADDITIONAL_ADDRESS_FAMILY: Attribute = Attribute(0x8000);
    pub const ADDRESS_ERROR_CODE: Attribute = Attribute(0x8001);
    pub const PASSWORD_ALGORITHMS: Attribute = Attribute(0x8002);
    pub const ICMP: Attribute = Attribute(0x8004);
    pub const ALTERNATE_SERVER: Attribute = Attribute(0x8023);
    pub const FINGERPRINT: Attribute = Attribute(0x8028);
    pub const RESPONSE_ORIGIN: Attribute = Attribute(0x802b);
    pub const OTHER_ADDRESS: Attribute = Attribute(0x802c);

    /// Returns whether a receiver that does not know this attribute must reject the request (RFC
    /// 8489 section 14).
    pub fn comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

//! The header of a STUN message (RFC 8489 section 5).

/// The magic cookie in every STUN header (RFC 8489 section 5).
pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The 96 bits that a response shares with its request.
pub type TransactionId = [u8; 12];

/// The length of a STUN header.
pub const HEADER: usize = 20;

/// The length of an attribute before its value.
pub(super) const ATTRIBUTE_HEADER: usize = 4;

/// The class of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A method. Methods without a constant are valid as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

impl Method {
    pub const BINDING: Method = Method(0x001);
    pub const ALLOCATE: Method = Method(0x003);
    pub const REFRESH: Method = Method(0x004);
    pub const SEND: Method = Method(0x006);
    pub const DATA: Method = Method(0x007);
    pub const CREATE_PERMISSION: Method = Method(0x008);
    pub const CHANNEL_BIND: Method = Method(0x009);

    /// Returns the message type of this method in `class` (RFC 8489 section 5, figure 3).
    pub fn with_class(self, class: Class) -> u16 {
        let class = match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        let m = self.0;
        (m & 0x00f) | ((m & 0x070) << 1) | ((m & 0xf80) << 2) | class
    }
}

/// Splits a message type into class and method.
pub(super) fn split_type(bits: u16) -> (Class, Method) {
    let class = match bits & 0x110 {
        0x000 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    };
    let method = (bits & 0x00f) | ((bits & 0x0e0) >> 1) | ((bits & 0x3e00) >> 2);
    (class, Method(method))
}

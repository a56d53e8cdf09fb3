//! Close codes of WebSockets.

/// A WebSocket close code (RFC 6455 section 7.4) that a client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 4000
    ConnectionError,
    /// 4001
    AuthenticationFailed,
    /// 4003
    NotAParticipant,
    /// 4004
    RoomClosed,
    /// 4005
    Removed,
    /// 4008
    TooManyMessages,
    /// 4009
    Replaced,
    /// 4010
    TooSlow,
    /// 1001
    Stopped,
    /// 1012
    Restarting,
    /// 1002
    ProtocolError,
    /// 1007
    InvalidText,
    /// 1009
    TooLarge,
    /// 1011
    NoPong,
}

impl CloseCode {
    pub const ALL: [CloseCode; 14] = [
        CloseCode::ConnectionError,
        CloseCode::AuthenticationFailed,
        CloseCode::NotAParticipant,
        CloseCode::RoomClosed,
        CloseCode::Removed,
        CloseCode::TooManyMessages,
        CloseCode::Replaced,
        CloseCode::TooSlow,
        CloseCode::Stopped,
        CloseCode::Restarting,
        CloseCode::ProtocolError,
        CloseCode::InvalidText,
        CloseCode::TooLarge,
        CloseCode::NoPong,
    ];

    /// The code with this number; `None` if there is none.
    pub fn from_code(code: u16) -> Option<CloseCode> {
        CloseCode::ALL.into_iter().find(|one| one.code() == code)
    }

    /// The number in the close frame.
    pub fn code(self) -> u16 {
        match self {
            CloseCode::ConnectionError => 4000,
            CloseCode::AuthenticationFailed => 4001,
            CloseCode::NotAParticipant => 4003,
            CloseCode::RoomClosed => 4004,
            CloseCode::Removed => 4005,
            CloseCode::TooManyMessages => 4008,
            CloseCode::Replaced => 4009,
            CloseCode::TooSlow => 4010,
            CloseCode::Stopped => 1001,
            CloseCode::Restarting => 1012,
            CloseCode::ProtocolError => 1002,
            CloseCode::InvalidText => 1007,
            CloseCode::TooLarge => 1009,
            CloseCode::NoPong => 1011,
        }
    }

    /// Whether a session ends with a connection that is closed with this code. Otherwise its client may resume it.
    pub fn ends_session(self) -> bool {
        matches!(
            self,
            CloseCode::AuthenticationFailed
                | CloseCode::NotAParticipant
                | CloseCode::RoomClosed
                | CloseCode::Removed
                | CloseCode::TooManyMessages
                | CloseCode::Replaced
        )
    }

    /// The reason in the close frame, of at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            CloseCode::ConnectionError => "Connection error",
            CloseCode::AuthenticationFailed => "Authentication failed or token expired",
            CloseCode::NotAParticipant => "Not a room participant",
            CloseCode::RoomClosed => "Room closed",
            CloseCode::Removed => "Removed from the room",
            CloseCode::TooManyMessages => "Too many bad or too frequent messages",
            CloseCode::Replaced => "Replaced by a newer connection",
            CloseCode::TooSlow => "Reader too slow",
            CloseCode::Stopped => "Server stopped",
            CloseCode::Restarting => "Server restarting",
            CloseCode::ProtocolError => "Protocol error",
            CloseCode::InvalidText => "Invalid UTF-8",
            CloseCode::TooLarge => "Message too large",
            CloseCode::NoPong => "No pong in time",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_every_reason_fits() {
        let mut codes: Vec<u16> = CloseCode::ALL.iter().map(|c| c.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CloseCode::ALL.len());
        assert!(CloseCode::ALL.iter().all(|c| c.reason().len() <= 123));
    }
}

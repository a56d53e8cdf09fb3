//! ChannelData messages (RFC 8656 section 12.4).

/// Bytes before the application data: channel number and length.
pub const CHANNEL_HEADER: usize = 4;

/// A ChannelData message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData {
    pub number: u16,
    /// Bytes of application data, padding excluded.
    pub len: usize,
}

impl ChannelData {
    /// Reads the header of a datagram; `None` where it is none, or says more than there is.
    ///
    /// Over UDP padding is optional, so bytes past the length are ignored.
    pub fn parse(datagram: &[u8]) -> Option<ChannelData> {
        let (&[a, b, c, d], data) = datagram.split_first_chunk::<4>()?;
        let number = u16::from_be_bytes([a, b]);
        let len = usize::from(u16::from_be_bytes([c, d]));
        let fits = is_channel_number(number) && len <= data.len();
        fits.then_some(ChannelData { number, len })
    }

    /// The header of a message.
    pub fn header(self) -> [u8; CHANNEL_HEADER] {
        let [a, b] = self.number.to_be_bytes();
        let [c, d] = (self.len as u16).to_be_bytes();
        [a, b, c, d]
    }
}

/// Whether a client may bind this number (RFC 8656 section 12).
pub fn is_channel_number(number: u16) -> bool {
    (0x4000..=0x4fff).contains(&number)
}

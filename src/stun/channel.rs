//! ChannelData messages (RFC 8656 section 12.4).

/// The length of the header: channel number and length.
pub const CHANNEL_HEADER: usize = 4;

/// A ChannelData message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData {
    pub number: u16,
    /// The length of the application data without padding.
    pub len: usize,
}

impl ChannelData {
    /// Parses the header of a datagram. Returns `None` if it is no ChannelData message, or if its
    /// length exceeds the datagram.
    ///
    /// Padding is optional over UDP, so bytes after the length are ignored.
    pub fn parse(datagram: &[u8]) -> Option<ChannelData> {
        let (&[a, b, c, d], data) = datagram.split_first_chunk::<4>()?;
        let number = u16::from_be_bytes([a, b]);
        let len = usize::from(u16::from_be_bytes([c, d]));
        let fits = is_channel_number(number) && len <= data.len();
        fits.then_some(ChannelData { number, len })
    }

    /// Returns the header of a message.
    pub fn header(self) -> [u8; CHANNEL_HEADER] {
        let [a, b] = self.number.to_be_bytes();
        let [c, d] = (self.len as u16).to_be_bytes();
        [a, b, c, d]
    }
}

/// Returns whether a client may bind this channel number (RFC 8656 section 12).
pub fn is_channel_number(number: u16) -> bool {
    (0x4000..=0x4fff).contains(&number)
}

//! The clear part of RTP packets: SRTP encrypts payloads, not headers (RFC 3711 section 3.1).

/// Length of an RTP header without contributing sources and extensions.
const HEADER: usize = 12;

/// The header fields of a media packet (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpHeader {
    pub sequence: u16,
    /// In units of the stream's clock.
    pub timestamp: u32,
    pub ssrc: u32,
}

impl RtpHeader {
    /// Reads the header of a media packet. Returns `None` for anything else, RTCP included.
    #[inline]
    pub(super) fn parse(packet: &[u8]) -> Option<RtpHeader> {
        let header: &[u8; HEADER] = packet.first_chunk()?;
        // Version 2. Of the types in the second byte, RTCP has 192 to 223 (RFC 5761 section 4).
        if header[0] >> 6 != 2 || (192..=223).contains(&header[1]) {
            return None;
        }
        let (words, _) = header.as_chunks::<4>();
        let [first, timestamp, ssrc] = [0, 1, 2].map(|index| u32::from_be_bytes(words[index]));
        Some(RtpHeader {
            sequence: first as u16,
            timestamp,
            ssrc,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 13] = [0x90, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0];

    #[test]
    fn the_fields_of_a_header_are_read() {
        let header = RtpHeader::parse(&PACKET).unwrap();
        let (sequence, timestamp, ssrc) = (0x0102, 0x0304_0506, 0x0708_090a);
        let expected = RtpHeader {
            sequence,
            timestamp,
            ssrc,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn a_short_packet_another_version_and_rtcp_have_no_header() {
        assert_eq!(RtpHeader::parse(&PACKET[..11]), None);
        for first in [0, 0x40, 0xc0, 20] {
            let mut packet = PACKET;
            packet[0] = first;
            assert_eq!(RtpHeader::parse(&packet), None, "{first}");
        }
        for (kind, is_media) in [(191, true), (192, false), (223, false), (224, true)] {
            let mut packet = PACKET;
            packet[1] = kind;
            assert_eq!(RtpHeader::parse(&packet).is_some(), is_media, "{kind}");
        }
    }
}

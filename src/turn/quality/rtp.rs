//! The clear part of RTP packets: SRTP encrypts payloads, not headers (RFC 3711 section 3.1).

/// Length of an RTP header without contributing sources and extensions.
pub(super) const HEADER: usize = 12;

/// The bits of [`Order`]: the sequence number, the version, and the two bits of the payload type that
/// tell media from RTCP.
const ORDER: u32 = 0xffff_c060;
const KIND: u32 = 0xffff;
/// The payload types 64 to 95. With the marker bit, such a packet looks like RTCP (RFC 5761 section 4).
const AMBIGUOUS: u32 = 0x40;

/// The header fields of a packet (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpHeader {
    pub order: Order,
    /// In units of the stream's clock.
    pub timestamp: u32,
    pub ssrc: u32,
}

/// The place of a packet in its stream: the parts of the first word of its header by which the packets
/// of a stream in order differ by one. The sequence number is the upper half, so that it wraps around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order(u32);

impl RtpHeader {
    /// Reads the header of a media packet. Returns `None` for anything else, RTCP included.
    #[inline]
    pub(super) fn parse(packet: &[u8]) -> Option<RtpHeader> {
        let header = packet.first_chunk()?;
        // Version 2. Of the types in the second byte, RTCP has 192 to 223 (RFC 5761 section 4).
        let is_media = header[0] >> 6 == 2 && !(192..=223).contains(&header[1]);
        is_media.then(|| RtpHeader::read(header))
    }

    /// Reads the header of any packet.
    #[inline(always)]
    pub(super) fn read(header: &[u8; HEADER]) -> RtpHeader {
        let (words, _) = header.as_chunks::<4>();
        let [first, timestamp, ssrc] = [0, 1, 2].map(|index| u32::from_be_bytes(words[index]));
        RtpHeader {
            order: Order(first.rotate_left(16) & ORDER),
            timestamp,
            ssrc,
        }
    }

    pub(super) fn sequence(&self) -> u16 {
        self.order.sequence()
    }

    /// Returns the place of the packet that follows the one with the sequence number `highest` in the
    /// stream of this media packet. It is that of media packets only: there is none if their payload
    /// types are ambiguous.
    pub(super) fn order_after(&self, highest: u16) -> Order {
        let kind = self.order.0 & KIND;
        let none = u32::from(kind & 0x60 == AMBIGUOUS);
        Order(u32::from(highest) << 16 | kind | none).next()
    }
}

impl Order {
    #[inline(always)]
    pub(super) fn next(self) -> Order {
        Order(self.0.wrapping_add(0x1_0000))
    }

    #[inline(always)]
    pub(super) fn sequence(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 13] = [0x90, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0];

    #[test]
    fn the_fields_of_a_header_are_read() {
        let header = RtpHeader::parse(&PACKET).unwrap();
        assert_eq!(header.sequence(), 0x0102);
        assert_eq!(header.timestamp, 0x0304_0506);
        assert_eq!(header.ssrc, 0x0708_090a);
    }

    #[test]
    fn the_order_after_a_packet_is_that_of_the_next_media_packet_and_of_no_other() {
        let packet = |first: u8, kind: u8, sequence: u16| {
            let mut packet = *PACKET.first_chunk().unwrap();
            (packet[0], packet[1]) = (first, kind);
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            packet
        };
        let after = RtpHeader::read(&packet(0x90, 111, 0xffff)).order_after(0xffff);
        for (next, is_next) in [
            (packet(0x80, 111, 0), true),
            (packet(0xbf, 0xef, 0), true),
            (packet(0x80, 111, 1), false),
            (packet(0x80, 200, 0), false),
            (packet(0x00, 111, 0), false),
            (packet(0xc0, 111, 0), false),
        ] {
            let order = RtpHeader::read(&next).order;
            assert_eq!(order == after, is_next, "{next:?}");
        }
        let after = RtpHeader::read(&packet(0x80, 72, 5)).order_after(5);
        for next in [packet(0x80, 72, 6), packet(0x80, 200, 6)] {
            assert_ne!(RtpHeader::read(&next).order, after);
        }
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

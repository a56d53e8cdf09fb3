//! FINGERPRINT (RFC 8489 section 14.7).

/// The value that the CRC is XORed with.
const XOR: u32 = 0x5354_554e;

/// Returns the FINGERPRINT of a message up to the attribute.
pub(super) fn fingerprint(message: &[u8]) -> [u8; 4] {
    (crc32(message) ^ XOR).to_be_bytes()
}

/// Returns the CRC-32 of ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    0xedb8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

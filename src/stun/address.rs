//! Addresses in attributes (RFC 8489 sections 14.1 and 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{COOKIE, TransactionId};

/// The length of the longest encoded address: reserved, family, port, IPv6.
pub const MAX_XOR_ADDRESS: usize = 20;

/// Decodes an XORed address. Returns `None` if the length does not match the family.
pub fn decode_xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high ^ COOKIE[0], low ^ COOKIE[1]]);
    let ip = match family {
        1 => {
            let mut ip: [u8; 4] = ip.try_into().ok()?;
            xor(&mut ip, &mask(transaction));
            IpAddr::V4(Ipv4Addr::from(ip))
        }
        2 => {
            let mut ip: [u8; 16] = ip.try_into().ok()?;
            xor(&mut ip, &mask(transaction));
            IpAddr::V6(Ipv6Addr::from(ip))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Encodes an XORed address into `out`. Returns its length: 8 or 20.
pub fn encode_xor_address(
    address: SocketAddr,
    transaction: &TransactionId,
    out: &mut [u8; MAX_XOR_ADDRESS],
) -> usize {
    let len = encode_address(address, out);
    let mask = mask(transaction);
    xor(&mut out[2..4], &mask);
    xor(&mut out[4..len], &mask);
    len
}

/// Encodes a plain address (MAPPED-ADDRESS, RFC 8489 section 14.1) into `out`. Returns its length:
/// 8 or 20.
pub fn encode_address(address: SocketAddr, out: &mut [u8; MAX_XOR_ADDRESS]) -> usize {
    let [high, low] = address.port().to_be_bytes();
    let (family, len) = match address.ip() {
        IpAddr::V4(ip) => {
            out[4..8].copy_from_slice(&ip.octets());
            (1, 8)
        }
        IpAddr::V6(ip) => {
            out[4..20].copy_from_slice(&ip.octets());
            (2, 20)
        }
    };
    out[..4].copy_from_slice(&[0, family, high, low]);
    len
}

fn mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(transaction);
    mask
}

fn xor(bytes: &mut [u8], mask: &[u8; 16]) {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

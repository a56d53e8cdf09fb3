//! Parses rtnetlink messages: interfaces and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::turn::{AddressState, HostAddress};

/// Size of `struct nlmsghdr`.
pub(super) const HEADER_BYTES: usize = 16;

/// Size of `struct ifaddrmsg`.
const ADDRESS_BYTES: usize = 8;

/// Size of `struct rtattr`.
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// A netlink message (`struct nlmsghdr`).
pub(super) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub body: &'a [u8],
}

/// The messages of a datagram, up to the first invalid length.
pub(super) fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let whole = rest.get(..len)?;
        let message = Message {
            kind: u16_at(whole, 4)?,
            flags: u16_at(whole, 6)?,
            body: whole.get(HEADER_BYTES..)?,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind the fixed part of a body.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let whole = rest.get(..len)?;
        let attribute = (u16_at(whole, 2)?, whole.get(ATTRIBUTE_HEADER_BYTES..)?);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}

/// The index of an interface if it is up (`struct ifinfomsg`).
pub(super) fn link_that_is_up(body: &[u8]) -> Option<u32> {
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    (flags & libc::IFF_UP as u32 != 0).then_some(index)
}

/// An address (`struct ifaddrmsg`) of one of the interfaces that are `up`, or of another.
pub(super) fn address(body: &[u8], up: &[u32]) -> Option<HostAddress> {
    let (family, interface) = (*body.first()?, u32_at(body, 4)?);
    let mut flags = u32::from(*body.get(2)?);
    let (mut local, mut remote) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_BYTES..)?) {
        match kind {
            libc::IFA_LOCAL => local = ip(family, value),
            libc::IFA_ADDRESS => remote = ip(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point link, IFA_ADDRESS is the remote end.
    let ip = local.or(remote)?;
    let has = |flag: u32| flags & flag != 0;
    let checked = has(libc::IFA_F_OPTIMISTIC) || !has(libc::IFA_F_TENTATIVE);
    let usable = up.contains(&interface) && checked && !has(libc::IFA_F_DADFAILED);
    Some(HostAddress {
        ip,
        interface,
        state: match (usable, has(libc::IFA_F_DEPRECATED)) {
            (false, _) => AddressState::Unusable,
            (true, true) => AddressState::Deprecated,
            (true, false) => AddressState::Preferred,
        },
        // For IPv4, the same bit means a secondary address.
        temporary: ip.is_ipv6() && has(libc::IFA_F_TEMPORARY),
    })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body of RTM_NEWADDR.
    fn body(family: i32, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family as u8, 64, flags as u8, 0];
        body.extend(7_u32.to_ne_bytes());
        for (kind, value) in attributes {
            body.extend((ATTRIBUTE_HEADER_BYTES as u16 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

    #[test]
    fn the_state_of_an_address_follows_from_its_flags_and_its_interface() {
        let ip = Ipv6Addr::from([0x2a00, 0, 0, 0, 0, 0, 0, 1]).octets();
        let state = |flags: u32, up: &[u32]| {
            let flags = flags.to_ne_bytes();
            let attributes = [(libc::IFA_ADDRESS, &ip[..]), (libc::IFA_FLAGS, &flags)];
            address(&body(libc::AF_INET6, 0, &attributes), up)
                .unwrap()
                .state
        };
        for (flags, expected) in [
            (0, AddressState::Preferred),
            (libc::IFA_F_TEMPORARY, AddressState::Preferred),
            (libc::IFA_F_DEPRECATED, AddressState::Deprecated),
            (libc::IFA_F_TENTATIVE, AddressState::Unusable),
            (
                libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC,
                AddressState::Preferred,
            ),
            (
                libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED,
                AddressState::Unusable,
            ),
        ] {
            assert_eq!(state(flags, &[1, 7]), expected, "{flags:x}");
            assert_eq!(
                state(flags, &[1]),
                AddressState::Unusable,
                "its interface is down"
            );
        }
    }

    #[test]
    fn a_point_to_point_link_yields_its_local_address() {
        let (own, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let attributes = [(libc::IFA_ADDRESS, &other[..]), (libc::IFA_LOCAL, &own)];
        let read = address(
            &body(libc::AF_INET, libc::IFA_F_TEMPORARY, &attributes),
            &[7],
        );
        let read = read.unwrap();
        assert_eq!((read.ip, read.interface), (IpAddr::from(own), 7));
        assert!(!read.temporary, "of IPv4 the bit means something else");
    }

    proptest! {
        #[test]
        fn arbitrary_netlink_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                address(message.body, &[1]);
                link_that_is_up(message.body);
            }
            address(&bytes, &[1]);
            link_that_is_up(&bytes);
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}

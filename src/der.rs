//! Finds elements in DER (X.690), for keys and certificates.

pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_IDENTIFIER: u8 = 0x06;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// Returns the contents of the first element and the rest; `None` if the tag differs.
pub fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = first(der)?;
    (found == tag).then_some((contents, rest))
}

/// Returns the tag and contents of the first element, and the rest.
pub fn first(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&size, rest) = rest.split_first()?;
    let (length, rest) = match size {
        0..=0x7f => (usize::from(size), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (usize::from(length[0]) << 8 | usize::from(length[1]), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_element_is_found_by_its_tag_and_length() {
        assert_eq!(element(&[2, 1, 7, 9], INTEGER), Some((&[7][..], &[9][..])));
        assert_eq!(element(&[2, 1, 7], SEQUENCE), None);
        assert_eq!(element(&[2, 2, 7], INTEGER), None);
        let long = [&[0x30, 0x81, 200][..], &[5; 200]].concat();
        assert_eq!(element(&long, SEQUENCE), Some((&[5; 200][..], &[][..])));
    }

    proptest! {
        #[test]
        fn no_element_exceeds_its_input(der: Vec<u8>) {
            if let Some((_, contents, rest)) = first(&der) {
                prop_assert!(contents.len() + rest.len() + 2 <= der.len());
            }
        }
    }
}

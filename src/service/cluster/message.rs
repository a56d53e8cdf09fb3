//! The bytes of requests to other nodes and of their replies.
//!
//! The first byte of a message is its kind, the second the version, then follow the number of the call (8 bytes, big
//! endian), and for a reply the number of the part (4 bytes) and whether it is the last one (1 byte). JSON follows.
//! Messages of another kind or version are ignored.

use super::calls::Part;

const REQUEST: u8 = 2;
const REPLY: u8 = 3;
const VERSION: u8 = 1;

/// Bytes of a request's JSON. A longer one is not sent.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Bytes of a reply's JSON in each message.
const PART_BYTES: usize = 128 << 10;

/// A message of another node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Request { call: u64, json: &'a [u8] },
    Reply(Part<'a>),
}

/// Returns the message with a request; `None` if it is too long.
pub(super) fn request(call: u64, json: &[u8]) -> Option<Vec<u8>> {
    let is_short = json.len() <= MAX_REQUEST_BYTES;
    is_short.then(|| [&[REQUEST, VERSION], &call.to_be_bytes()[..], json].concat())
}

/// Returns the messages with a reply.
pub(super) fn reply(call: u64, json: &[u8]) -> Vec<Vec<u8>> {
    let parts: Vec<_> = json.chunks(PART_BYTES).collect();
    let last = parts.len().saturating_sub(1);
    let message = |(index, part): (usize, &&[u8])| {
        [
            &[REPLY, VERSION],
            &call.to_be_bytes()[..],
            &(index as u32).to_be_bytes(),
            &[u8::from(index == last)],
            part,
        ]
        .concat()
    };
    parts.iter().enumerate().map(message).collect()
}

/// Parses a message; `None` if it is of another kind or version.
pub(super) fn parse(message: &[u8]) -> Option<Message<'_>> {
    let (head, rest) = message.split_first_chunk::<2>()?;
    let [kind @ (REQUEST | REPLY), VERSION] = *head else {
        return None;
    };
    let (call, rest) = rest.split_first_chunk::<8>()?;
    let call = u64::from_be_bytes(*call);
    if kind == REQUEST {
        let is_short = rest.len() <= MAX_REQUEST_BYTES;
        return is_short.then_some(Message::Request { call, json: rest });
    }
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let (is_last, bytes) = rest.split_first()?;
    Some(Message::Reply(Part {
        call,
        index: u32::from_be_bytes(*index),
        is_last: *is_last == 1,
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_reply_of_several_parts_arrive_as_they_were_sent() {
        let message = request(7, b"\"describe\"").unwrap();
        let json = &b"\"describe\""[..];
        assert_eq!(parse(&message), Some(Message::Request { call: 7, json }));
        let json = vec![b'x'; PART_BYTES * 2 + 1];
        let messages = reply(9, &json);
        assert_eq!(messages.len(), 3);
        let mut joined = Vec::new();
        for (expected, message) in messages.iter().enumerate() {
            let Some(Message::Reply(part)) = parse(message) else {
                panic!("no reply");
            };
            assert_eq!((part.call, part.index), (9, expected as u32));
            assert_eq!(part.is_last, expected == 2);
            joined.extend_from_slice(part.bytes);
        }
        assert_eq!(joined, json);
    }

    #[test]
    fn messages_of_another_kind_or_version_and_shortened_ones_are_ignored() {
        let message = reply(9, b"1").remove(0);
        for changed in [0, 1] {
            let mut other = message.clone();
            other[changed] += 1;
            assert_eq!(parse(&other), None);
        }
        for length in 0..message.len() - 1 {
            assert_eq!(parse(&message[..length]), None);
        }
        assert_eq!(request(1, &vec![0; MAX_REQUEST_BYTES + 1]), None);
        assert_eq!(parse(b"\x01"), None);
    }
}

//! The bytes of the messages of tunnels.
//!
//! The first byte is the kind of the message, the second the version, the third the end of the tunnel that receives it.
//! Then follow the number of the tunnel and that of the message (8 bytes each, big endian), the type and the payload.

/// The kind, beside those of requests and replies.
const TUNNEL: u8 = 4;
const VERSION: u8 = 1;

const DATA: u8 = 1;
const CREDIT: u8 = 2;
const FINISH: u8 = 3;
const RESET: u8 = 4;
const CLOSE: u8 = 5;

/// An end of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The node with the client's connection, which opened the tunnel and numbers it.
    Opener,
    /// The node with the session.
    Acceptor,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The end that receives it.
    pub to: End,
    pub tunnel: u64,
    /// Counts from 1 in each direction.
    pub number: u64,
    pub body: Body<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Data(&'a [u8]),
    /// The sender has consumed this many bytes.
    Credit(u64),
    /// The sender sends no more data.
    Finish,
    /// The tunnel has ended.
    Reset,
    /// The acceptor shall close the connection with this code.
    Close(u16),
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Opener => End::Acceptor,
            End::Acceptor => End::Opener,
        }
    }
}

impl<'a> Message<'a> {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (kind, payload): (u8, &[u8]) = match &self.body {
            Body::Data(data) => (DATA, data),
            Body::Credit(bytes) => (CREDIT, &bytes.to_be_bytes()),
            Body::Finish => (FINISH, &[]),
            Body::Reset => (RESET, &[]),
            Body::Close(code) => (CLOSE, &code.to_be_bytes()),
        };
        let to = match self.to {
            End::Opener => 0,
            End::Acceptor => 1,
        };
        [
            &[TUNNEL, VERSION, to][..],
            &self.tunnel.to_be_bytes(),
            &self.number.to_be_bytes(),
            &[kind],
            payload,
        ]
        .concat()
    }

    /// The message that ends a tunnel which the receiver of this message does not know; `None` if the tunnel has ended.
    pub(super) fn refusal(self) -> Option<Message<'static>> {
        let is_ended = self.body == Body::Reset;
        (!is_ended).then_some(Message {
            to: self.to.other(),
            tunnel: self.tunnel,
            // No message has this number: it counts as a loss in any case.
            number: 0,
            body: Body::Reset,
        })
    }

    /// Parses a message; `None` if it is of another kind or version.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let (head, rest) = bytes.split_first_chunk::<3>()?;
        let to = match *head {
            [TUNNEL, VERSION, 0] => End::Opener,
            [TUNNEL, VERSION, 1] => End::Acceptor,
            _ => return None,
        };
        let (tunnel, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (kind, payload) = rest.split_first()?;
        let body = match *kind {
            DATA => Body::Data(payload),
            CREDIT => Body::Credit(u64::from_be_bytes(payload.try_into().ok()?)),
            FINISH => Body::Finish,
            RESET => Body::Reset,
            CLOSE => Body::Close(u16::from_be_bytes(payload.try_into().ok()?)),
            _ => return None,
        };
        Some(Message {
            to,
            tunnel: u64::from_be_bytes(*tunnel),
            number: u64::from_be_bytes(*number),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_parsed_to_itself_and_a_shortened_one_is_ignored() {
        let bodies = [
            Body::Data(b"bytes"),
            Body::Credit(70_000),
            Body::Finish,
            Body::Reset,
            Body::Close(1012),
        ];
        for (body, to) in bodies
            .into_iter()
            .zip([End::Opener, End::Acceptor].into_iter().cycle())
        {
            let message = Message {
                to,
                tunnel: 7,
                number: 9,
                body,
            };
            let bytes = message.to_bytes();
            assert_eq!(Message::parse(&bytes), Some(message));
            for length in 0..20 {
                let parsed = Message::parse(&bytes[..length]);
                assert_eq!(parsed.map(|one| one.body), None);
            }
            for (index, other) in [(0, 2), (1, 2), (2, 2), (19, 9)] {
                let mut changed = bytes.clone();
                changed[index] = other;
                assert_eq!(Message::parse(&changed), None, "byte {index}");
            }
        }
    }
}

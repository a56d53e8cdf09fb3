//! The session of a `parlor.v1` client: it numbers the frames that are sent to it.

use bytes::Bytes;

/// The numbers of a session's frames.
#[derive(Debug, Default)]
pub struct Session {
    /// The number of the last frame that was sent.
    last: u64,
}

impl Session {
    /// Returns the frame with the next `seq`.
    pub fn number(&mut self, frame: &Bytes) -> Bytes {
        self.last += 1;
        let open = frame.iter().position(|byte| *byte == b'{');
        let (head, rest) = frame.split_at(open.map_or(0, |open| open + 1));
        let mut numbered = Vec::with_capacity(frame.len() + 32);
        numbered.extend_from_slice(head);
        numbered.extend_from_slice(format!(r#""seq":{},"#, self.last).as_bytes());
        numbered.extend_from_slice(rest);
        Bytes::from(numbered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_numbered_from_one() {
        let mut session = Session::default();
        let frame = Bytes::from_static(b" {\"type\":\"ack\"}");
        assert_eq!(session.number(&frame), " {\"seq\":1,\"type\":\"ack\"}");
        assert_eq!(session.number(&frame), " {\"seq\":2,\"type\":\"ack\"}");
    }
}

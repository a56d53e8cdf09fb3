//! The session of a `parlor.v1` client: it numbers the frames that are sent to it, and keeps them until the client
//! acknowledges them. So the client may lose its connection and miss nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::outgoing_frame::OutgoingFrame;

/// Bytes that a kept frame counts in addition to its own.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// The secret of a token that resumes a session.
pub type ResumeSecret = [u8; 16];

/// The frames and the secrets of a session.
#[derive(Debug)]
pub struct Session {
    /// The number of the last frame that was sent.
    last: u64,
    /// Frames that the client has not acknowledged: the last ones, without their numbers, because the sessions of a room
    /// share the same bytes.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    secret: ResumeSecret,
    /// The secret by which the session was resumed, and the one that it was resumed with before, if that was not
    /// confirmed. They are valid until a frame of the client shows that the client has the new one.
    earlier: [Option<ResumeSecret>; 2],
    /// The secret by which the session was resumed, if a frame of the client has come since.
    replaced: Option<ResumeSecret>,
}

/// The frames and secrets of a session, for the next process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFrames {
    last: u64,
    kept: Vec<String>,
    secret: ResumeSecret,
    earlier: [Option<ResumeSecret>; 2],
    replaced: Option<ResumeSecret>,
}

impl Session {
    /// `None` if a frame is no text.
    pub fn save(&self) -> Option<SavedFrames> {
        let text = |frame: &Bytes| std::str::from_utf8(frame).ok().map(str::to_owned);
        Some(SavedFrames {
            last: self.last,
            kept: self.kept.iter().map(text).collect::<Option<_>>()?,
            secret: self.secret,
            earlier: self.earlier,
            replaced: self.replaced,
        })
    }

    /// `None` if there are more frames than numbers.
    pub fn restore(saved: SavedFrames) -> Option<Session> {
        let kept: VecDeque<Bytes> = saved.kept.into_iter().map(Bytes::from).collect();
        (kept.len() as u64 <= saved.last).then(|| Session {
            last: saved.last,
            kept_bytes: kept.iter().map(cost).sum(),
            kept,
            secret: saved.secret,
            earlier: saved.earlier,
            replaced: saved.replaced,
        })
    }

    pub fn new(secret: ResumeSecret) -> Session {
        Session {
            last: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            secret,
            earlier: [None; 2],
            replaced: None,
        }
    }

    /// Returns the frame with the next `seq`, and keeps it.
    pub fn number(&mut self, frame: Bytes) -> OutgoingFrame {
        let numbered = OutgoingFrame::numbered(&frame, self.last + 1);
        self.keep(frame);
        numbered
    }

    /// Keeps a frame that was not sent yet, with the next `seq`.
    pub fn keep(&mut self, frame: Bytes) {
        self.last += 1;
        self.kept_bytes += cost(&frame);
        self.kept.push_back(frame);
    }

    /// The number of the last frame that was sent.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes of the frames that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Forgets the frames up to this number, which the client has received.
    pub fn acknowledge(&mut self, seq: u64) {
        while !self.kept.is_empty() && self.first_kept() <= seq.min(self.last) {
            self.forget_first();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// Forgets the oldest frames above this number of bytes: a client that did not receive them cannot resume.
    pub fn limit(&mut self, max_bytes: usize) {
        while self.kept_bytes > max_bytes {
            self.forget_first();
        }
    }

    /// Replaces frames that are kept: the client gets `replacement` in their place. Their numbers stay.
    pub fn replace(&mut self, is_replaced: impl Fn(&[u8]) -> bool, replacement: &Bytes) {
        for frame in &mut self.kept {
            if is_replaced(frame) {
                self.kept_bytes -= cost(frame);
                *frame = replacement.clone();
                self.kept_bytes += cost(frame);
            }
        }
    }

    /// The frames after this number; `None` if some of them were forgotten, or if there is no such number.
    pub fn missed(&self, seq: u64) -> Option<impl ExactSizeIterator<Item = OutgoingFrame>> {
        if seq > self.last || seq + 1 < self.first_kept() {
            return None;
        }
        let skipped = (seq + 1 - self.first_kept()) as usize;
        let missed = self.kept.range(skipped..).enumerate();
        Some(
            missed
                .map(move |(index, frame)| OutgoingFrame::numbered(frame, seq + 1 + index as u64)),
        )
    }

    /// The secret of the current token.
    pub fn secret(&self) -> ResumeSecret {
        self.secret
    }

    /// Whether a token with this secret resumes the session.
    pub fn accepts(&self, secret: &ResumeSecret) -> bool {
        let mut earlier = self.earlier.iter().flatten();
        is_equal(&self.secret, secret) || earlier.any(|one| is_equal(one, secret))
    }

    /// Whether a token with this secret has resumed the session, and is over.
    pub fn is_replaced(&self, secret: &ResumeSecret) -> bool {
        let replaced = self.replaced.as_ref();
        replaced.is_some_and(|one| is_equal(one, secret))
    }

    /// Whether an earlier secret is still valid.
    pub fn is_unconfirmed(&self) -> bool {
        self.earlier[0].is_some()
    }

    /// Replaces the secret. The `presented` one stays valid until [`Session::confirm`], and so does the current one: the
    /// client may have it over a connection that this attempt has overtaken.
    pub fn renew(&mut self, presented: ResumeSecret, secret: ResumeSecret) {
        let current = (presented != self.secret).then_some(self.secret);
        self.earlier = [Some(presented), current];
        self.secret = secret;
    }

    /// Ends the secret before the current one: a frame of the client has come over the resumed connection.
    pub fn confirm(&mut self) {
        if let [Some(presented), _] = std::mem::take(&mut self.earlier) {
            self.replaced = Some(presented);
        }
    }

    fn first_kept(&self) -> u64 {
        self.last + 1 - self.kept.len() as u64
    }

    fn forget_first(&mut self) {
        if let Some(frame) = self.kept.pop_front() {
            self.kept_bytes -= cost(&frame);
        }
    }
}

fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD_BYTES
}

/// Compares in constant time.
fn is_equal(one: &ResumeSecret, other: &ResumeSecret) -> bool {
    let difference = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session_of(frames: u64) -> Session {
        let mut session = Session::new([1; 16]);
        for _ in 0..frames {
            session.number(Bytes::from_static(b"{\"type\":\"ack\"}"));
        }
        session
    }

    fn text(frame: OutgoingFrame) -> String {
        String::from_utf8(Bytes::from(frame).to_vec()).expect("UTF-8")
    }

    fn missed(session: &Session, seq: u64) -> Option<Vec<String>> {
        Some(session.missed(seq)?.map(text).collect())
    }

    #[test]
    fn frames_are_numbered_from_one_after_their_brace() {
        let mut session = Session::new([1; 16]);
        let frame = Bytes::from_static(b" {\"type\":\"ack\"}");
        let mut number = || text(session.number(frame.clone()));
        assert_eq!(number(), "{\"seq\":1,\"type\":\"ack\"}");
        assert_eq!(number(), "{\"seq\":2,\"type\":\"ack\"}");
        assert_eq!(session.last(), 2);
    }

    #[test]
    fn unacknowledged_frames_are_missed_in_order() {
        let mut session = session_of(5);
        session.acknowledge(2);
        assert_eq!(missed(&session, 1), None);
        let expected = [4, 5].map(|seq| format!(r#"{{"seq":{seq},"type":"ack"}}"#));
        assert_eq!(missed(&session, 3).as_deref(), Some(&expected[..]));
        assert_eq!(missed(&session, 2).map(|all| all.len()), Some(3));
        assert_eq!(missed(&session, 5), Some(Vec::new()));
        assert_eq!(missed(&session, 6), None);
        // A number that was not sent yet acknowledges no more than all.
        session.acknowledge(u64::MAX);
        assert_eq!(session.kept_bytes(), 0);
        assert_eq!(missed(&session, 5), Some(Vec::new()));
        assert_eq!(missed(&session, 4), None);
        session.number(Bytes::from_static(b"{\"type\":\"ack\"}"));
        assert_eq!(missed(&session, 5).map(|all| all.len()), Some(1));
    }

    #[test]
    fn a_replaced_frame_keeps_its_number() {
        let mut session = session_of(3);
        session.acknowledge(1);
        session.number(Bytes::from_static(b"{\"type\":\"chat\"}"));
        let is_chat = |frame: &[u8]| frame == br#"{"type":"chat"}"#;
        session.replace(is_chat, &Bytes::from_static(b"{\"type\":\"gone\"}"));
        let expected = [
            r#"{"seq":2,"type":"ack"}"#,
            r#"{"seq":3,"type":"ack"}"#,
            r#"{"seq":4,"type":"gone"}"#,
        ];
        let expected = expected.map(str::to_owned);
        assert_eq!(missed(&session, 1).as_deref(), Some(&expected[..]));
        session.acknowledge(4);
        assert_eq!(session.kept_bytes(), 0);
    }

    #[test]
    fn the_oldest_frames_give_room_to_newer_ones() {
        let mut session = session_of(10);
        session.limit(session.kept_bytes() - 1);
        assert_eq!(missed(&session, 0), None);
        assert_eq!(missed(&session, 1).map(|all| all.len()), Some(9));
        session.limit(0);
        assert_eq!(missed(&session, 9), None);
    }

    #[test]
    fn an_earlier_secret_is_accepted_until_the_next_frame() {
        let mut session = session_of(0);
        assert!(session.accepts(&[1; 16]) && !session.accepts(&[2; 16]));
        // The client does not receive the second secret, and comes with the first one again.
        session.renew([1; 16], [2; 16]);
        assert!(session.accepts(&[1; 16]) && session.accepts(&[2; 16]));
        session.renew([1; 16], [3; 16]);
        // It may have received the second one after all, over a connection that came later.
        assert!(
            [1, 2, 3]
                .iter()
                .all(|number| session.accepts(&[*number; 16]))
        );
        session.renew([1; 16], [4; 16]);
        assert!(
            [1, 3, 4]
                .iter()
                .all(|number| session.accepts(&[*number; 16]))
        );
        assert!(!session.accepts(&[2; 16]));
        assert!(session.is_unconfirmed() && !session.is_replaced(&[1; 16]));
        session.confirm();
        assert!(session.accepts(&[4; 16]) && !session.is_unconfirmed());
        assert!([1, 3].iter().all(|number| !session.accepts(&[*number; 16])));
        assert!(session.is_replaced(&[1; 16]) && !session.is_replaced(&[4; 16]));
        session.confirm();
        assert!(session.is_replaced(&[1; 16]));
    }
}

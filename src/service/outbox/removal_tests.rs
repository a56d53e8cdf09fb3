//! Frames that are removed from the queue of a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use bytes::Bytes;

use super::{Outbox, frame_cost};
use crate::room::{CloseCode, Session};
use crate::service::resume_memory::ResumeMemory;

const SECRET: &[u8] = br#"{"type":"secret","data":"a long text"}"#;
const OTHER: &[u8] = br#"{"type":"other"}"#;
const GONE: &[u8] = br#"{"type":"gone"}"#;

fn outbox() -> Arc<Outbox> {
    let memory = Arc::new(ResumeMemory::default());
    memory.set_limit(usize::MAX, usize::MAX);
    Outbox::new(10_000).with_session(Session::new([1; 16]), 10_000, &memory, "alice")
}

fn take(outbox: &Outbox) -> Vec<String> {
    let mut frames = Vec::new();
    let context = Context::from_waker(Waker::noop());
    outbox.take(&context, usize::MAX, |frame| {
        outbox.sent(frame_cost(frame.shared()));
        frames.push(String::from_utf8(Bytes::from(frame).to_vec()).expect("UTF-8"));
    });
    frames
}

fn remove_secrets(outbox: &Outbox) {
    let is_secret = |frame: &[u8]| frame.windows(6).any(|part| part == b"secret");
    outbox.remove_frames(is_secret, &Bytes::from_static(GONE));
}

#[test]
fn a_frame_without_a_number_disappears_and_one_with_a_number_is_replaced() {
    let outbox = outbox();
    outbox.push(Bytes::from_static(SECRET), None);
    assert_eq!(take(&outbox).len(), 1);
    outbox.push(Bytes::from_static(SECRET), None);
    outbox.push(Bytes::from_static(OTHER), None);
    remove_secrets(&outbox);
    assert_eq!(take(&outbox), [r#"{"seq":2,"type":"other"}"#]);
    assert_eq!(outbox.bytes.load(Ordering::Relaxed), 0);
    let moved = outbox
        .take_over(0, CloseCode::Replaced)
        .expect("a whole session");
    let resumed = self::outbox();
    resumed.adopt(moved, 0, ([1; 16], [2; 16]), |missed| {
        Bytes::from(format!("{missed}"))
    });
    let expected = [
        "2",
        r#"{"seq":1,"type":"gone"}"#,
        r#"{"seq":2,"type":"other"}"#,
    ];
    assert_eq!(take(&resumed), expected);
}

#[test]
fn a_frame_that_is_about_to_be_sent_again_is_replaced() {
    let outbox = outbox();
    for frame in [OTHER, SECRET, OTHER, SECRET] {
        outbox.push(Bytes::from_static(frame), None);
    }
    take(&outbox);
    let moved = outbox
        .take_over(1, CloseCode::Replaced)
        .expect("a whole session");
    let resumed = self::outbox();
    resumed.adopt(moved, 1, ([1; 16], [2; 16]), |missed| {
        Bytes::from(format!("{missed}"))
    });
    remove_secrets(&resumed);
    let expected = [
        "3",
        r#"{"seq":2,"type":"gone"}"#,
        r#"{"seq":3,"type":"other"}"#,
        r#"{"seq":4,"type":"gone"}"#,
    ];
    assert_eq!(take(&resumed), expected);
    assert_eq!(resumed.bytes.load(Ordering::Relaxed), 0);
}

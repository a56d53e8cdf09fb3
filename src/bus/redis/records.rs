//! Messages between nodes: a batch of frames is one entry of the receiving node's inbox.
//!
//! A record is: its length (u32), its kind (u8, 1 = frame, 2 = frame for `parlor.v1` clients alone), room and user (u16 length and text), the sender's
//! connection and the receiver's (u64; 0 = all), and the frame. All numbers are big-endian. A receiver skips
//! records of other kinds.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::room::{ConnectionId, RemoteFrame};

const FRAME: u8 = 1;
const EXTENDED_FRAME: u8 = 2;

/// Appends a frame to a batch. Ids longer than 65,535 bytes do not exist.
pub(super) fn write(batch: &mut Vec<u8>, room: &str, sent: &RemoteFrame) {
    let length = 1 + 2 + room.len() + 2 + sent.user.len() + 16 + sent.frame.len();
    batch.put_u32(length as u32);
    batch.put_u8(if sent.is_extended {
        EXTENDED_FRAME
    } else {
        FRAME
    });
    write_text(batch, room);
    write_text(batch, &sent.user);
    batch.put_u64(sent.from.number());
    batch.put_u64(sent.to.map_or(0, ConnectionId::number));
    batch.put_slice(&sent.frame);
}

fn write_text(batch: &mut Vec<u8>, text: &str) {
    batch.put_u16(text.len() as u16);
    batch.put_slice(text.as_bytes());
}

/// Reads a batch up to its first invalid record.
pub(super) fn read(batch: Vec<u8>) -> Vec<(Arc<str>, RemoteFrame)> {
    let mut batch = Bytes::from(batch);
    let mut frames = Vec::new();
    while batch.remaining() >= 4 {
        let length = batch.get_u32() as usize;
        if length > batch.remaining() {
            break;
        }
        frames.extend(read_record(batch.split_to(length)));
    }
    frames
}

fn read_record(mut record: Bytes) -> Option<(Arc<str>, RemoteFrame)> {
    let is_extended = match record.try_get_u8().ok()? {
        FRAME => false,
        EXTENDED_FRAME => true,
        _ => return None,
    };
    let room = read_text(&mut record)?;
    let user = read_text(&mut record)?;
    let from = ConnectionId::new(record.try_get_u64().ok()?)?;
    let to = ConnectionId::new(record.try_get_u64().ok()?);
    let sent = RemoteFrame {
        user,
        from,
        to,
        is_extended,
        // A copy, because a kept frame would keep its whole batch.
        frame: Bytes::copy_from_slice(&record),
    };
    Some((room, sent))
}

fn read_text(record: &mut Bytes) -> Option<Arc<str>> {
    let length = record.try_get_u16().ok()? as usize;
    if length > record.remaining() {
        return None;
    }
    let text = record.split_to(length);
    std::str::from_utf8(&text).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(to: Option<u64>) -> RemoteFrame {
        RemoteFrame {
            user: "alice".into(),
            from: ConnectionId::new(7).unwrap(),
            to: to.and_then(ConnectionId::new),
            is_extended: to.is_some(),
            frame: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn frames_arrive_as_they_were_sent_and_unknown_records_are_skipped() {
        let mut batch = Vec::new();
        write(&mut batch, "lobby", &sent(None));
        batch.put_u32(3);
        batch.put_slice(&[9, 9, 9]);
        write(&mut batch, "attic", &sent(Some(8)));
        let expected = [("lobby", sent(None)), ("attic", sent(Some(8)))];
        let expected = expected.map(|(room, sent)| (Arc::from(room), sent));
        assert_eq!(read(batch.clone()), expected);
        for length in 0..batch.len() {
            let frames = read(batch[..length].to_vec());
            assert!(frames.len() < 2, "{length} bytes have {frames:?}");
        }
    }
}

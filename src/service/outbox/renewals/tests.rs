use std::sync::Arc;
use std::task::{Context, Waker};

use super::*;
use crate::room::{CloseCode, Session};
use crate::service::renewals::Renewals;
use crate::service::resume_memory::ResumeMemory;

fn session() -> Arc<Outbox> {
    let memory = Arc::new(ResumeMemory::default());
    Outbox::new(usize::MAX).with_session(Session::new([1; 16]), 1000, &memory, "alice")
}

fn take(outbox: &Outbox) -> (Vec<Bytes>, Option<Renewals>) {
    let mut frames = Vec::new();
    let context = Context::from_waker(Waker::noop());
    let rest = outbox.take(&context, usize::MAX, |frame| {
        frames.push(Bytes::from(frame));
    });
    (frames, rest.renewals)
}

fn ice_due(outbox: &Outbox) -> Option<u64> {
    take(outbox).1.expect("a session").ice_due
}

const FRAME: Bytes = Bytes::from_static(b"{}");

#[test]
fn a_plain_connection_has_no_renewals() {
    let outbox = Outbox::new(1000);
    outbox.set_token_end(100);
    assert!(!outbox.renew_ice());
    assert_eq!(take(&outbox), (Vec::new(), None));
}

#[test]
fn a_renewal_is_followed_by_the_next_one() {
    let outbox = session();
    outbox.set_token_end(100);
    outbox.renew_ice_at(Some(50));
    let times = Renewals {
        token_end: Some(100),
        ice_due: Some(50),
    };
    assert_eq!(take(&outbox), (Vec::new(), Some(times)));
    outbox.begin_ice_renewal();
    assert_eq!(ice_due(&outbox), None);
    outbox.finish_ice_renewal(Some(FRAME), Some(70));
    let (frames, times) = take(&outbox);
    assert_eq!(frames.len(), 1);
    assert_eq!(times.expect("a session").ice_due, Some(70));
}

#[test]
fn ice_servers_that_change_while_they_are_fetched_are_fetched_again_afterwards() {
    let outbox = session();
    outbox.begin_ice_renewal();
    assert!(outbox.renew_ice());
    assert_eq!(ice_due(&outbox), None);
    outbox.finish_ice_renewal(Some(FRAME), Some(70));
    assert_eq!(ice_due(&outbox), Some(0));
}

#[test]
fn renewals_move_with_the_session() {
    for (is_fetching, expected) in [(false, Some(50)), (true, Some(0))] {
        let (earlier, later) = (session(), session());
        earlier.set_token_end(100);
        later.set_token_end(200);
        earlier.renew_ice_at(Some(50));
        if is_fetching {
            earlier.begin_ice_renewal();
        }
        let moved = earlier
            .take_over(0, CloseCode::Replaced)
            .expect("a session");
        later.adopt(moved, 0, ([1; 16], [2; 16]), |_| FRAME);
        // Too late: the client reads from the later connection.
        earlier.finish_ice_renewal(Some(FRAME), Some(70));
        assert_eq!(take(&earlier), (Vec::new(), None));
        let (frames, times) = take(&later);
        assert_eq!(frames, [FRAME]);
        let times = times.expect("a session");
        assert_eq!((times.token_end, times.ice_due), (Some(200), expected));
    }
}

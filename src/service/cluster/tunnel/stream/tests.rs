use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::registry::Tunnels;
use super::*;

/// The messages between two ends, which are delivered when [`Wire::deliver`] is called.
#[derive(Default)]
struct Wire {
    messages: Mutex<VecDeque<Vec<u8>>>,
    is_broken: AtomicBool,
}

impl Wire {
    fn send(self: &Arc<Wire>) -> Send {
        let wire = self.clone();
        Box::new(move |bytes| {
            wire.messages.lock().unwrap().push_back(bytes);
            !wire.is_broken.load(Ordering::SeqCst)
        })
    }

    /// Delivers all messages; returns whether there were any.
    fn deliver(&self, ends: [&Arc<Shared>; 2]) -> bool {
        let messages = std::mem::take(&mut *self.messages.lock().unwrap());
        for bytes in &messages {
            let message = Message::parse(bytes).expect("a message of a tunnel");
            let end = ends.into_iter().find(|end| end.end == message.to);
            end.expect("an end").receive(message.number, message.body);
        }
        !messages.is_empty()
    }
}

struct Fixture {
    wire: Arc<Wire>,
    near: TunnelStream,
    far: TunnelStream,
}

impl Fixture {
    fn new() -> Fixture {
        let (wire, tunnels) = (Arc::<Wire>::default(), Arc::<Tunnels>::default());
        let node = "node.1".into();
        Fixture {
            near: tunnels.register(End::Opener, 7, &node, wire.send()),
            far: tunnels.register(End::Acceptor, 7, &node, wire.send()),
            wire,
        }
    }

    /// Delivers messages until both streams have nothing to send.
    async fn run<T>(wire: &Wire, ends: [Arc<Shared>; 2], work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                () = tokio::task::yield_now() => {}
            }
            wire.deliver(ends.each_ref());
        }
    }

    fn ends(&self) -> [Arc<Shared>; 2] {
        [self.near.shared.clone(), self.far.shared.clone()]
    }
}

#[tokio::test]
async fn bytes_arrive_in_both_directions_however_many_they_are() {
    let Fixture {
        wire,
        mut near,
        mut far,
    } = Fixture::new();
    let ends = [near.shared.clone(), far.shared.clone()];
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sending = async {
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let receiving = async {
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        far.write_all(b"thanks").await.unwrap();
        far.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(sending, receiving).0 };
    assert_eq!(Fixture::run(&wire, ends, both).await, b"thanks");
}

#[tokio::test]
async fn a_writer_waits_until_the_reader_has_consumed_the_window() {
    let mut fixture = Fixture::new();
    let ends = fixture.ends();
    let bytes = vec![1; super::super::flow::WINDOW_BYTES];
    fixture.near.write_all(&bytes).await.unwrap();
    let mut more = std::pin::pin!(fixture.near.write_all(b"more"));
    assert!(futures_util::poll!(more.as_mut()).is_pending());
    fixture.wire.deliver(ends.each_ref());
    let mut read = vec![0; bytes.len()];
    fixture.far.read_exact(&mut read).await.unwrap();
    assert!(futures_util::poll!(more.as_mut()).is_pending());
    fixture.wire.deliver(ends.each_ref());
    assert!(futures_util::poll!(more.as_mut()).is_ready());
}

#[tokio::test]
async fn dropping_an_end_breaks_the_other_one() {
    let mut fixture = Fixture::new();
    let ends = fixture.ends();
    fixture.far.write_all(b"last").await.unwrap();
    drop(fixture.far);
    fixture.wire.deliver(ends.each_ref());
    let mut bytes = [0; 4];
    fixture.near.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"last");
    assert!(fixture.near.read(&mut bytes).await.is_err());
    assert!(fixture.near.write(b"x").await.is_err());
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_breaks_the_tunnel() {
    let mut fixture = Fixture::new();
    fixture.wire.is_broken.store(true, Ordering::SeqCst);
    assert!(fixture.near.write(b"x").await.is_err());
    assert!(fixture.near.read(&mut [0]).await.is_err());
}

#[tokio::test]
async fn the_wish_to_close_arrives_with_its_code() {
    let fixture = Fixture::new();
    let ends = fixture.ends();
    let control = fixture.far.control();
    let mut closing = std::pin::pin!(control.closing());
    assert!(futures_util::poll!(closing.as_mut()).is_pending());
    fixture.near.control().close(CloseCode::Restarting);
    fixture.wire.deliver(ends.each_ref());
    assert_eq!(closing.await, CloseCode::Restarting);
}

#[tokio::test(start_paused = true)]
async fn an_end_notices_that_the_other_one_is_silent() {
    let fixture = Fixture::new();
    fixture.near.control().silent(Duration::ZERO).await;
    fixture.near.control().reset();
    assert!(fixture.near.shared.locked().flow.is_reset());
}

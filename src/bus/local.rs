//! The bus of a single node.

use super::Event;

type Subscriber = Box<dyn Fn(&Event) + Send + Sync>;

/// Calls every subscriber in the publisher's task: no queue, no task, no lock. Subscribers are added
/// before the application starts.
#[derive(Default)]
pub struct Local {
    subscribers: Vec<Subscriber>,
}

impl Local {
    /// Adds a subscriber. It must not block: the change order is locked while it runs.
    pub fn subscribe(&mut self, subscriber: impl Fn(&Event) + Send + Sync + 'static) {
        self.subscribers.push(Box::new(subscriber));
    }

    /// Delivers `event` to every subscriber.
    pub fn publish(&self, event: &Event) {
        for subscriber in &self.subscribers {
            subscriber(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn every_subscriber_receives_events_in_the_order_of_publication() {
        let mut bus = Local::default();
        let received: [Arc<Mutex<Vec<usize>>>; 2] = Default::default();
        for list in &received {
            let list = list.clone();
            bus.subscribe(move |event| list.lock().unwrap().push(event.index()));
        }
        let (user, room) = ("alice".to_owned(), "lobby".to_owned());
        bus.publish(&Event::RoomOpened { room: room.clone() });
        bus.publish(&Event::Joined {
            user,
            room,
            generation: 0,
        });
        for list in received {
            assert_eq!(*list.lock().unwrap(), [0, 3]);
        }
    }
}

//! The rules that hold once all faults are over.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::Duration;

use super::user::{Order, State, User};
use crate::support::room_view::Seen;

/// Looks that may fail, and their interval: two minutes. Nodes settle in twelve seconds; a user who was replaced three
/// times waits a minute.
const LOOKS: u32 = 600;
const LOOKS_PER_MESSAGE: u32 = 50;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Waits until everybody is connected, of each two exactly one received `user-joined` of the other, and all hear all.
///
/// A message may be lost if a node learns only now that it was evicted; so all send again if somebody hears nothing.
pub(super) fn wait_until_well(users: &[Arc<User>], when: &str) {
    let mut found = None;
    let mut numbers = HashMap::new();
    for look in 0..LOOKS {
        found = fault(users);
        if found.is_none() && !numbers.is_empty() {
            found = unheard(users, &numbers);
            if found.is_none() {
                return;
            }
        }
        if look % LOOKS_PER_MESSAGE == 0 {
            numbers = say(users);
        }
        thread::sleep(LOOK_PAUSE);
    }
    panic!("{when}: {}", found.expect("a fault"));
}

/// Lets everybody send a message to their room; the number below it, by user.
fn say(users: &[Arc<User>]) -> HashMap<String, u64> {
    let sent = users.iter().map(|user| {
        let number = user.state.lock().unwrap().sent;
        user.order(Order::Say);
        (user.name.clone(), number)
    });
    sent.collect()
}

/// The first user who is not connected or has another view than their room has.
fn fault(users: &[Arc<User>]) -> Option<String> {
    in_rooms(users, |room, states| {
        for (user, state) in room.iter().zip(states) {
            if !state.is_entered {
                return Some(format!("{} is not in {}", user.name, user.room));
            }
            if state.connections <= state.kicked {
                return Some(format!("{} was kicked and is still connected", user.name));
            }
        }
        pairs(room, states, |one, other, known, known_back| {
            let joined = [known, known_back].map(|known| known == Some(Seen::Joined));
            let left = [known, known_back].contains(&Some(Seen::Left));
            let is_well = joined[0] != joined[1] && !left;
            let report = format!("{one} knows of {other}: {known:?}, and back: {known_back:?}");
            (!is_well).then_some(report)
        })
    })
}

/// The first user who did not receive the message of another user of the room.
fn unheard(users: &[Arc<User>], numbers: &HashMap<String, u64>) -> Option<String> {
    in_rooms(users, |room, states| {
        for (user, state) in room.iter().zip(states) {
            for other in room.iter().filter(|other| other.name != user.name) {
                let heard = state.view.last(&other.name);
                if heard.is_none_or(|heard| heard <= numbers[&other.name]) {
                    return Some(format!("{} does not hear {}", user.name, other.name));
                }
            }
        }
        None
    })
}

/// Runs `look` on the users of each room, with their states locked together.
fn in_rooms(
    users: &[Arc<User>],
    look: impl Fn(&[Arc<User>], &[MutexGuard<'_, State>]) -> Option<String>,
) -> Option<String> {
    users
        .chunk_by(|one, other| one.room == other.room)
        .find_map(|room| {
            let states: Vec<_> = room.iter().map(|user| user.state.lock().unwrap()).collect();
            look(room, &states)
        })
}

fn pairs(
    room: &[Arc<User>],
    states: &[MutexGuard<'_, State>],
    look: impl Fn(&str, &str, Option<Seen>, Option<Seen>) -> Option<String>,
) -> Option<String> {
    for (one, user) in room.iter().enumerate() {
        for (other, peer) in room.iter().enumerate().skip(one + 1) {
            let known = states[one].view.seen(&peer.name);
            let known_back = states[other].view.seen(&user.name);
            if let Some(report) = look(&user.name, &peer.name, known, known_back) {
                return Some(format!("in {}: {report}", user.room));
            }
        }
    }
    None
}

//! The events of a simulation.

use proptest::prelude::*;

pub(super) const USERS: usize = 4;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Connects, as a newcomer or with the token of the session.
    Connect(usize),
    /// Connects with the token, and loses the `resumed` frame.
    ConnectInVain(usize),
    /// Reads this many frames.
    Read(usize, usize),
    /// Acknowledges the frames that were read, as a pong does.
    Acknowledge(usize),
    /// Loses the connection, with this many frames on their way.
    Cut(usize, usize),
    Message(usize),
    Update(usize),
    /// Closes the connection by a close frame.
    Close(usize),
    Kick(usize),
    /// Lets milliseconds pass.
    Wait(u64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let user = 0..USERS;
    prop_oneof![
        4 => user.clone().prop_map(Step::Connect),
        1 => user.clone().prop_map(Step::ConnectInVain),
        4 => (user.clone(), 0..6usize).prop_map(|(user, frames)| Step::Read(user, frames)),
        2 => user.clone().prop_map(Step::Acknowledge),
        3 => (user.clone(), 0..4usize).prop_map(|(user, frames)| Step::Cut(user, frames)),
        4 => user.clone().prop_map(Step::Message),
        2 => user.clone().prop_map(Step::Update),
        1 => user.clone().prop_map(Step::Close),
        1 => user.prop_map(Step::Kick),
        2 => (0..20_000u64).prop_map(Step::Wait),
    ]
}

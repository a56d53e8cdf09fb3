//! The quality of the links between the relay and its clients, from what packets show in clear.
//!
//! A call over the relay has two links for each client: `up`, from the client to the relay, and
//! `down`, from the relay to the client.
//!
//! | value | `up` | `down` |
//! |---|---|---|
//! | loss | RTP sequence numbers | the client's reports, minus the loss before the relay |
//! | jitter | RTP timestamps and arrivals | the client's reports, on the whole way |
//! | round trip | an ICE check to the client and its answer | the same round trip |
//! | bit rate, silence | the packets themselves | the packets themselves |
//!
//! An allocation has a [`LinkMonitor`] from its first packet on.

mod clock_rate;
mod monitor;
mod path;
mod reports;
mod round_trip;
mod rtp;
mod sequence;
mod streams;
mod values;

#[cfg(test)]
mod tests;

pub(super) use monitor::LinkMonitor;
pub(super) use path::PathEvent;
pub use reports::StreamReport;
pub use values::{LinkQuality, Loss, Quality};

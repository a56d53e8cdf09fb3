//! Byte streams between two nodes: a node passes the bytes of a client's connection to the node that has the client's
//! session.
//!
//! The messages of a tunnel are in order, and each arrives once, unless Redis loses its data. They are numbered, so that
//! a loss ends the tunnel. Each end may send as many bytes as the other one has granted.

mod flow;
mod incoming;
mod message;
mod offers;
mod registry;
mod stream;

pub(in crate::service) use incoming::TunnelAnswer;
pub use incoming::{IncomingTunnel, TunnelRequest};
pub(in crate::service) use registry::Tunnels;
pub use stream::{TunnelControl, TunnelStream};

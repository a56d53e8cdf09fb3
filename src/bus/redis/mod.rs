//! Several nodes: Redis orders who enters and leaves, and carries frames between nodes.
//!
//! Scripts in Redis keep a roster of each room with members, number its changes, and append them to the inbox,
//! a stream, of every node with members in the room. Nodes know their own connections and can restate them, so
//! Redis keeps nothing that cannot be lost.
//!
//! [`Node`] is the state machine of one node: replies and inbox entries in, commands and outputs out, without
//! sockets and clocks. [`Link`] adds the connections. The rooms are the caller's.

mod inbox;
mod link;
mod node;
mod nodes;
mod placement;
mod query;
mod records;
mod scripts;
mod sentinel;
mod server;
#[cfg(test)]
pub(crate) mod tests;

pub use link::Link;
pub use node::{Counts, Node, Output, SavedNode, Settings};
pub use nodes::{NodeInfo, node_name};
pub use scripts::{Script, Scripts};
pub use server::{Cause, LinkError, Server};

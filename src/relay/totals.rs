//! The traffic of a relay since its start.

/// Counts since the start of the process, over all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayTotals {
    /// Relayed packets.
    pub packets: u64,
    /// Bytes of application data in relayed packets.
    pub bytes: u64,
    /// Datagrams and packets that were not relayed: rejected, not taken by the kernel, lost in a full
    /// queue, or dropped by the kernel because the buffer of a listener was full.
    pub dropped: u64,
}

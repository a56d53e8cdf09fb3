//! Requests to other nodes that wait for replies: a state machine without I/O.

use std::collections::HashMap;

use crate::room::NodeId;

/// Calls that wait at the same time; further ones are refused.
const MAX_CALLS: usize = 64;
/// Bytes of a reply; a node with a longer one has not answered.
pub(super) const MAX_REPLY_BYTES: usize = 12 << 20;

/// A part of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub call: u64,
    /// The number of the part, from 0.
    pub index: u32,
    pub is_last: bool,
    pub bytes: &'a [u8],
}

/// The calls that wait.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    open: HashMap<u64, Call>,
}

#[derive(Debug, Default)]
struct Call {
    /// Nodes whose reply is awaited.
    awaited: Vec<NodeId>,
    /// Nodes that were evicted before they replied.
    evicted: Vec<NodeId>,
    /// Replies whose last part has not arrived, with the number of the next part.
    partial: HashMap<NodeId, (u32, Vec<u8>)>,
    replies: Vec<(NodeId, Vec<u8>)>,
}

/// The outcome of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replies {
    pub replies: Vec<(NodeId, Vec<u8>)>,
    /// Nodes that have not answered.
    pub silent: Vec<NodeId>,
}

impl Calls {
    /// The first call has the number after `last`.
    pub(super) fn after(last: u64) -> Calls {
        Calls {
            last,
            open: HashMap::new(),
        }
    }

    /// Begins a call to these nodes, and returns its number. `None` if too many calls wait.
    pub(super) fn begin(&mut self, nodes: Vec<NodeId>) -> Option<u64> {
        if self.open.len() >= MAX_CALLS {
            return None;
        }
        self.last += 1;
        let call = Call {
            awaited: nodes,
            ..Call::default()
        };
        self.open.insert(self.last, call);
        Some(self.last)
    }

    /// Handles a part of a reply. A node that was not listed when the call began may reply as well.
    pub(super) fn receive(&mut self, node: &NodeId, part: &Part<'_>) {
        let Some(call) = self.open.get_mut(&part.call) else {
            return;
        };
        let (next, bytes) = call.partial.entry(node.clone()).or_default();
        let is_next = *next == part.index && bytes.len() + part.bytes.len() <= MAX_REPLY_BYTES;
        if !is_next {
            // No later part fits either.
            *next = u32::MAX;
            bytes.clear();
            return;
        }
        *next += 1;
        bytes.extend_from_slice(part.bytes);
        if part.is_last {
            let (_, bytes) = call.partial.remove(node).unwrap_or_default();
            call.awaited.retain(|awaited| awaited != node);
            call.replies.push((node.clone(), bytes));
        }
    }

    /// Ends the wait for nodes that are not listed any more.
    pub(super) fn retain_nodes(&mut self, is_listed: impl Fn(&NodeId) -> bool) {
        for call in self.open.values_mut() {
            let (awaited, evicted) = std::mem::take(&mut call.awaited)
                .into_iter()
                .partition(&is_listed);
            call.awaited = awaited;
            call.evicted.extend::<Vec<_>>(evicted);
        }
    }

    /// Whether no reply is awaited.
    pub(super) fn is_complete(&self, call: u64) -> bool {
        self.open
            .get(&call)
            .is_none_or(|call| call.awaited.is_empty())
    }

    /// Ends a call. Later replies are ignored.
    pub(super) fn end(&mut self, call: u64) -> Replies {
        let call = self.open.remove(&call).unwrap_or_default();
        let mut silent = call.awaited;
        silent.extend(call.evicted);
        Replies {
            replies: call.replies,
            silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names.iter().map(|name| NodeId::from(*name)).collect()
    }

    fn receive(calls: &mut Calls, node: &str, call: u64, index: u32, is_last: bool, text: &str) {
        let part = Part {
            call,
            index,
            is_last,
            bytes: text.as_bytes(),
        };
        calls.receive(&node.into(), &part);
    }

    #[test]
    fn a_call_is_complete_when_each_node_has_sent_its_last_part() {
        let mut calls = Calls::default();
        let call = calls.begin(nodes(&["one", "two"])).unwrap();
        receive(&mut calls, "one", call, 0, true, "1");
        assert!(!calls.is_complete(call));
        receive(&mut calls, "two", call, 0, false, "long ");
        assert!(!calls.is_complete(call));
        receive(&mut calls, "two", call, 1, true, "reply");
        assert!(calls.is_complete(call));
        let expected = [
            ("one".into(), b"1".to_vec()),
            ("two".into(), b"long reply".to_vec()),
        ];
        let ended = calls.end(call);
        assert_eq!(ended.replies, expected);
        assert!(ended.silent.is_empty());
    }

    #[test]
    fn a_node_that_does_not_answer_or_is_evicted_is_silent() {
        let mut calls = Calls::default();
        let call = calls.begin(nodes(&["one", "two", "three"])).unwrap();
        calls.retain_nodes(|node| &**node != "two");
        receive(&mut calls, "one", call, 0, true, "1");
        assert!(!calls.is_complete(call));
        assert_eq!(calls.end(call).silent, nodes(&["three", "two"]));
        assert!(calls.is_complete(call));
        // Too late, and of no call.
        receive(&mut calls, "three", call, 0, true, "3");
        assert_eq!(calls.end(call), Replies::default());
    }

    #[test]
    fn a_reply_with_a_missing_part_does_not_count() {
        let mut calls = Calls::default();
        let call = calls.begin(nodes(&["one"])).unwrap();
        receive(&mut calls, "one", call, 0, false, "a");
        receive(&mut calls, "one", call, 2, false, "c");
        receive(&mut calls, "one", call, 1, true, "b");
        let ended = calls.end(call);
        assert_eq!((ended.replies.len(), ended.silent), (0, nodes(&["one"])));
    }

    #[test]
    fn waiting_calls_and_the_bytes_of_a_reply_are_limited() {
        let mut calls = Calls::default();
        let all: Vec<_> = (0..MAX_CALLS)
            .filter_map(|_| calls.begin(nodes(&["one"])))
            .collect();
        assert_eq!((all.len(), calls.begin(Vec::new())), (MAX_CALLS, None));
        let text = "x".repeat(MAX_REPLY_BYTES / 2);
        for index in 0..3 {
            receive(&mut calls, "one", all[0], index, index == 2, &text);
        }
        assert_eq!(calls.end(all[0]).replies, []);
        assert!(calls.begin(Vec::new()).is_some());
    }
}

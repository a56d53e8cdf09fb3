//! The rules that keep the rosters of several nodes equal.
//!
//! A test of several nodes switches one rule off, and must then see the rosters differ. Outside of tests all
//! rules are constant.

/// A rule that a test can switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Of two members, only the older one is notified of the newer one.
    OlderIsNotified,
    /// A node notices that entries of its inbox were removed before it read them.
    InboxIsCounted,
    /// Members on other nodes that a snapshot does not list leave: their departures may be among the removed entries.
    UnlistedMembersLeave,
    /// A receiver drops messages that it has received before.
    MessagesAreNumbered,
    /// Other nodes' members of a lost roster leave if no node restates them.
    UnconfirmedMembersLeave,
    /// A node whose members were removed once must not restate them.
    EvictedNodesStayAway,
    /// A connection that was replaced once must not be restated.
    ReplacedMembersStayAway,
    /// Restating lists no member anew that the roster has removed.
    MembersAreListedOnce,
    /// A room ends entries of its node that belong to no connection.
    UnknownEntriesEnd,
    /// A node whose roster was lost restates its members.
    LostRostersAreRestated,
    /// A node that is evicted continues with another identifier.
    EvictedNodesEnterAnew,
    /// Only those who do not know a resumed connection are notified of it.
    ResumedMembersStay,
    /// Nodes keep the time of the cluster while Redis restarts.
    TimeGoesOn,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn applies(_: Rule) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn applies(rule: Rule) -> bool {
    OFF.get() != Some(rule)
}

/// Switches a rule off for this thread, and all others on.
#[cfg(test)]
pub(crate) fn switch_off(rule: Option<Rule>) {
    OFF.set(rule);
}

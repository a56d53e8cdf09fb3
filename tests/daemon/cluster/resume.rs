//! Users whose node restarts.

use super::Client;
use crate::support::cluster::{Cluster, LONG_LEASE};

#[test]
fn users_of_a_node_that_is_replaced_return_to_any_node_and_nobody_sees_them_leave() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut alice = Client::enter(&one, "alice");
    let mut bob = Client::enter(&two, "bob");
    let mut carol = Client::enter(&two, "carol");
    alice.hears("user-joined", "bob");
    alice.hears("user-joined", "carol");
    bob.hears("user-joined", "carol");
    two.signal("USR2");
    assert_eq!((bob.close_code(), carol.close_code()), (1012, 1012));
    // A newcomer calls those who return later.
    let mut dave = Client::enter(&one, "dave");
    alice.hears("user-joined", "dave");
    two.wait_for_logs(&["\"message\":\"ready\""], 2);
    let mut bob = Client::resume(&one, "bob");
    dave.hears("user-joined", "bob");
    let mut carol = Client::resume(&two, "carol");
    dave.hears("user-joined", "carol");
    // Each of them receives this next.
    alice.reaches("alice", &mut bob, "bob");
    alice.reaches("alice", &mut carol, "carol");
    carol.reaches("carol", &mut bob, "bob");
    bob.reaches("bob", &mut alice, "alice");
    drop(bob);
    for client in [&mut alice, &mut carol, &mut dave] {
        client.hears("user-left", "bob");
    }
}

//! Tests of the handle, with fake shards.

use super::*;
use crate::credential::RevokedGenerations;
use crate::relay::fake_shard::FakeShard;
use crate::turn::SessionPage;

/// A handle for two shards.
fn handle() -> (Handle, [FakeShard; 2]) {
    let ((one, first), (other, second)) = (FakeShard::shard(), FakeShard::shard());
    let handle = Handle::with_shards(Arc::new([one, other]));
    (handle, [first, second])
}

fn free(shard: &mut FakeShard, count: usize) {
    let freed = shard.next_revocation().expect("a command");
    freed.send(count).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_count_is_the_sum_over_the_shards() {
    let (handle, [mut first, mut second]) = handle();
    for freed in [
        handle.removed("alice", 1),
        handle.left("alice", "lobby", RevokedGenerations::All, true),
        handle.closed("lobby"),
    ] {
        free(&mut first, 2);
        free(&mut second, 3);
        assert_eq!(freed.count().await, 5);
    }
    assert_eq!(Handle::default().removed("alice", 1).count().await, 0);
}

#[tokio::test]
async fn a_join_ends_the_allocations_of_an_earlier_membership_whose_end_was_not_reported() {
    let (handle, mut shard) = Handle::with_fake_shard();
    handle.joined("alice", "lobby", 0);
    assert!(shard.next_command().is_none());
    handle.joined("alice", "lobby", 2);
    let command = shard.next_command().expect("a command");
    let scope = Scope::Room("lobby".into(), RevokedGenerations::Before(2));
    assert!(matches!(command, Command::Revoke { scope: ended, .. } if ended == scope));
    // The end of the third membership is reported.
    handle.joined("alice", "lobby", 2);
    drop(handle.left("alice", "lobby", RevokedGenerations::Before(3), true));
    assert!(shard.next_revocation().is_some());
    handle.joined("alice", "lobby", 3);
    assert!(shard.next_command().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_does_not_answer_is_awaited_for_one_second() {
    let (handle, [mut first, _second]) = handle();
    let start = Instant::now();
    let freed = handle.removed("alice", 1);
    free(&mut first, 2);
    assert_eq!(freed.count().await, 2);
    assert_eq!(start.elapsed(), ANSWER_TIMEOUT);
    assert!(!handle.is_alive().await);
    assert_eq!(start.elapsed(), 2 * ANSWER_TIMEOUT);
    assert!(handle.sessions().await.is_empty());
    assert_eq!(start.elapsed(), 4 * ANSWER_TIMEOUT);
}

#[test]
fn new_settings_reach_every_shard() {
    let (handle, shards) = handle();
    let credentials = Credentials::new(&crate::secret::Secret::new("north"), &[]);
    let turn = config::Turn {
        max_channels: 7,
        ..config::Turn::default()
    };
    handle.reconfigure(&turn, &[], credentials, 1000);
    for mut shard in shards {
        let command = shard.next_command();
        assert!(matches!(command, Some(Command::Reconfigure(new)) if new.max_channels == 7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_executed_although_nobody_waits_for_its_count() {
    let (handle, [mut first, _second]) = handle();
    drop(handle.removed("alice", 1));
    assert!(matches!(first.next_command(), Some(Command::Revoke { .. })));
}

#[tokio::test(start_paused = true)]
async fn sessions_are_requested_page_by_page() {
    let (handle, shards) = handle();
    let asking = tokio::spawn(async move { handle.sessions().await });
    let mut requested = Vec::new();
    for mut shard in shards {
        for (expected, next) in [(0, Some(512)), (512, None)] {
            let (from, answer) = loop {
                match shard.next_command() {
                    Some(Command::Sessions { from, answer }) => break (from, answer),
                    _ => tokio::task::yield_now().await,
                }
            };
            assert_eq!(from, expected);
            requested.push(from);
            let sessions = Vec::new();
            answer.send(SessionPage { sessions, next }).unwrap();
        }
    }
    assert!(asking.await.unwrap().is_empty());
    assert_eq!(requested, [0, 512, 0, 512]);
}

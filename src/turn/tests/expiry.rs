//! Permissions and channels expire at their deadlines, without a packet or a request that finds
//! them expired.

use super::*;

const PERMISSION: Duration = Duration::from_secs(300);
const CHANNEL: Duration = Duration::from_secs(600);
const NANOSECOND: Duration = Duration::from_nanos(1);

impl World {
    /// The numbers of permissions and channels that the allocation of `client` holds.
    fn permissions_and_channels(&mut self, client: &Client) -> (usize, usize) {
        let table = &mut self.server.table;
        let id = table.find_by_client(&client.route).expect("an allocation");
        let allocation = table.get(id).expect("an allocation");
        (allocation.permissions.len(), allocation.channels.len())
    }

    /// Lets the time pass to `at`, one nanosecond earlier first, and calls `handle_timeout` only
    /// when a deadline has passed, as a shard does. Returns the counts before and at that time.
    fn counts_around(&mut self, client: &Client, at: Mono) -> [(usize, usize); 2] {
        [Mono(at.0 - 1), at].map(|at| {
            while let Some(deadline) = self.server.next_deadline().filter(|due| *due <= at) {
                let wait = deadline.since(self.now.mono);
                self.advance(wait);
            }
            self.now.mono = at;
            self.permissions_and_channels(client)
        })
    }
}

/// A server with a client that holds its allocation for an hour.
fn allocated_for_an_hour() -> (World, Client) {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    client.refresh(&mut world, 3600);
    (world, client)
}

#[test]
fn a_permission_is_removed_at_its_deadline() {
    let (mut world, mut client) = allocated_for_an_hour();
    world.advance(Duration::from_secs(60));
    client.permit(&mut world, &["8.8.8.8:53"]);
    let expires = world.now.mono + PERMISSION;
    assert_eq!(world.server.next_deadline(), Some(expires));
    assert_eq!(world.counts_around(&client, expires), [(1, 0), (0, 0)]);
}

#[test]
fn a_channel_is_removed_at_its_deadline_and_outlives_its_permission() {
    let (mut world, mut client) = allocated_for_an_hour();
    client.bind(&mut world, 0x4000, "8.8.8.8:53");
    let bound = world.now.mono;
    let around = world.counts_around(&client, bound + PERMISSION);
    assert_eq!(around, [(1, 1), (0, 1)]);
    let around = world.counts_around(&client, bound + CHANNEL);
    assert_eq!(around, [(0, 1), (0, 0)]);
}

#[test]
fn each_of_several_permissions_is_removed_at_its_own_deadline() {
    let (mut world, mut client) = allocated_for_an_hour();
    let first = world.now.mono;
    client.permit(&mut world, &["8.8.8.8:53"]);
    world.advance(Duration::from_secs(100));
    client.permit(&mut world, &["9.9.9.9:53"]);
    let around = world.counts_around(&client, first + PERMISSION);
    assert_eq!(around, [(2, 0), (1, 0)]);
    let second = first + Duration::from_secs(100) + PERMISSION;
    assert_eq!(world.counts_around(&client, second), [(1, 0), (0, 0)]);
}

#[test]
fn a_refresh_moves_the_deadline_of_a_permission_and_of_a_channel() {
    let (mut world, mut client) = allocated_for_an_hour();
    client.bind(&mut world, 0x4000, "8.8.8.8:53");
    world.advance(Duration::from_secs(200));
    client.bind(&mut world, 0x4000, "8.8.8.8:53");
    let refreshed = world.now.mono;
    let around = world.counts_around(&client, refreshed + PERMISSION);
    assert_eq!(around, [(1, 1), (0, 1)]);
    let around = world.counts_around(&client, refreshed + CHANNEL);
    assert_eq!(around, [(0, 1), (0, 0)]);
}

#[test]
fn a_restored_permission_and_channel_are_removed_at_their_deadlines() {
    let (mut world, mut client) = allocated_for_an_hour();
    client.bind(&mut world, 0x4000, "8.8.8.8:53");
    let bound = world.now.mono;
    world.advance(Duration::from_secs(250));
    let mut next = world.restarted(&config());
    assert_eq!(next.server.next_deadline(), Some(bound + PERMISSION));
    let around = next.counts_around(&client, bound + PERMISSION);
    assert_eq!(around, [(1, 1), (0, 1)]);
    let around = next.counts_around(&client, bound + CHANNEL);
    assert_eq!(around, [(0, 1), (0, 0)]);
}

#[test]
fn permissions_expired_during_a_restart_are_removed_by_the_first_timeout() {
    let (mut world, mut client) = allocated_for_an_hour();
    client.bind(&mut world, 0x4000, "8.8.8.8:53");
    // The previous process stopped in time and the next one starts after the deadlines.
    world.now.mono = world.now.mono + CHANNEL;
    let mut next = world.restarted(&config());
    let due = next.server.next_deadline().expect("a deadline");
    assert!(due <= next.now.mono);
    next.advance(NANOSECOND);
    assert_eq!(next.permissions_and_channels(&client), (0, 0));
}

#[test]
fn an_expired_permission_frees_its_place_in_the_quota() {
    let mut world = World::with(Config {
        settings: Settings {
            max_permissions: 1,
            ..settings()
        },
        ..config()
    });
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    client.refresh(&mut world, 3600);
    assert_eq!(client.permit(&mut world, &["8.8.8.8:53"]).code(), None);
    world.advance(PERMISSION - NANOSECOND);
    let refused = client.permit(&mut world, &["9.9.9.9:53"]);
    assert_eq!(refused.code(), Some(508));
    world.advance(NANOSECOND);
    assert_eq!(client.permit(&mut world, &["9.9.9.9:53"]).code(), None);
}

const ISSUED: u64 = 1_700_000_000;

/// A server with these settings, and a client whose credential expires after `seconds`.
fn with_credential(end_at_expiry: bool, seconds: u64) -> (World, Client) {
    let world = World::with(Config {
        settings: Settings {
            end_at_expiry,
            ..settings()
        },
        ..config()
    });
    let minted = settings().credentials.mint("alice", None, ISSUED + seconds);
    (world, Client::with("192.88.1.1:1000", minted))
}

fn is_allocated(world: &World, client: &Client) -> bool {
    world.server.table.find_by_client(&client.route).is_some()
}

#[test]
fn an_allocation_ends_with_its_credential_if_the_settings_say_so() {
    let (mut world, mut client) = with_credential(true, 700);
    assert_eq!(client.allocate(&mut world, &[]).lifetime(), 600);
    world.advance(Duration::from_secs(500));
    assert_eq!(client.refresh(&mut world, 3600).lifetime(), 200);
    world.advance(Duration::from_secs(200) - NANOSECOND);
    assert!(is_allocated(&world, &client));
    world.advance(NANOSECOND);
    assert!(!is_allocated(&world, &client));
}

#[test]
fn a_credential_that_expires_soon_shortens_the_first_lifetime() {
    let (mut world, mut client) = with_credential(true, 30);
    assert_eq!(client.allocate(&mut world, &[]).lifetime(), 30);
}

#[test]
fn a_refresh_by_an_expired_credential_is_refused_with_401_and_ends_the_allocation() {
    let (mut world, mut client) = with_credential(true, 700);
    client.allocate(&mut world, &[]);
    // The wall clock was set.
    world.now.unix += 700;
    assert_eq!(client.refresh(&mut world, 600).code(), Some(401));
    assert!(!is_allocated(&world, &client));
}

#[test]
fn an_allocation_outlives_its_credential_by_default() {
    let (mut world, mut client) = with_credential(false, 30);
    assert_eq!(client.allocate(&mut world, &[]).lifetime(), 600);
    world.advance(Duration::from_secs(60));
    assert_eq!(client.refresh(&mut world, 3600).lifetime(), 3600);
    assert!(is_allocated(&world, &client));
}

#[test]
fn the_limit_by_the_credential_holds_from_the_refresh_after_it_is_set() {
    let (mut world, mut client) = with_credential(false, 700);
    client.allocate(&mut world, &[]);
    world.server.reconfigure(Settings {
        end_at_expiry: true,
        ..settings()
    });
    world.advance(Duration::from_secs(300));
    assert_eq!(client.refresh(&mut world, 600).lifetime(), 400);
}

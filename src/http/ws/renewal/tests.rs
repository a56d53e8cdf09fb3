use super::*;

const NOW: u64 = 1_800_000_000;

fn schedule(token_end: u64, ice_due: Option<u64>) -> Schedule {
    let mut schedule = Schedule::default();
    assert!(schedule.update(Renewals {
        token_end: Some(token_end),
        ice_due,
    }));
    schedule
}

#[test]
fn a_client_is_warned_once_a_minute_before_its_token_ends() {
    let mut schedule = schedule(NOW + 100, None);
    assert_eq!(schedule.next(), Some(NOW + 40));
    assert_eq!(schedule.take_warning(NOW + 39), None);
    assert_eq!(schedule.take_warning(NOW + 40), Some(60));
    assert_eq!(schedule.take_warning(NOW + 41), None);
    assert_eq!(schedule.next(), None);
    assert_eq!(schedule.token_end(), Some(NOW + 100));
}

#[test]
fn a_client_with_a_short_token_is_warned_at_once() {
    let mut schedule = schedule(NOW + 3, None);
    assert!(schedule.next() < Some(NOW));
    assert_eq!(schedule.take_warning(NOW), Some(3));
}

#[test]
fn a_client_is_warned_of_the_end_of_each_token() {
    let mut schedule = schedule(NOW + 10, None);
    assert_eq!(schedule.take_warning(NOW), Some(10));
    let renewed = Renewals {
        token_end: Some(NOW + 3600),
        ice_due: None,
    };
    assert!(schedule.update(renewed));
    assert!(!schedule.update(renewed));
    assert_eq!(schedule.take_warning(NOW + 10), None);
    assert_eq!(schedule.next(), Some(NOW + 3540));
    assert_eq!(schedule.take_warning(NOW + 3541), Some(59));
}

#[test]
fn ice_servers_are_due_once() {
    let mut schedule = schedule(NOW + 3600, Some(NOW + 5));
    assert_eq!(schedule.next(), Some(NOW + 5));
    assert!(!schedule.take_ice(NOW + 4));
    assert!(schedule.take_ice(NOW + 5));
    assert!(!schedule.take_ice(NOW + 6));
    assert_eq!(schedule.next(), Some(NOW + 3540));
}

#[test]
fn ice_servers_that_end_with_the_token_wait_for_another_one() {
    let mut schedule = schedule(NOW + 100, Some(NOW + 70));
    assert_eq!(schedule.next(), Some(NOW + 40));
    assert_eq!(schedule.take_warning(NOW + 40), Some(60));
    assert_eq!(schedule.next(), None);
    assert!(!schedule.take_ice(NOW + 99));
    assert!(schedule.update(Renewals {
        token_end: Some(NOW + 3600),
        ice_due: Some(NOW + 70),
    }));
    assert_eq!(schedule.next(), Some(NOW + 70));
    assert!(!schedule.take_ice(NOW + 69));
    assert!(schedule.take_ice(NOW + 70));
}

#[test]
fn ice_servers_are_renewed_between_half_and_three_quarters_of_their_time() {
    let validity = Duration::from_secs(12 * 3600);
    assert_eq!(renewal_delay(validity, 0), validity / 2);
    let latest = renewal_delay(validity, u32::MAX);
    assert!(latest > validity * 74 / 100 && latest < validity * 3 / 4);
}

#[test]
fn renewals_of_many_clients_are_spread() {
    let offer = |ends_with_access| Offer {
        servers: serde_json::Value::Null,
        policy: "all",
        ttl: 43_200,
        expires: NOW + 43_200,
        ends_with_access,
        ends_allocations: false,
        relay: None,
    };
    let times: std::collections::BTreeSet<_> =
        (0..5000).map(|_| renewal_time(&offer(false))).collect();
    // About 4,000 of 10,800 seconds are used.
    assert!(times.len() > 2500, "{}", times.len());
    assert_eq!(renewal_time(&offer(true)), NOW + 43_170);
}

/// A plain connection has a pointer more than its stream needs, and no more.
#[test]
fn the_part_of_a_client_that_a_plain_one_does_not_have_is_small() {
    assert!(size_of::<Extended>() <= 192, "{}", size_of::<Extended>());
}

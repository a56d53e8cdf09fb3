//! Shared orders of certificates.

use super::*;

const LEASE: Duration = Duration::from_secs(60);
const NO_LEASE: Duration = Duration::ZERO;
const WAIT: Duration = Duration::from_secs(600);

async fn acme() -> (Fixture, SharedAcme) {
    let fixture = Fixture::postgres().await;
    let acme = fixture.store.acme().expect("on PostgreSQL");
    (fixture, acme)
}

fn challenge(is_tls_alpn: bool, name: &str) -> AcmeChallenge {
    AcmeChallenge {
        is_tls_alpn,
        name: name.to_owned(),
        key_authorization: format!("{name}.thumbprint"),
    }
}

/// Ends the order of a process that has its lease.
async fn end(acme: &SharedAcme, holder: &str) {
    let ended = acme.end_order("s", holder, AcmeResult::default()).await;
    assert!(ended.unwrap(), "{holder}");
}

#[tokio::test]
async fn a_store_on_sqlite_shares_no_certificates() {
    assert!(Fixture::new().store.acme().is_none());
}

#[tokio::test]
async fn of_many_processes_one_orders() {
    let (fixture, acme) = acme().await;
    let second = fixture.second_store().await.acme().unwrap();
    let attempts = (0..20).map(|number| {
        let acme = if number % 2 == 0 { &acme } else { &second };
        async move {
            let holder = number.to_string();
            acme.begin_order("s", &holder, LEASE, true).await.unwrap()
        }
    });
    let begun = futures_util::future::join_all(attempts).await;
    assert_eq!(begun.iter().flatten().count(), 1, "{begun:?}");
    assert!(!second.state("s").await.unwrap().may_order);
    // Another certificate is another order.
    assert!(second.state("t").await.unwrap().may_order);
    let other = second.begin_order("t", "x", LEASE, false).await.unwrap();
    assert_eq!(other, Some(None));
}

#[tokio::test]
async fn another_process_takes_over_when_the_lease_has_ended() {
    let (_fixture, acme) = acme().await;
    let begun = acme.begin_order("s", "a", NO_LEASE, false).await.unwrap();
    assert_eq!(begun, Some(None));
    assert!(acme.state("s").await.unwrap().may_order);
    let taken = acme.begin_order("s", "b", LEASE, false).await.unwrap();
    assert_eq!(taken, Some(None));
    assert!(!acme.extend_order("s", "a", LEASE).await.unwrap());
    assert!(acme.extend_order("s", "b", LEASE).await.unwrap());
    // The end of an order that was taken over ends nothing, and stores nothing.
    acme.add_challenges("s", &[challenge(false, "token")], LEASE)
        .await
        .unwrap();
    let issued = AcmeResult {
        certificate: Some(b"certificate"),
        ..AcmeResult::default()
    };
    assert!(!acme.end_order("s", "a", issued).await.unwrap());
    let state = acme.state("s").await.unwrap();
    assert!(!state.may_order);
    assert_eq!((state.challenges.len(), state.certificate), (1, None));
    assert!(acme.end_order("s", "b", issued).await.unwrap());
    let state = acme.state("s").await.unwrap();
    assert!(state.may_order);
    assert_eq!((state.challenges.len(), state.certificate), (0, Some(1)));
    let stored = acme.value("s", AcmeValue::Certificate).await.unwrap();
    assert_eq!(stored.as_deref(), Some(&b"certificate"[..]));
}

#[tokio::test]
async fn a_copy_has_account_and_certificate_and_no_order() {
    let (source, acme) = acme().await;
    for kind in [AcmeValue::Account, AcmeValue::Certificate] {
        acme.set_value("s", kind, b"\x00\xff", true).await.unwrap();
    }
    acme.begin_order("s", "a", LEASE, false).await.unwrap();
    acme.add_challenges("s", &[challenge(false, "token")], LEASE)
        .await
        .unwrap();
    let file = Fixture::new();
    let counts = copy(&source.store, "a", &file.store).await.unwrap();
    assert!(counts.contains(&("acme_values", 2)), "{counts:?}");
    let other = Fixture::postgres().await;
    copy(&file.store, "b", &other.store).await.unwrap();
    let copied = other.store.acme().unwrap();
    let account = copied.value("s", AcmeValue::Account).await.unwrap();
    assert_eq!(account.as_deref(), Some(&b"\x00\xff"[..]));
    let state = copied.state("s").await.unwrap();
    assert!(state.may_order && state.challenges.is_empty());
}

#[tokio::test]
async fn every_process_waits_after_a_failure_unless_an_admin_asks() {
    let (fixture, acme) = acme().await;
    let second = fixture.second_store().await.acme().unwrap();
    acme.begin_order("s", "a", LEASE, false).await.unwrap();
    let refused = AcmeResult {
        failure: Some((WAIT, "failures", "refused")),
        ..AcmeResult::default()
    };
    assert!(acme.end_order("s", "a", refused).await.unwrap());
    let state = second.state("s").await.unwrap();
    assert!(!state.may_order);
    let (reason, next) = state.failure.unwrap();
    let wait = next.abs_diff(clock::now().unix);
    assert!(reason == "refused" && wait.abs_diff(600) < 60, "{wait}");
    let begun = second.begin_order("s", "b", LEASE, false).await.unwrap();
    assert_eq!(begun, None);
    let begun = second.begin_order("s", "b", LEASE, true).await.unwrap();
    assert_eq!(begun, Some(Some("failures".to_owned())));
    end(&second, "b").await;
    let state = acme.state("s").await.unwrap();
    assert!(state.may_order && state.failure.is_none());
}

#[tokio::test]
async fn every_process_sees_challenges_until_the_order_ends() {
    let (fixture, acme) = acme().await;
    let second = fixture.second_store().await.acme().unwrap();
    acme.begin_order("s", "a", LEASE, false).await.unwrap();
    let challenges = [
        challenge(false, "token"),
        challenge(true, "talk.example.org"),
    ];
    acme.add_challenges("s", &challenges, LEASE).await.unwrap();
    acme.add_challenges("s", &challenges, LEASE).await.unwrap();
    assert_eq!(second.state("other").await.unwrap().challenges, challenges);
    end(&acme, "a").await;
    assert_eq!(second.state("s").await.unwrap().challenges, []);
    acme.begin_order("s", "a", LEASE, false).await.unwrap();
    acme.add_challenges("s", &challenges, NO_LEASE)
        .await
        .unwrap();
    assert_eq!(second.state("s").await.unwrap().challenges, []);
}

#[tokio::test]
async fn a_value_is_replaced_under_a_new_version_and_kept_as_a_first_one() {
    let (_fixture, acme) = acme().await;
    let kind = AcmeValue::Certificate;
    for (value, replace, expected) in [
        (b"first", false, (b"first", 1)),
        (b"files", false, (b"first", 1)),
        (b"newer", true, (b"newer", 2)),
    ] {
        acme.set_value("s", kind, value, replace).await.unwrap();
        let stored = acme.value("s", kind).await.unwrap();
        assert_eq!(stored.as_deref(), Some(&expected.0[..]));
        let version = acme.state("s").await.unwrap().certificate;
        assert_eq!(version, Some(expected.1));
    }
    assert_eq!(acme.value("s", AcmeValue::Account).await.unwrap(), None);
    acme.delete_value("s", kind).await.unwrap();
    assert_eq!(acme.value("s", kind).await.unwrap(), None);
}

//! Validity of tokens after they were ended.

use super::*;
use crate::token::Issue;

#[test]
fn tokens_issued_before_a_sign_out_are_rejected_and_later_ones_accepted() {
    let never = TokenCutoff::default();
    let own = |generation| Issue::Own { generation };
    let at = |at| Issue::Foreign { at };
    assert!(never.accepts(own(0)) && never.accepts(at(None)) && never.accepts(at(Some(0))));
    // A future generation was issued before a backup was restored.
    assert!(!never.accepts(own(1)));
    let ended = TokenCutoff {
        generation: 2,
        from: Some(NOW),
    };
    for old in [
        own(0),
        own(1),
        own(3),
        at(None),
        at(Some(NOW - 1)),
        at(Some(NOW)),
    ] {
        assert!(!ended.accepts(old), "{old:?}");
    }
    assert!(ended.accepts(own(2)) && ended.accepts(at(Some(NOW + 1))));
}

async fn a_sign_out_a_new_password_and_a_disabling_end_tokens_and_an_enabling_does_not(
    fixture: Fixture,
) {
    let alice = fixture.user("alice").await;
    let generation = async || {
        fixture
            .found(&alice)
            .await
            .expect("alice")
            .token_cutoff
            .generation
    };
    let store = &fixture.store;
    assert_eq!(generation().await, 0);
    let signed_out = store.sign_out(&alice, NOW).await.unwrap().expect("alice");
    assert_eq!(signed_out.token_cutoff.from, Some(NOW));
    store
        .set_password(&alice, "x", NOW)
        .await
        .unwrap()
        .expect("alice");
    store.disable_user(&alice, NOW).await.unwrap();
    assert_eq!(generation().await, 3);
    store.disable_user(&alice, NOW).await.unwrap();
    store.enable_user(&alice).await.unwrap();
    assert_eq!(generation().await, 3);
    let refused = store.revocations(NOW, &Changes::Everything).await.unwrap();
    assert_eq!(refused.generations, [(alice.clone(), 3)]);
    store.delete_user(&alice, NOW).await.unwrap();
    assert_eq!(store.sign_out(&alice, NOW).await.unwrap(), None);
    assert_eq!(store.sign_out("nobody", NOW).await.unwrap(), None);
}

on_every_backend!(a_sign_out_a_new_password_and_a_disabling_end_tokens_and_an_enabling_does_not,);

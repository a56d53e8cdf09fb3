//! Query plans.

use super::*;
use crate::storage::sqlite::{expiry, messages};

#[tokio::test]
async fn a_list_of_invites_is_limited_and_needs_no_sorting() {
    let fixture = Fixture::new();
    fixture.room("r", false, None).await;
    fixture.fill_invites(5000);
    for room in [Some("r"), None] {
        let listed = fixture.store.invites(room, NOW, 10).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|invite| invite.id.as_str()).collect();
        assert_eq!((ids[0], ids.len()), ("i000001", 10));
        let plan = format!(
            "EXPLAIN QUERY PLAN {}",
            crate::storage::sqlite::invites::list_sql(room.is_some())
        );
        let other = fixture.other();
        let mut statement = other.prepare(&plan).unwrap();
        let steps: Vec<String> = statement
            .query_map((room, "", 10), |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let plan = steps.join("\n");
        assert!(plan.contains("USING INDEX invites_open"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn the_check_that_nothing_references_a_deleted_user_uses_an_index() {
    let fixture = Fixture::new();
    let unindexed: Option<String> = fixture
        .other()
        .query_row(
            r#"SELECT group_concat(t.name || '.' || f."from")
               FROM sqlite_schema t, pragma_foreign_key_list(t.name) f
               WHERE f."table" = 'users' AND NOT EXISTS (
                   SELECT 1 FROM pragma_index_list(t.name) l, pragma_index_info(l.name) i
                   LEFT JOIN sqlite_schema s ON s.name = l.name
                   WHERE i.seqno = 0 AND i.name = f."from"
                     AND (NOT l.partial OR s.sql LIKE '% WHERE ' || f."from" || ' IS NOT NULL'))"#,
            (),
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(unindexed, None);
}

/// The steps of a query's plan.
fn plan(fixture: &Fixture, sql: &str, parameters: impl rusqlite::Params) -> Vec<String> {
    let other = fixture.other();
    let mut statement = other.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.query_map(parameters, |row| row.get(3)).unwrap();
    steps.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn old_messages_and_the_first_one_for_a_newcomer_are_found_by_an_index() {
    let fixture = Fixture::new();
    let old = plan(&fixture, messages::OLD, ("", 10));
    let page = plan(&fixture, &messages::page(), ("r", Some("alice"), 5, 10));
    let by_time =
        |step: &String| step.contains("COVERING INDEX messages_by_time (room_id=? AND created_at");
    assert!(old.iter().any(by_time), "{old:?}");
    assert!(page.iter().any(by_time), "{page:?}");
    let by_id =
        |step: &String| step.contains("INDEX messages_by_room (room_id=? AND id>? AND id<?)");
    assert!(page.iter().any(by_id), "{page:?}");
    let of_messages = |step: &&String| step.starts_with("SCAN") && step.contains("messages");
    let scans: Vec<_> = old.iter().chain(&page).filter(of_messages).collect();
    assert!(scans.is_empty(), "{scans:?}");
}

#[test]
fn audit_entries_beyond_the_limit_are_found_without_a_scan_of_all() {
    let fixture = Fixture::new();
    let excess = plan(&fixture, expiry::DELETE_EXCESS_AUDIT, ("", 10));
    assert!(
        excess
            .iter()
            .any(|step| step.contains("INDEX audit_by_time (at>?)")),
        "{excess:?}"
    );
    let is_scan = |step: &String| step.starts_with("SCAN room_audit") || step.starts_with("SCAN e");
    assert!(!excess.iter().any(is_scan), "{excess:?}");
}

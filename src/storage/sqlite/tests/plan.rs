//! Query plans.

use super::*;

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

//! Query plans of the periodic cleanup.

use super::super::{expiry, messages};
use super::*;

#[tokio::test]
async fn the_cleanup_scans_no_whole_table_of_messages_or_audit_entries() {
    let fixture = Fixture::postgres().await;
    let database = fixture.database.as_ref().unwrap();
    database.sql(
        "SET search_path = parlor;
         INSERT INTO users (id, name, display_name) VALUES ('alice', 'alice', 'Alice');
         INSERT INTO coworking_rooms (id, name) SELECT 'r' || i, 'r' || i FROM generate_series(1, 200) i;
         INSERT INTO room_audit (room_id, at, action)
             SELECT 'r' || (i % 200 + 1), '2023-01-01'::timestamptz + i * interval '1 minute', 'lock'
             FROM generate_series(1, 20000) i;
         INSERT INTO room_messages (room_id, user_id, content, created_at)
             SELECT 'r' || (i % 200 + 1), 'alice', 'text', '2023-01-01'::timestamptz + i * interval '1 minute'
             FROM generate_series(1, 20000) i",
    );
    database.sql("ANALYZE parlor.room_audit, parlor.room_messages, parlor.coworking_rooms");
    for (sql, parameters) in [
        (expiry::DELETE_OLD_AUDIT, "timestamptz) AS"),
        (expiry::DELETE_EXCESS_AUDIT, "timestamptz, bigint) AS"),
        (messages::DELETE_OLD, "timestamptz, bigint) AS"),
    ] {
        let limit = if parameters.contains("bigint") {
            ", 1000"
        } else {
            ""
        };
        // The first of these minutes, or the last of them.
        let time = if sql == expiry::DELETE_EXCESS_AUDIT {
            "2023-01-14"
        } else {
            "2023-01-02"
        };
        let plan = database.sql(&format!(
            "SET search_path = parlor; PREPARE cleanup ({parameters} {sql};
             EXPLAIN EXECUTE cleanup ('{time}'{limit})"
        ));
        for table in ["room_audit", "room_messages"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
        }
    }
}

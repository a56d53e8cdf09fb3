//! A join waits for a change that is about to commit, and takes it into account.

use tokio_postgres::NoTls;

use super::*;

/// How long a join that does not wait gets to finish wrongly.
const PAUSE: Duration = Duration::from_millis(200);

/// A transaction of another process.
enum Transaction {
    Sqlite(Connection),
    Postgres(tokio_postgres::Client),
}

impl Transaction {
    async fn begin(fixture: &Fixture, sql: &str) -> Transaction {
        let Some(database) = &fixture.database else {
            let other = fixture.other();
            other
                .execute_batch(&format!("BEGIN IMMEDIATE; {sql}"))
                .unwrap();
            return Transaction::Sqlite(other);
        };
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let sql = format!("SET search_path = parlor; BEGIN; {sql}");
        client.batch_execute(&sql).await.unwrap();
        Transaction::Postgres(client)
    }

    async fn commit(self) {
        match self {
            Transaction::Sqlite(connection) => connection.execute_batch("COMMIT").unwrap(),
            Transaction::Postgres(client) => client.batch_execute("COMMIT").await.unwrap(),
        }
    }
}

async fn a_join_waits_for_a_change_that_is_about_to_commit(fixture: Fixture) {
    const TIME: &str = "'2020-01-01T00:00:00Z'";
    let ban = match &fixture.database {
        Some(_) => "SELECT ban('ROOM', 'USER', NULL, NULL, true, 10, now())".to_owned(),
        None => format!(
            "INSERT INTO room_bans (room_id, user_id, created_at) VALUES ('ROOM', 'USER', {TIME})"
        ),
    };
    let cases = [
        (
            format!("UPDATE users SET disabled_at = {TIME} WHERE id = 'USER'"),
            Err(JoinError::UserDisabled),
        ),
        (
            format!("UPDATE users SET deleted_at = {TIME} WHERE id = 'USER'"),
            Err(JoinError::NoSuchUser),
        ),
        (
            format!("UPDATE coworking_rooms SET closed_at = {TIME} WHERE id = 'ROOM'"),
            Err(JoinError::RoomClosed),
        ),
        (
            "UPDATE coworking_rooms SET max_participants = 1 WHERE id = 'ROOM'".to_owned(),
            Err(JoinError::RoomFull),
        ),
        (ban, Err(JoinError::Banned { until: None })),
        (
            format!("UPDATE room_participants SET left_at = {TIME} WHERE room_id = 'ROOM'"),
            Ok(()),
        ),
    ];
    for (number, (sql, expected)) in cases.into_iter().enumerate() {
        let (room, user) = (format!("room-{number}"), format!("user-{number}"));
        fixture.room(&room, false, None).await;
        fixture.store.provision(&user, None).await.unwrap();
        fixture.store.provision("other", None).await.unwrap();
        fixture.join(&room, "other").await.unwrap();
        if expected.is_ok() {
            fixture.join(&room, &user).await.unwrap();
        }
        let sql = sql.replace("ROOM", &room).replace("USER", &user);
        let transaction = Transaction::begin(&fixture, &sql).await;
        let joining = {
            let (store, room, user) = (fixture.store.clone(), room.clone(), user.clone());
            async move { store.join(&room, &user, JoinGrant::None, NOW).await }
        };
        let mut joining = tokio::spawn(joining);
        let early = tokio::time::timeout(PAUSE, &mut joining).await;
        assert!(early.is_err(), "{sql}: {early:?}");
        transaction.commit().await;
        assert_eq!(joining.await.unwrap().map(drop), expected, "{sql}");
        let is_member = fixture.members(&room).await.contains(&user);
        assert_eq!(is_member, expected.is_ok(), "{sql}");
    }
}

on_every_backend!(a_join_waits_for_a_change_that_is_about_to_commit);

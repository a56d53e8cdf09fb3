//! A call waits for a change that is about to commit, and takes it into account.

use tokio_postgres::NoTls;

use super::*;
use crate::storage::utc;

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

/// Runs a call while a transaction of another process is open, which must make the call wait.
async fn beside<T: Send + std::fmt::Debug + 'static>(
    fixture: &Fixture,
    sql: &str,
    call: impl Future<Output = T> + Send + 'static,
) -> T {
    let transaction = Transaction::begin(fixture, sql).await;
    let mut running = tokio::spawn(call);
    let early = tokio::time::timeout(PAUSE, &mut running).await;
    assert!(early.is_err(), "{sql}: {early:?}");
    transaction.commit().await;
    running.await.unwrap()
}

async fn join_beside(
    fixture: &Fixture,
    room: &str,
    user: &str,
    sql: &str,
) -> Result<(), JoinError> {
    let (store, room, user) = (fixture.store.clone(), room.to_owned(), user.to_owned());
    let joining = async move { store.join(&room, &user, JoinGrant::None, NOW).await };
    beside(fixture, sql, joining).await.map(drop)
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
        let joined = join_beside(&fixture, &room, &user, &sql).await;
        assert_eq!(joined, expected, "{sql}");
        let is_member = fixture.members(&room).await.contains(&user);
        assert_eq!(is_member, expected.is_ok(), "{sql}");
    }
}

async fn a_join_waits_for_a_kick_that_is_about_to_commit(fixture: Fixture) {
    let (past, until) = (utc::format(NOW - 60), utc::format(NOW + 60));
    let whose = "room_id = 'r' AND user_id = 'USER'";
    fixture.room("r", false, None).await;
    for (user, was_member, is_member, sql) in [
        (
            "newcomer",
            false,
            false,
            format!(
                "INSERT INTO room_participants (room_id, user_id, joined_at, left_at, kicked_until)
                 VALUES ('r', 'USER', '{past}', '{past}', '{until}')"
            ),
        ),
        (
            "former",
            true,
            false,
            format!("UPDATE room_participants SET kicked_until = '{until}' WHERE {whose}"),
        ),
        (
            "member",
            true,
            true,
            format!(
                "UPDATE room_participants SET left_at = '{past}', kicked_until = '{until}' WHERE {whose}"
            ),
        ),
    ] {
        fixture.store.provision(user, None).await.unwrap();
        if was_member {
            fixture.join("r", user).await.unwrap();
        }
        if !is_member {
            fixture.store.leave("r", user, NOW).await.unwrap();
        }
        let sql = sql.replace("USER", user);
        let joined = join_beside(&fixture, "r", user, &sql).await;
        assert_eq!(joined, Err(JoinError::Kicked { wait: 60 }), "{user}");
        assert!(fixture.members("r").await.is_empty());
    }
}

async fn an_invite_waits_for_its_revocation_that_is_about_to_commit(fixture: Fixture) {
    fixture.room("r", true, None).await;
    fixture.store.provision("alice", None).await.unwrap();
    let revoke = |invite: &Invite| {
        let now = utc::format(NOW);
        format!(
            "UPDATE room_invites SET revoked_at = '{now}' WHERE id = '{}'",
            invite.id
        )
    };
    let invite = fixture.invite("r", None).await;
    let (store, text) = (fixture.store.clone(), invite.text.expose().to_owned());
    let redeeming = async move {
        let redeemed = store.redeem_invite(None, &text, "Guest", NOW, NOW + 60);
        redeemed.await
    };
    let redeemed = beside(&fixture, &revoke(&invite), redeeming).await;
    assert_eq!(redeemed, Err(InviteError::Revoked));
    let invite = fixture.invite("r", None).await;
    let (store, text) = (fixture.store.clone(), invite.text.expose().to_owned());
    let joining = async move {
        let joined = store.join("r", "alice", JoinGrant::Invite(text), NOW);
        joined.await
    };
    let joined = beside(&fixture, &revoke(&invite), joining).await;
    assert_eq!(joined, Err(JoinError::InviteRevoked));
}

async fn no_message_is_written_past_a_change_that_is_about_to_commit(fixture: Fixture) {
    let past = utc::format(NOW - 60);
    for (user, sql, error) in [
        (
            "disabled",
            format!("UPDATE users SET disabled_at = '{past}' WHERE id = 'disabled'"),
            MessageError::Author(JoinError::UserDisabled),
        ),
        (
            "deleted",
            format!("UPDATE users SET deleted_at = '{past}' WHERE id = 'deleted'"),
            MessageError::Author(JoinError::NoSuchUser),
        ),
        (
            "former",
            format!("UPDATE room_participants SET left_at = '{past}' WHERE user_id = 'former'"),
            MessageError::NotAMember,
        ),
    ] {
        fixture.room(user, false, None).await;
        fixture.store.provision(user, None).await.unwrap();
        fixture.join(user, user).await.unwrap();
        let store = fixture.store.clone();
        let message = NewMessage {
            room_id: user.to_owned(),
            user_id: user.to_owned(),
            content: "text".to_owned(),
        };
        let posting = async move { store.post_message(message, 0, NOW).await };
        let posted = beside(&fixture, &sql, posting).await;
        assert_eq!(posted, Err(error), "{user}");
        assert_eq!(fixture.count("room_messages"), 0);
    }
}

async fn joins_that_wait_for_a_new_limit_take_the_last_place_once(fixture: Fixture) {
    const CALLERS: usize = 6;
    for round in 0..5 {
        let room = format!("room-{round}");
        fixture.room(&room, false, None).await;
        for user in 0..CALLERS {
            let user = format!("user-{user}");
            fixture.store.provision(&user, None).await.unwrap();
        }
        let sql = format!("UPDATE coworking_rooms SET max_participants = 1 WHERE id = '{room}'");
        let transaction = Transaction::begin(&fixture, &sql).await;
        let joining = (0..CALLERS).map(|user| {
            let (store, room) = (fixture.store.clone(), room.clone());
            tokio::spawn(async move {
                let user = format!("user-{user}");
                store.join(&room, &user, JoinGrant::None, NOW).await
            })
        });
        let joining: Vec<_> = joining.collect();
        // Most of them wait by then; the number of places does not depend on it.
        tokio::time::sleep(PAUSE).await;
        transaction.commit().await;
        let mut joined = 0;
        for one in joining {
            match one.await.unwrap() {
                Ok(_) => joined += 1,
                Err(error) => assert_eq!(error, JoinError::RoomFull),
            }
        }
        assert_eq!(joined, 1);
    }
}

on_every_backend!(
    a_join_waits_for_a_change_that_is_about_to_commit,
    a_join_waits_for_a_kick_that_is_about_to_commit,
    an_invite_waits_for_its_revocation_that_is_about_to_commit,
    no_message_is_written_past_a_change_that_is_about_to_commit,
    joins_that_wait_for_a_new_limit_take_the_last_place_once,
);

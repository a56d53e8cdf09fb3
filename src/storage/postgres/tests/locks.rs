//! The order of row locks: any changes of the same rows may run beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::storage::{
    BanError, Cause, ChangeError, CreateError, InviteError, JoinError, MessageError, NewBan,
    NewInvite, NewMessage, NewRole, NewRoom, RoleChange, RoleError, Store,
};

/// Number of callers, and of changes by each.
const CALLERS: u64 = 8;
const CHANGES: u32 = 600;
/// Number of users, and of rooms, at a time.
const USERS: usize = 5;
const ROOMS: usize = 2;

/// The users and rooms of all callers. A deleted one is followed by another with the next number.
#[derive(Default)]
struct Names {
    users: [AtomicU32; USERS],
    rooms: [AtomicU32; ROOMS],
}

/// Makes changes at random.
struct Caller {
    store: Store,
    names: Arc<Names>,
    random: ChaCha12Rng,
    invites: Vec<(String, String)>,
    guests: Vec<String>,
}

impl Caller {
    fn user(&mut self) -> (usize, String) {
        let slot = self.random.random_range(0..USERS);
        let number = self.names.users[slot].load(Ordering::Relaxed);
        (slot, format!("user-{slot}-{number}"))
    }

    /// One of the users, or of the guests of this caller.
    fn person(&mut self) -> String {
        match self.guests.last() {
            Some(guest) if self.random.random_range(0..4) == 0 => guest.clone(),
            _ => self.user().1,
        }
    }

    fn room(&mut self) -> (usize, String) {
        let slot = self.random.random_range(0..ROOMS);
        let number = self.names.rooms[slot].load(Ordering::Relaxed);
        (slot, format!("room-{slot}-{number}"))
    }

    async fn change(&mut self) -> Result<(), StoreError> {
        let store = self.store.clone();
        let ((user_slot, user), (room_slot, room)) = (self.user(), self.room());
        let person = self.person();
        match self.random.random_range(0..32) {
            0..6 => {
                let grant = match self.invites.last() {
                    Some((_, text)) if self.random.random() => JoinGrant::Invite(text.clone()),
                    _ => JoinGrant::Token,
                };
                if let Err(JoinError::Store(error)) = store.join(&room, &person, grant, NOW).await {
                    return Err(error);
                }
            }
            6..8 => {
                store.leave(&room, &person, NOW).await?;
            }
            8 => {
                store
                    .kick(&room, &person, NOW, Cause::default(), NOW)
                    .await?;
            }
            9..12 => {
                let ban = NewBan {
                    room_id: room,
                    user_id: person,
                    until: Some(NOW + 60),
                    cause: Cause::default(),
                    keep_invite: false,
                };
                if let Err(BanError::Store(error)) = store.ban(ban, NOW).await {
                    return Err(error);
                }
            }
            12 => {
                store.unban(&room, &person, Cause::default(), NOW).await?;
            }
            13 | 14 => {
                store.delete_user(&user, NOW).await?;
                self.names.users[user_slot].fetch_add(1, Ordering::Relaxed);
                self.provide().await?;
            }
            15 => {
                store.delete_room(&room, NOW).await?;
                self.names.rooms[room_slot].fetch_add(1, Ordering::Relaxed);
                self.provide().await?;
            }
            16 => {
                store.close_room(&room, NOW).await?;
                self.names.rooms[room_slot].fetch_add(1, Ordering::Relaxed);
                self.provide().await?;
            }
            17..21 => {
                let new = NewInvite {
                    room_id: room,
                    created_by: Some(user),
                    ttl: Duration::from_secs(3600),
                    uses: Some(5),
                };
                match store.create_invite(new).await {
                    Ok(invite) => self
                        .invites
                        .push((invite.id, invite.text.expose().to_owned())),
                    Err(InviteError::Store(error)) => return Err(error),
                    Err(_) => {}
                }
            }
            21 => {
                if let Some((id, _)) = self.invites.pop() {
                    store.revoke_invite(None, &id, NOW).await?;
                }
            }
            22..25 => {
                if let Some((_, text)) = self.invites.last() {
                    let redeemed = store.redeem_invite(None, text, "Guest", NOW, NOW + 60);
                    match redeemed.await {
                        Ok(guest) => self.guests.push(guest.id),
                        Err(InviteError::Store(error)) => return Err(error),
                        Err(_) => {}
                    }
                }
            }
            25 | 26 => {
                store.disable_user(&user, NOW).await?;
                store.enable_user(&user).await?;
            }
            27 => {
                let message = NewMessage {
                    room_id: room,
                    user_id: person,
                    content: "text".to_owned(),
                };
                if let Err(MessageError::Store(error)) = store.post_message(message, 1, NOW).await {
                    return Err(error);
                }
            }
            29 => {
                let role = [NewRole::Owner, NewRole::Moderator, NewRole::Member];
                let change = RoleChange {
                    room_id: room,
                    user_id: user,
                    role: role[self.random.random_range(0..3)],
                    cause: Cause::default(),
                    as_owner: false,
                };
                if let Err(RoleError::Store(error)) = store.set_role(change, NOW).await {
                    return Err(error);
                }
            }
            30 => {
                let locked = self.random.random();
                let change = store.lock_room(&room, locked, Cause::default(), NOW);
                if let Err(ChangeError::Store(error)) = change.await {
                    return Err(error);
                }
            }
            28 => {
                store.end_expired_guests(NOW + 60).await?;
            }
            _ => store.delete_expired(NOW + 61).await?,
        }
        Ok(())
    }

    /// Creates the users and rooms that do not exist yet.
    async fn provide(&self) -> Result<(), StoreError> {
        for (slot, number) in self.names.users.iter().enumerate() {
            let user = format!("user-{slot}-{}", number.load(Ordering::Relaxed));
            if let Err(CreateError::Store(error)) = self.store.provision(&user, None).await {
                return Err(error);
            }
        }
        for (slot, number) in self.names.rooms.iter().enumerate() {
            let id = format!("room-{slot}-{}", number.load(Ordering::Relaxed));
            let room = NewRoom {
                id: Some(id.clone()),
                name: id,
                private: true,
                max_participants: (slot == 0).then_some(3),
                owner_id: None,
            };
            if let Err(CreateError::Store(error)) = self.store.create_room(room).await {
                return Err(error);
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_the_same_rows_never_deadlock() {
    let server = Server::start_with("-c fsync=off -c deadlock_timeout=20ms", |_| {});
    let database = server.create(None);
    let store = connect(&database).await.unwrap();
    // Locks are held a little longer, so that more of them meet.
    database.sql(
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(random() * 0.003);
             RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
         END $$;
         CREATE TRIGGER pause BEFORE INSERT OR UPDATE OR DELETE ON parlor.room_participants
             FOR EACH ROW EXECUTE FUNCTION pause();
         CREATE TRIGGER pause BEFORE INSERT OR UPDATE OR DELETE ON parlor.room_invites
             FOR EACH ROW EXECUTE FUNCTION pause();
         CREATE TRIGGER pause BEFORE INSERT OR UPDATE OR DELETE ON parlor.room_bans
             FOR EACH ROW EXECUTE FUNCTION pause();
         CREATE TRIGGER pause BEFORE INSERT OR UPDATE OR DELETE ON parlor.room_moderators
             FOR EACH ROW EXECUTE FUNCTION pause();
         CREATE TRIGGER pause BEFORE INSERT OR UPDATE OR DELETE ON parlor.users
             FOR EACH ROW EXECUTE FUNCTION pause()",
    );
    let names = Arc::new(Names::default());
    let callers = (0..CALLERS).map(|seed| {
        let mut caller = Caller {
            store: store.clone(),
            names: names.clone(),
            random: ChaCha12Rng::seed_from_u64(seed),
            invites: Vec::new(),
            guests: Vec::new(),
        };
        tokio::spawn(async move {
            caller.provide().await.unwrap();
            for _ in 0..CHANGES {
                caller.change().await.unwrap();
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let ends = database.sql(
        "SELECT count(left_at) > 100, count(kicked_until) > 0,
                (SELECT count(*) > 10 FROM parlor.users WHERE deleted_at IS NOT NULL)
         FROM parlor.room_participants",
    );
    assert_eq!(ends, "t|t|t");
    // Connections report their numbers when they end.
    drop(store);
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    database.sql(&format!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
         WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    ));
    let deadlocks =
        database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    let log = database.sql("SELECT pg_read_file('../log')");
    assert_eq!(deadlocks, "0", "{log}");
}

//! A PostgreSQL server that fails, as clients see it.

use std::time::Duration;

use super::world::{Client, LOBBY, SECRET, World, offer, presence};
use crate::support::Builder;
use crate::support::http::Client as Http;
use crate::support::namespace::{may_mount, mount};
use crate::support::postgres::{Server, can_run, server};

/// A daemon that creates the users of the tokens it gets.
fn builder() -> Builder {
    Builder::new()
        .env("SECRET_KEY", SECRET)
        .env("PARLOR_AUTH__PROVISION_USERS", "true")
}

#[test]
fn a_failing_server_ends_no_connection_and_newcomers_get_503_and_4000() {
    let server = Server::start();
    let daemon = builder().on(server).start();
    let world = World::of(daemon);
    let mut members = world.lobby(["alice", "bob"]);
    world.join(LOBBY, "carol");
    server.kill();
    assert_only_members_are_served(&world, &mut members);
    server.restart();
    assert_all_are_served(&world, &mut members);
    server.freeze();
    assert_only_members_are_served(&world, &mut members);
    server.resume();
    assert_all_are_served(&world, &mut members);
}

#[test]
fn a_change_that_could_not_be_read_ends_access_when_the_store_answers_again() {
    let server = Server::start_with("-c fsync=off -c max_prepared_transactions=2", |_| {});
    let daemon = builder().on(server).start();
    let world = World::of(daemon);
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    // parlor reads this table together with the revocations, but not with the polls.
    world
        .daemon
        .sql("BEGIN; LOCK TABLE room_bans IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'lock'");
    world.write_outside("UPDATE users SET disabled_at = now() WHERE id = 'alice'");
    let failed = "reading the changes of another process failed";
    world.daemon.wait_for_log(failed);
    world.daemon.sql("SELECT 1;; COMMIT PREPARED 'lock'");
    assert_eq!(alice.close_code(), 4005);
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
    // The list of revocations as well, not only the connections.
    let disabled = "user disabled or deleted by another process";
    world.daemon.wait_for_log(disabled);
    // Now a change is noticed at once, without a failure.
    world.write_outside("UPDATE users SET token_generation = 9 WHERE id = 'bob'");
    assert_eq!(bob.close_code(), 4001);
    let log = world.daemon.log();
    assert_eq!(log.iter().filter(|line| line.contains(failed)).count(), 1);
}

#[test]
fn a_join_whose_commit_stalls_gets_503_and_when_to_try_again() {
    let daemon = builder().on(Server::start()).start();
    let world = World::of(daemon);
    let token = world.token("carol");
    world.http(&token).get("/api/rooms").ok();
    // In place of a slow disk: no timeout of the server ends a commit.
    world.daemon.sql(
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(7); RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON room_participants
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stall()",
    );
    let answer = join(&world);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[test]
fn a_server_whose_lock_another_parlor_has_taken_serves_on_and_is_not_ready() {
    let database = server().create(None);
    let daemon = builder().env("PARLOR_STORE__URL", &database.url()).start();
    let world = World::of(daemon);
    let mut members = world.lobby(["alice", "bob"]);
    let lost = "another parlor uses the database";
    let first = database.lock_sessions(true);
    database.terminate(&first);
    wait_until(|| database.lock_sessions(true).len() == 1);
    assert_ne!(database.lock_sessions(true), first);
    assert!(!world.daemon.log().iter().any(|line| line.contains(lost)));
    // The session of this psql is the next in the queue.
    let other =
        database.session("SELECT pg_advisory_lock(1886547058, 1936028278);; SELECT pg_sleep(600)");
    wait_until(|| !database.lock_sessions(false).is_empty());
    let of_other = database.lock_sessions(false);
    database.terminate(&database.lock_sessions(true));
    world.daemon.wait_for_log(lost);
    let readiness = Http::new(world.daemon.http()).get("/readyz");
    assert_eq!(readiness.status, 503);
    assert_eq!(readiness.json()["checks"]["store"], lost);
    join(&world).ok();
    assert_members_are_served(&mut members);
    let last_attempt = || {
        database.sql(
            "SELECT max(query_start) FROM pg_stat_activity
             WHERE query LIKE '%objsubid = 2%' AND pid <> pg_backend_pid()",
        )
    };
    for _ in 0..2 {
        let known = last_attempt();
        wait_until(|| last_attempt() != known);
    }
    assert_eq!(database.lock_sessions(true), of_other);
    database.terminate(&of_other);
    drop(other);
    let restored = "no other parlor uses the database any more";
    world.daemon.wait_for_log(restored);
    assert_all_are_served(&world, &mut members);
    let lines = world.daemon.log();
    let reported = |line: &&String| line.contains(lost) && !line.contains("not ready");
    assert_eq!(lines.iter().filter(reported).count(), 1);
}

#[test]
fn a_full_disk_of_the_server_ends_no_connection_and_loses_no_acknowledged_join() {
    let name = "wire::store_faults::a_full_disk_of_the_server_ends_no_connection_and_loses_no_acknowledged_join";
    if !may_mount(name) {
        return;
    }
    if !can_run() {
        eprintln!("{name}: left out, since PostgreSQL does not run as root");
        return;
    }
    let server = Server::start_with("-c fsync=off -c autovacuum=off", |_| {});
    let database =
        server.create_on_disk(|disk| mount(&["-t", "tmpfs", "-o", "size=24m", "none", disk]));
    let daemon = builder().env("PARLOR_STORE__URL", &database.url()).start();
    let world = World::of(daemon);
    let mut members = world.lobby(["alice", "bob"]);
    database.sql("CREATE TABLE filler (filler text)");
    let fill = "INSERT INTO filler SELECT repeat('x', 2000) FROM generate_series(1, 100000)";
    assert_eq!(database.refused(fill), "53100");
    // The last pages of the tables have some space.
    let mut acknowledged = Vec::new();
    let refused = (0..2000).find_map(|number| {
        let user = format!("user-{number}");
        let http = world.http(&world.token(&user));
        let answer = http.post(&format!("/api/rooms/{LOBBY}/join"));
        if answer.status == 503 {
            return Some(answer);
        }
        answer.ok();
        acknowledged.push(user);
        None
    });
    let refused = refused.expect("a join without space");
    assert_eq!(refused.header("retry-after"), Some("5"));
    let health = Http::new(world.daemon.http());
    let readiness = health.get("/readyz");
    assert_eq!(readiness.status, 503);
    let full = "the disk of the PostgreSQL server is full";
    assert_eq!(readiness.json()["checks"]["store"], full);
    assert_eq!(health.get("/healthz").status, 200);
    assert_members_are_served(&mut members);
    database.sql("DROP TABLE filler");
    assert_all_are_served(&world, &mut members);
    let participants = world
        .http(&world.token("alice"))
        .get(&format!("/api/rooms/{LOBBY}/participants"))
        .ok();
    let participants = participants["participants"].to_string();
    assert!(!acknowledged.is_empty());
    for user in acknowledged {
        assert!(participants.contains(&format!("\"{user}\"")), "{user}");
    }
}

fn wait_until(is_done: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the condition is not met");
}

fn join(world: &World) -> crate::support::http::Answer {
    let carol = world.http(&world.token("carol"));
    carol.post(&format!("/api/rooms/{LOBBY}/join"))
}

fn assert_only_members_are_served(world: &World, members: &mut [Client; 2]) {
    let answer = join(world);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("5"));
    let health = Http::new(world.daemon.http());
    let readiness = health.get("/readyz");
    assert_eq!(readiness.status, 503);
    let checks = readiness.json()["checks"].clone();
    assert_eq!(checks["relay"], "ok");
    assert_ne!(checks["store"], "ok");
    assert_eq!(health.get("/healthz").status, 200);
    let mut newcomer = world.connect(LOBBY, &world.token("carol"));
    assert_eq!(newcomer.close_code(), 4000);
    assert_members_are_served(members);
}

fn assert_all_are_served(world: &World, members: &mut [Client; 2]) {
    let health = Http::new(world.daemon.http());
    wait_until(|| health.get("/readyz").status == 200);
    join(world).ok();
    assert_members_are_served(members);
}

fn assert_members_are_served([alice, bob]: &mut [Client; 2]) {
    let message = offer("alice", Some("bob"), "still here");
    alice.send(&message);
    assert_eq!(bob.read(), message);
}

//! A PostgreSQL server that fails, as clients see it.

use std::time::Duration;

use super::world::{LOBBY, SECRET, World, offer};
use crate::support::Builder;
use crate::support::http::Client as Http;
use crate::support::postgres::Server;

#[test]
fn a_failing_server_ends_no_connection_and_newcomers_are_told_to_come_back() {
    let server = Server::start();
    let daemon = Builder::new()
        .env("SECRET_KEY", SECRET)
        .env("PARLOR_AUTH__PROVISION_USERS", "true")
        .on(server)
        .start();
    let world = World { daemon };
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    world.join(LOBBY, "carol");
    let carol = world.http(&world.token("carol"));
    let join = format!("/api/rooms/{LOBBY}/join");
    let health = Http::new(world.daemon.http());
    let faults: [(fn(&Server), fn(&Server)); 2] = [
        (Server::kill, Server::restart),
        (Server::freeze, Server::resume),
    ];
    for (number, (fail, recover)) in faults.into_iter().enumerate() {
        fail(server);
        let answer = carol.post(&join);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        let readiness = health.get("/readyz");
        assert_eq!(readiness.status, 503);
        let checks = readiness.json()["checks"].clone();
        assert_eq!(checks["relay"], "ok");
        assert_ne!(checks["store"], "ok");
        assert_eq!(health.get("/healthz").status, 200);
        let mut newcomer = world.connect(LOBBY, &world.token("carol"));
        assert_eq!(newcomer.close_code(), 4000);
        let message = offer("alice", Some("bob"), &format!("fault {number}"));
        alice.send(&message);
        assert_eq!(bob.read(), message);
        recover(server);
        for _ in 0..600 {
            if health.get("/readyz").status == 200 {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        carol.post(&join).ok();
        let message = offer("bob", Some("alice"), "still here");
        bob.send(&message);
        assert_eq!(alice.read(), message);
    }
}

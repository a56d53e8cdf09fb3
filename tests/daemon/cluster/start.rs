//! A node starts before Redis does.

use crate::postgres::{EARLY_STOP, Starting, other};
use crate::support::cluster::{Cluster, SHORT_LEASE};
use crate::support::command::Cli;
use crate::support::redis::Server as Redis;

const WAITS_FOR_REDIS: &str = "waiting for the Redis server";

/// A node whose start waits.
fn waiting(cluster: &Cluster) -> (Cli, Starting) {
    let settings = cluster.settings("one").into_iter();
    let cli = settings.fold(other(""), |cli, (key, value)| cli.env(key, &value));
    let mut starting = Starting::of(&cli);
    starting.wait_for(WAITS_FOR_REDIS);
    (cli, starting)
}

#[test]
fn a_start_waits_for_a_redis_server_that_is_still_starting() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, SHORT_LEASE);
    redis.kill();
    let (_cli, mut starting) = waiting(&cluster);
    redis.restart();
    starting.wait_for(" ready");
}

#[test]
fn a_start_without_a_redis_server_fails_in_one_sentence_and_a_signal_ends_it() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, SHORT_LEASE);
    redis.kill();
    let ((_first, starting), (_second, stopped)) = (waiting(&cluster), waiting(&cluster));
    stopped.signal("TERM");
    let (code, log) = stopped.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(EARLY_STOP) && !log.contains("error"), "{log}");
    let (code, log) = starting.ended();
    assert_eq!(code, Some(1), "{log}");
    let sentence = log.lines().last().unwrap_or_default();
    assert!(
        sentence.starts_with("error: the Redis server redis+unix://"),
        "{log}"
    );
    assert!(
        sentence.ends_with("; check that it runs, and `cluster.redis_url`"),
        "{log}"
    );
}

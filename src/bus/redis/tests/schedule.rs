//! Random schedules.

use std::time::Duration;

use rand::RngExt;
use redis::Connection;

use super::world::{Check, Client, LEASE, ROOMS, USERS, World};
use crate::clock::now;
use crate::room::rule::{Rule, switch_off};

/// Steps of a schedule, between two times at which everything must agree.
const STEPS: usize = 200;
const ROUNDS: usize = 3;

/// Which faults a schedule has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Faults {
    /// Replies and connections get lost, for less than a lease.
    Connections,
    /// Redis loses its data while nothing else happens: nobody notices.
    Data,
    All,
}

/// Runs a schedule; an error has the seed and the last lines of the log.
pub(super) fn run(
    seed: u64,
    faults: Faults,
    redis: Connection,
    patches: &[(&str, &str)],
) -> Result<World, String> {
    let nodes = 2 + seed as usize % 3;
    let mut world = World::new(seed, nodes, redis, patches);
    world.is_calm = faults != Faults::All;
    let outcome = (0..ROUNDS).try_for_each(|_| {
        for _ in 0..STEPS {
            step(&mut world, faults)?;
        }
        world.settle()?;
        match faults {
            Faults::Connections => world.check_frames(),
            Faults::Data => lose_only_data(&mut world),
            Faults::All => Ok(()),
        }
    });
    outcome.map_err(|error| {
        let lines = std::env::var("LINES")
            .ok()
            .and_then(|lines| lines.parse().ok())
            .unwrap_or(60);
        let from = world.log.len().saturating_sub(lines);
        format!("{}\nseed {seed}: {error}", world.log[from..].join("\n"))
    })?;
    Ok(world)
}

pub(super) fn step(world: &mut World, faults: Faults) -> Check {
    let index = world.rng.random_range(0..world.nodes.len());
    match world.rng.random_range(0..100) {
        0..14 => {
            let (user, room) = world.pick();
            if !world.nodes[index].is_frozen && world.nodes[index].node.is_available() {
                world.enter(index, user, room)?;
            }
        }
        14..20 => {
            if let Some(client) = pick_client(world) {
                world.leave(client)?;
            }
        }
        20..32 => {
            if let Some(client) = pick_client(world) {
                let known: Vec<String> = world.clients[client].known.keys().cloned().collect();
                let to = match known.len() {
                    0 => None,
                    count => Some(known[world.rng.random_range(0..count)].clone()),
                };
                let to = to.filter(|_| world.rng.random_bool(0.8));
                world.send(client, to)?;
            }
        }
        32..35 => {
            if let Some(client) = pick_client(world) {
                world.update(client)?;
            }
        }
        35..56 => {
            let count = world.rng.random_range(1..8);
            world.write(index, count, None)?;
        }
        56 => {
            let (_, room) = world.pick();
            if !world.nodes[index].is_frozen {
                world.suspend(index, room)?;
            }
        }
        57 => come_back(world, index)?,
        58..80 => {
            let count = world.rng.random_range(1..8);
            world.read(index, count)?;
        }
        80..90 => {
            let time = Duration::from_millis(world.rng.random_range(1..400));
            world.pass(time)?;
        }
        90..93 => {
            let (count, executed) = (world.rng.random_range(1..4), world.rng.random_bool(0.7));
            world.log(format!(
                "n{index} loses its connection (executed: {executed})"
            ));
            world.write(index, count, Some(executed))?;
        }
        93..96 => world.reconnect(index)?,
        _ if faults == Faults::All => fault(world, index)?,
        _ => {}
    }
    Ok(())
}

/// A user whose connection ended by a restart connects again; rarely as a newcomer.
fn come_back(world: &mut World, index: usize) -> Check {
    if world.away.is_empty() || world.nodes[index].is_frozen {
        return Ok(());
    }
    let number = world.rng.random_range(0..world.away.len());
    let client = world.away.swap_remove(number);
    let Client { user, room, .. } = world.clients[client];
    let later = &world.clients[client + 1..];
    let is_last = !later.iter().any(|one| one.user == user && one.room == room);
    let resumes = Some(client).filter(|_| is_last && world.rng.random_bool(0.8));
    if world.nodes[index].node.is_available() {
        world.enter_again(index, user, room, resumes)?;
    }
    Ok(())
}

fn pick_client(world: &mut World) -> Option<usize> {
    let is_usable = |client: usize| {
        let client = &world.clients[client];
        client.is_open && !world.nodes[client.node].is_frozen
    };
    let clients: Vec<usize> = (0..world.clients.len())
        .filter(|client| is_usable(*client))
        .collect();
    let count = clients.len();
    (count > 0).then(|| clients[world.rng.random_range(0..count)])
}

fn fault(world: &mut World, index: usize) -> Check {
    match world.rng.random_range(0..18) {
        0 => lose_data(world)?,
        1 => world.kill(index),
        2 | 3 => world.freeze(index),
        4 | 5 => world.unfreeze(index),
        // Longer than a lease: nodes that are frozen or disconnected meanwhile are evicted.
        6 => continue_for(world, Duration::from_secs(13))?,
        7 => world.trim(index),
        8 => world.pass(Duration::from_secs(3))?,
        9 => {
            world.freeze(index);
            continue_for(world, Duration::from_secs(13))?;
            lose_data(world)?;
            world.unfreeze(index);
        }
        10..=13 => move_user(world, index)?,
        14 | 15 => {
            // A departure that the node's inbox does not confirm.
            leave_at(world, index)?;
            world.write(index, 50, None)?;
            enter_beside(world, index)?;
            world.trim(index);
        }
        _ => {
            // A departure while the node knows that it missed events.
            enter_beside(world, index)?;
            world.trim(index);
            world.pass(Duration::from_secs(2))?;
            world.write(index, 50, None)?;
            leave_at(world, index)?;
        }
    }
    Ok(())
}

/// Redis is empty, or restarts with its data.
fn lose_data(world: &mut World) -> Check {
    if world.rng.random_bool(0.5) {
        world.log("Redis is empty".to_owned());
        world.flush();
        return Ok(());
    }
    world.log("Redis restarts with its data".to_owned());
    world.run += 1;
    if world.rng.random_bool(0.3) {
        world.log("Its clock is behind".to_owned());
        world.delay_us += world.rng.random_range(0..20_000_000);
    }
    (0..world.nodes.len()).try_for_each(|index| world.disconnect(index))
}

fn lose_only_data(world: &mut World) -> Check {
    let before = world.notified;
    lose_data(world)?;
    world.settle()?;
    if world.notified > before {
        return Err("somebody noticed that Redis lost its data".to_owned());
    }
    Ok(())
}

/// All nodes but frozen and disconnected ones work for this time.
pub(super) fn continue_for(world: &mut World, time: Duration) -> Check {
    let until = world.now + time;
    while world.now < until {
        world.pass(Duration::from_millis(500))?;
        for index in 0..world.nodes.len() {
            world.write(index, 20, None)?;
            if world.rng.random_bool(0.7) {
                world.read(index, 20)?;
            }
        }
    }
    Ok(())
}

fn leave_at(world: &mut World, index: usize) -> Check {
    if world.nodes[index].is_frozen {
        return Ok(());
    }
    let is_there = |client: &Client| client.is_open && client.is_admitted && client.node == index;
    match world.clients.iter().rposition(is_there) {
        Some(client) => world.leave(client),
        None => Ok(()),
    }
}

/// A user enters a room with members of this node at another node.
fn enter_beside(world: &mut World, index: usize) -> Check {
    let other = (index + 1) % world.nodes.len();
    let is_there = |client: &Client| client.is_open && client.is_admitted && client.node == index;
    let (user, _) = world.pick();
    if let Some(client) = world.clients.iter().rposition(is_there)
        && world.nodes[other].node.is_available()
        && !world.nodes[other].is_frozen
    {
        world.enter(other, user, world.clients[client].room)?;
        world.write(other, 50, None)?;
    }
    Ok(())
}

/// A user of a frozen node enters at another one, and perhaps leaves it; before or after that, Redis may lose its
/// data.
fn move_user(world: &mut World, index: usize) -> Check {
    let other = (index + 1) % world.nodes.len();
    let is_there = |client: &Client| client.is_open && client.is_admitted && client.node == index;
    let Some(client) = world.clients.iter().rposition(is_there) else {
        return Ok(());
    };
    let (user, room) = (world.clients[client].user, world.clients[client].room);
    world.freeze(index);
    world.unfreeze(other);
    world.reconnect(other)?;
    let loses_data_at = world.rng.random_range(0..3);
    if loses_data_at == 0 {
        lose_data(world)?;
        world.reconnect(other)?;
    }
    continue_for(world, Duration::from_secs(2))?;
    if world.nodes[other].node.is_available() {
        world.enter(other, user, room)?;
        let entered = world.clients.len() - 1;
        continue_for(world, Duration::from_secs(1))?;
        if world.rng.random_bool(0.5) && world.clients[entered].is_open {
            world.leave(entered)?;
            continue_for(world, Duration::from_secs(1))?;
        }
    }
    if loses_data_at == 1 {
        lose_data(world)?;
        world.reconnect(other)?;
        continue_for(world, Duration::from_secs(2))?;
    }
    world.unfreeze(index);
    Ok(())
}

/// Runs seeds on all cores; returns the worlds' counts, or the first error.
fn run_all(seeds: std::ops::Range<u64>, faults: Faults) -> [u64; 7] {
    let threads = 2;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let seeds = seeds.clone();
            std::thread::spawn(move || {
                let mut total = [0; 7];
                for seed in seeds.filter(|seed| seed % threads == worker) {
                    let world =
                        run(seed, faults, World::connect(), &[]).unwrap_or_else(|e| panic!("{e}"));
                    total[0] += world.clients.len() as u64;
                    total[1] += world.notified;
                    let resumed = world.clients.iter().filter(|client| client.is_resumed);
                    total[6] += resumed.count() as u64;
                    for node in &world.nodes {
                        let counts = node.node.counts();
                        total[2] += counts.rosters_lost;
                        total[3] += counts.evictions;
                        total[4] += counts.inbox_overruns;
                        total[5] += counts.batches_repeated;
                    }
                }
                total
            })
        })
        .collect();
    workers.into_iter().fold([0; 7], |mut total, worker| {
        let counts = worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        total
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
        total
    })
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let variable = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = variable("SEED") {
        return seed..seed + 1;
    }
    0..variable("SEEDS").unwrap_or(count)
}

#[test]
fn rosters_agree_after_random_faults() {
    let start = now().mono;
    let total = run_all(seeds(100), Faults::All);
    let [
        clients,
        notified,
        lost,
        evictions,
        overruns,
        repeated,
        resumed,
    ] = total;
    println!(
        "{:?}: {clients} clients, {notified} notifications, {lost} rosters lost, {evictions} evictions, \
         {overruns} overruns of inboxes, {repeated} repeated batches, {resumed} resumed clients",
        now().mono.since(start)
    );
    if std::env::var_os("SEED").is_none() {
        assert!(
            total.iter().all(|count| *count > 0),
            "a fault never occurred: {total:?}"
        );
    }
}

#[test]
fn no_frame_is_lost_when_connections_are() {
    let [_, notified, _, evictions, ..] = run_all(seeds(20), Faults::Connections);
    assert!(notified > 0);
    assert_eq!(evictions, 0);
}

#[test]
fn nobody_notices_that_redis_is_empty() {
    let [_, notified, lost, evictions, ..] = run_all(seeds(10), Faults::Data);
    assert!(notified > 0 && lost > 0);
    assert_eq!(evictions, 0);
}

#[test]
fn nobody_is_evicted_after_a_pause_of_redis() {
    let mut world = World::new(1, 3, World::connect(), &[]);
    world.settle().unwrap();
    for (index, user) in USERS.into_iter().enumerate().take(3) {
        world.enter(index, user, ROOMS[0]).unwrap();
    }
    continue_for(&mut world, LEASE * 2).unwrap();
    world.pass(LEASE * 3).unwrap();
    world.settle().unwrap();
    let nodes = world.nodes.iter();
    assert_eq!(
        nodes.map(|node| node.node.counts().evictions).sum::<u64>(),
        0
    );
}

/// A user of a frozen node enters at another one, after Redis returned with a clock that is behind. Returns which clients are open at the end.
fn enter_with_late_clock() -> Result<Vec<bool>, String> {
    let mut world = World::new(1, 2, World::connect(), &[]);
    world.settle()?;
    world.enter(1, "ann", ROOMS[0])?;
    world.settle()?;
    world.enter(0, "flo", ROOMS[0])?;
    world.settle()?;
    world.freeze(0);
    world.run += 1;
    world.delay_us = 100_000_000;
    (0..2).try_for_each(|index| world.disconnect(index))?;
    world.reconnect(1)?;
    continue_for(&mut world, Duration::from_secs(2))?;
    world.enter(1, "flo", ROOMS[0])?;
    continue_for(&mut world, Duration::from_secs(1))?;
    world.settle()?;
    Ok(world.clients.iter().map(|client| client.is_open).collect())
}

#[test]
fn a_later_connection_wins_although_the_clock_of_redis_is_behind() {
    let expected = Ok(vec![true, false, true]);
    assert_eq!(enter_with_late_clock(), expected);
    switch_off(Some(Rule::TimeGoesOn));
    let without = enter_with_late_clock();
    switch_off(None);
    let error = "client 2 is replaced by the earlier client 1";
    assert_eq!(without, Err(error.to_owned()));
}

/// The first seed that notices that a rule is switched off, or that a text of the scripts is replaced.
pub(super) fn first_to_notice(
    seeds: u64,
    faults: Faults,
    rule: Option<Rule>,
    patches: &[(&str, &str)],
) -> Option<u64> {
    switch_off(rule);
    let is_noticed = |seed: &u64| {
        let run = || run(*seed, faults, World::connect(), patches).is_err();
        std::panic::catch_unwind(run).unwrap_or(true)
    };
    let first = (0..seeds).find(is_noticed);
    switch_off(None);
    first
}

//! A node restarts with hand-over: another process continues it, with the sessions of `parlor.v1` clients.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde_json::{Value, json};

use super::schedule::{Faults, continue_for, step};
use super::world::{Check, EXTENDED, LEASE, ROOMS, World};
use crate::bus::redis::{Node, SavedNode};
use crate::room::{Room, SavedMember, SavedRoster};

/// A change of the saved state, which makes it wrong.
type Damage = fn(&mut Value);

/// Parts of the state, and changes that some seeds notice.
const DAMAGES: [(&str, Damage); 7] = [
    ("the position in the inbox", |saved| {
        saved["node"]["position"] = "99999999999999-0".into();
    }),
    ("the number of commands", |saved| {
        saved["node"]["number"] = 0.into();
    }),
    ("the numbers of batches", |saved| {
        saved["node"]["numbers"] = json!([]);
    }),
    ("the number of events", |saved| {
        each_room(saved, |room| {
            let seq = &mut room[0]["seq"];
            *seq = (seq.as_u64().unwrap() + 1).into();
        });
    }),
    ("the members of other nodes", |saved| {
        each_room(saved, |room| room[0]["members"] = json!([]));
    }),
    ("the entries of the node", |saved| {
        each_room(saved, |room| room[0]["listed"] = json!([]));
    }),
    ("the sessions", |saved| {
        each_room(saved, |room| room[1] = json!([]));
    }),
];

/// At most this many seeds must notice a damage.
const SEEDS: u64 = 20;

/// Steps between two events of a node.
const STEPS: usize = 60;

fn each_room(saved: &mut Value, change: impl Fn(&mut Value)) {
    let rooms = saved["rooms"].as_array_mut().unwrap();
    rooms.iter_mut().for_each(|room| change(&mut room[1]));
}

/// A node suspends its plain clients, and pauses as soon as nothing waits.
fn pause(world: &mut World, index: usize) -> Result<Value, String> {
    world.log(format!("n{index} pauses"));
    world.reconnect(index)?;
    let is_followed = |world: &World| {
        let mut rooms = world.nodes[index].rooms.values();
        rooms.all(|room| !room.may_be_listed() || room.follows_roster())
    };
    work_until(world, index, is_followed)?;
    for client in &mut world.clients {
        let is_kept = EXTENDED.contains(&client.user) && client.is_admitted;
        client.is_ending |= client.node == index && client.is_open && !is_kept;
    }
    let names: Vec<&'static str> = world.nodes[index].rooms.keys().copied().collect();
    for name in names {
        world.with_room(index, name, Room::suspend_plain)?;
    }
    let are_suspended = |world: &World| {
        let mut open = world.clients.iter().filter(|one| one.is_open);
        !open.any(|one| one.node == index && one.is_ending)
    };
    work_until(world, index, are_suspended)?;
    let mut paused = None;
    world.nodes[index].node.renew();
    for _ in 0..1000 {
        work(world, index)?;
        paused = world.nodes[index].node.pause();
        if paused.is_some() {
            break;
        }
    }
    let paused = paused.ok_or(format!("n{index} does not pause"))?;
    let mut rooms = Vec::new();
    for (name, room) in &world.nodes[index].rooms {
        if room.may_be_listed() {
            let roster = room.save_roster();
            let roster = roster.ok_or(format!("{name} is not followed"))?;
            rooms.push(json!([name, [roster, room.save_sessions()]]));
        }
    }
    world.freeze(index);
    Ok(json!({"node": paused, "rooms": rooms}))
}

/// Another process continues a paused node.
fn resume(world: &mut World, index: usize, saved: Value) -> Check {
    world.log(format!("n{index} is continued"));
    let paused: SavedNode = serde_json::from_value(saved["node"].clone()).unwrap();
    let seed = world.rng.random();
    let mut next = world.new_node(index);
    next.node = Node::resume(world.settings(index), world.scripts.clone(), seed, paused);
    assert!(next.node.is_resumed());
    next.is_connected = false;
    world.nodes[index] = next;
    let (now, until) = (world.now, world.now + Duration::from_secs(30));
    let rooms: Vec<(String, (SavedRoster, Vec<SavedMember>))> =
        serde_json::from_value(saved["rooms"].clone()).unwrap();
    for (name, (roster, members)) in rooms {
        let name = ROOMS.into_iter().find(|one| *one == name).expect("a room");
        assert!(world.nodes[index].room(name).restore_roster(&roster));
        world.with_room(index, name, |room, effects| {
            for member in &members {
                let connection = room.restore(member, now, until).expect("a member");
                room.set_back(connection, effects);
            }
            room.end_unsaved_entries();
        })?;
        let Some(room) = world.nodes[index].rooms.get(name) else {
            continue;
        };
        let awaited: Vec<_> = room
            .awaited_members()
            .map(|(u, p)| (u.clone(), p.clone()))
            .collect();
        for (user, place) in awaited {
            let node = &mut world.nodes[index].node;
            node.await_return(&Arc::from(name), &user, &place);
        }
    }
    world.reconnect(index)
}

fn work(world: &mut World, index: usize) -> Check {
    world.pass(Duration::from_millis(1))?;
    world.reconnect(index)?;
    world.write(index, 50, None)?;
    world.read(index, 50)?;
    Ok(())
}

fn work_until(world: &mut World, index: usize, is_done: impl Fn(&World) -> bool) -> Check {
    for _ in 0..1000 {
        if is_done(world) {
            return Ok(());
        }
        work(world, index)?;
    }
    Err(format!("n{index} does not get ready to pause"))
}

/// Runs a schedule in which each node restarts once.
fn run(seed: u64, is_long: bool, damage: Option<Damage>) -> Result<World, String> {
    let mut world = World::new(seed, 3, World::connect(), &[]);
    world.is_calm = !is_long;
    let steps = |world: &mut World| (0..STEPS).try_for_each(|_| step(world, Faults::Connections));
    let outcome = (0..3).try_for_each(|index| {
        steps(&mut world)?;
        let mut saved = pause(&mut world, index)?;
        if let Some(damage) = damage {
            damage(&mut saved);
        }
        steps(&mut world)?;
        if is_long {
            continue_for(&mut world, LEASE + Duration::from_secs(3))?;
        }
        resume(&mut world, index, saved)?;
        steps(&mut world)?;
        world.settle()?;
        if is_long {
            Ok(())
        } else {
            world.check_frames()
        }
    });
    outcome.map_err(|error| {
        let from = world.log.len().saturating_sub(80);
        format!("{}\nseed {seed}: {error}", world.log[from..].join("\n"))
    })?;
    Ok(world)
}

fn run_all(is_long: bool) -> (u64, usize) {
    let (mut evictions, mut resumed) = (0, 0);
    for seed in 0..SEEDS {
        let world = run(seed, is_long, None).unwrap_or_else(|error| panic!("{error}"));
        let nodes = world.nodes.iter();
        evictions += nodes.map(|node| node.node.counts().evictions).sum::<u64>();
        resumed += world.clients.iter().filter(|one| one.is_resumed).count();
    }
    (evictions, resumed)
}

#[test]
fn no_frame_is_lost_while_a_node_restarts_and_nobody_sees_its_sessions_leave() {
    let (evictions, resumed) = run_all(false);
    assert_eq!(evictions, 0);
    assert!(resumed > 0);
}

#[test]
fn rosters_agree_after_a_restart_that_takes_longer_than_the_lease() {
    let (evictions, _) = run_all(true);
    assert!(evictions > 0);
}

#[test]
fn each_part_of_the_saved_state_is_needed() {
    for (part, damage) in DAMAGES {
        let is_noticed = |seed: u64| {
            let run = || run(seed, false, Some(damage)).is_err();
            std::panic::catch_unwind(run).unwrap_or(true)
        };
        let first = (0..SEEDS).find(|seed| is_noticed(*seed));
        println!("{part}: {first:?}");
        assert!(first.is_some(), "no seed needs {part}");
    }
}

/// A process that continues a node ends early, and the next one has the same state.
fn resume_twice(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed, 3, World::connect(), &[]);
    for _ in 0..STEPS {
        step(&mut world, Faults::Connections)?;
    }
    let saved = pause(&mut world, 0)?;
    resume(&mut world, 0, saved.clone())?;
    world.pass(Duration::from_millis(1))?;
    world.write(0, 5, None)?;
    resume(&mut world, 0, saved)?;
    world.settle()?;
    Ok(world.nodes[0].node.counts().evictions)
}

#[test]
fn a_paused_node_is_continued_once() {
    for seed in 0..SEEDS {
        assert_eq!(resume_twice(seed), Ok(1), "seed {seed}");
    }
}

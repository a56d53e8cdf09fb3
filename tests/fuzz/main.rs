//! The fuzz targets (`tests/long/fuzz`) on their seeds and earlier findings, without a fuzzer. Each
//! test run executes the files in `seeds/TARGET`.

// The crate of the fuzz targets exports these modules.
#![allow(unreachable_pub)]

mod extended;
mod framer;
mod input;
mod seeds;
mod signaling;
mod stun;
mod turn;

use std::fs;
use std::path::{Path, PathBuf};

fn folder(target: &str) -> PathBuf {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    seeds.join(target)
}

/// Runs a target on each of its files, and names the file on a failure.
fn replay(target: &str, run: fn(&[u8])) {
    let files = fs::read_dir(folder(target)).expect("a folder of seeds");
    let mut replayed = 0;
    for file in files {
        let path = file.expect("a file").path();
        let input = fs::read(&path).expect("a seed can be read");
        if let Err(panic) = std::panic::catch_unwind(|| run(&input)) {
            eprintln!("the input was {}", path.display());
            std::panic::resume_unwind(panic);
        }
        replayed += 1;
    }
    assert!(replayed >= 5, "{target} has only {replayed} seeds");
}

#[test]
fn the_stun_decoder_holds_its_invariants_on_every_seed() {
    replay("stun", stun::run);
}

#[test]
fn the_framer_holds_its_invariants_on_every_seed() {
    replay("framer", framer::run);
}

#[test]
fn the_turn_server_holds_its_invariants_on_every_seed() {
    replay("turn", turn::run);
}

#[test]
fn the_signaling_machine_holds_its_invariants_on_every_seed() {
    replay("signaling", signaling::run);
}

#[test]
fn frames_of_an_extended_client_hold_their_invariants_on_every_seed() {
    replay("extended", extended::run);
}

/// `RENEW_SEEDS=1` writes the seeds that differ.
#[test]
fn the_seeds_are_what_their_program_writes() {
    for (target, name, bytes) in seeds::all() {
        let path = folder(target).join(name);
        if std::env::var_os("RENEW_SEEDS").is_some() {
            fs::write(&path, &bytes).expect("a seed can be written");
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == bytes, "{} needs RENEW_SEEDS=1", path.display());
    }
}

/// Random bytes with a fixed seed: the targets must accept any input of a fuzzer.
#[test]
fn noise_breaks_no_target() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..400).chain([4096, 20_000]) {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(length)
        .collect();
        let runs = [
            stun::run,
            framer::run,
            turn::run,
            signaling::run,
            extended::run,
        ];
        for run in runs {
            run(&noise);
        }
    }
}

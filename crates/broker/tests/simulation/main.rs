//! A whole broker in one thread, from one seed: workers, clients, network, clock.
//!
//! Everything that depends on chance (who does what, how bytes are cut, which
//! connection breaks at which byte, when batches between workers arrive) comes from
//! the seed, so a failure can be played again. `NOCTULE_SEED=17` plays one seed and
//! tells all that happened if it fails; `NOCTULE_SEEDS=10000` sets how many are played, from
//! `NOCTULE_FIRST_SEED` on.
//!
//! There are two worlds. In one the network breaks and clients behave badly ([`world`]);
//! in the other the disk and the machine do ([`outage`]).

mod client;
#[expect(dead_code, reason = "the tests of durability need more of it")]
#[path = "../durability/disk.rs"]
mod disk;
mod ledger;
mod link;
mod log;
mod outage;
mod plan;
mod random;
mod scene;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outage::Outage;
use world::World;

const SEEDS: u64 = 2_000;

/// Events told of a seed that failed.
const LAST_EVENTS: usize = 100;

/// Plays a seed and keeps so many events of it to tell.
type Life = fn(seed: u64, log: usize);

#[test]
fn every_promise_holds_under_every_seed() {
    play_all(|seed, log| World::new(seed, log).run());
}

#[test]
fn every_promise_outlives_the_machine_under_every_seed() {
    play_all(|seed, log| Outage::new(seed, log).run());
}

fn play_all(life: Life) {
    if let Some(seed) = number("NOCTULE_SEED") {
        life(seed, 1_000_000);
        return;
    }
    let first = number("NOCTULE_FIRST_SEED").unwrap_or(0);
    let last = first + number("NOCTULE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(u64::MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| play(life, &next, last, &failed));
        }
    });
    let seed = failed.into_inner();
    if seed == u64::MAX {
        return;
    }
    // Once more, and this time with a pencil.
    let again = catch_unwind(|| life(seed, LAST_EVENTS));
    assert!(again.is_err(), "seed {seed} failed once, but not again");
    panic!("a promise was broken; play it again with NOCTULE_SEED={seed}");
}

/// Takes seeds until there are none left, or one has failed.
fn play(life: Life, next: &AtomicU64, last: u64, failed: &AtomicU64) {
    while failed.load(Relaxed) == u64::MAX {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= last {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| life(seed, 0))).is_err() {
            eprintln!("a promise was broken under seed {seed}");
            failed.fetch_min(seed, Relaxed);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

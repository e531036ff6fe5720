//! Many inputs near the corpus: what the fuzzers try, without their guidance and what it costs.
//!
//! `seeded TARGET COUNT [SEED]`: so many inputs on all cores, alike for the same seed and number
//! of cores; says every million how far it is. An input that breaks something is printed in
//! hexadecimal digits, and ends it (exit code 1).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, exit};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use noctule_fuzzing::corpus::{self, Mutator};

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 4] = [
    ("codec", noctule_fuzzing::codec::check),
    ("worker", noctule_fuzzing::worker::check),
    ("framing", noctule_fuzzing::framing::check),
    ("store", noctule_fuzzing::store::check),
];

const REPORTED_INPUTS: u64 = 1_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).map(|text| text.parse::<u64>());
    let target = TARGETS
        .iter()
        .find(|(name, _)| arguments.first().is_some_and(|it| it == name));
    let (Some(&(name, check)), Some(Ok(count)), Ok(seed)) =
        (target, number(1), number(2).unwrap_or(Ok(1)))
    else {
        eprintln!("seeded TARGET COUNT [SEED], of codec, worker, framing and store");
        return ExitCode::from(2);
    };
    let corpus = corpus::read(name);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (corpus, done) = (&corpus, &done);
            scope.spawn(move || {
                // Far apart, so that no thread comes to where another began.
                let mut mutator = Mutator::new(seed.wrapping_add(thread << 40));
                for _ in 0..count / threads + u64::from(thread < count % threads) {
                    run(check, &mutator.mutate(corpus));
                    let so_far = done.fetch_add(1, Relaxed) + 1;
                    if so_far % REPORTED_INPUTS == 0 {
                        println!("{so_far} inputs");
                    }
                }
            });
        }
    });
    println!(
        "{} inputs near the corpus of {name}, seed {seed}",
        done.load(Relaxed)
    );
    ExitCode::SUCCESS
}

fn run(check: Check, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
        let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{digits}");
        exit(1);
    }
}

//! A history that never ends and is the same every time: what worker `w` submits as
//! its batch `n` depends on nothing else. So any store that ran it can be judged: in
//! the space of each worker there must be what its first k batches leave, and k not
//! less than what was acknowledged.

pub use super::disk::Numbers;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use noctule_store::{Observer, Recovery, Store, StoreOptions, SubmitError};

use super::{Model, Op, batch};

pub const WORKERS: usize = 3;

/// The key that says how many batches there were.
const COUNT: &[u8] = b"count";
const QUEUES: u64 = 5;

/// Batch `n` (from 1) of a worker.
pub fn ops(worker: usize, n: u64) -> Vec<Op> {
    let space = worker as u8;
    let mut numbers = Numbers((n << 8 | worker as u64) + 0x9E37_79B9);
    for _ in 0..4 {
        numbers.next();
    }
    let mut ops = vec![Op::Put(space, COUNT.to_vec(), n.to_le_bytes().to_vec())];
    let length = match numbers.below(40) {
        0 => 20_000,
        1..4 => 2_000,
        _ => numbers.below(120) as usize,
    };
    let value = vec![n as u8; length];
    let queue = format!("queue/{}", n % QUEUES).into_bytes();
    ops.push(Op::Append(space, queue.clone(), n, value.clone()));
    if n > 50 {
        ops.push(Op::Remove(space, queue.clone(), n - 50));
    }
    let key = format!("key/{}", numbers.below(40)).into_bytes();
    match numbers.below(4) {
        0 => ops.push(Op::Delete(space, key)),
        _ => ops.push(Op::Put(space, key, value)),
    }
    match numbers.below(200) {
        0 => ops.push(Op::Clear(space, queue)),
        1 => ops.push(Op::DeletePrefix(space, b"key/1".to_vec())),
        _ => {}
    }
    ops
}

/// Number of batches of a worker that a state holds.
pub fn count(model: &Model, worker: usize) -> u64 {
    let place = (worker as u8, COUNT.to_vec(), None);
    let count = model.0.get(&place).map(|value| value[..].try_into());
    count.map_or(0, |bytes| u64::from_le_bytes(bytes.expect("eight bytes")))
}

/// What is wrong with a state, given how many batches of each worker were acknowledged.
pub fn judge(model: &Model, acknowledged: &[u64; WORKERS]) -> Result<(), String> {
    let mut expected = Model::default();
    for (worker, &acknowledged) in acknowledged.iter().enumerate() {
        let count = count(model, worker);
        if count < acknowledged {
            return Err(format!(
                "worker {worker}: {acknowledged} batches were acknowledged, {count} are there"
            ));
        }
        (1..=count).for_each(|n| expected.apply(&ops(worker, n)));
    }
    if *model != expected {
        let wrong =
            |(place, value): &(&super::Place, &Vec<u8>)| expected.0.get(*place) != Some(*value);
        let extra = model.0.iter().find(wrong).map(|(place, _)| place);
        let missing = expected
            .0
            .keys()
            .find(|place| !model.0.contains_key(*place));
        return Err(format!("wrong or extra: {extra:?}; missing: {missing:?}"));
    }
    Ok(())
}

/// Goes on with the history where the store in `path` is, up to batch `last` of each
/// worker.
pub fn run(path: &Path, options: StoreOptions, observer: Arc<dyn Observer>, last: u64) {
    let (store, recovery) = Store::open(path, options, observer).expect("the store opens");
    assert!(recovery.report.is_sound(), "{:?}", recovery.report);
    let model = Model::of(&recovery);
    let counts = [0, 1, 2].map(|worker| count(&model, worker));
    go_on(&store, counts, last);
    store.close();
}

fn go_on(store: &Store, counts: [u64; WORKERS], last: u64) {
    let mut writers = [0, 1, 2].map(|worker| store.writer(worker));
    let first = counts.into_iter().min().unwrap_or(0) + 1;
    for n in first..=last {
        for (worker, writer) in writers.iter_mut().enumerate() {
            if n <= counts[worker] {
                continue;
            }
            let mut next = batch(&ops(worker, n));
            loop {
                match writer.submit(next) {
                    Ok(_) => break,
                    Err(SubmitError::Full(refused)) => next = refused,
                    Err(SubmitError::Failed(_)) => return,
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

/// The counts a recovered store begins with.
pub fn counts(recovery: &Recovery) -> [u64; WORKERS] {
    let model = Model::of(recovery);
    [0, 1, 2].map(|worker| count(&model, worker))
}

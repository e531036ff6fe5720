//! Records per second from submission to acknowledgement, synced, by records in a
//! batch. Each record is a queue entry of 64 bytes; the entries are removed again, so
//! that trimming is part of the measurement. One batch waits at a time: this is what a
//! single publisher sees; `many` has sixteen batches wait at once.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use noctule_store::{Batch, Observer, Store, StoreOptions, Writer};
use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct Acknowledged {
    sequence: Mutex<u64>,
    changed: Condvar,
}

impl Observer for Acknowledged {
    fn committed(&self, _worker: usize, sequence: u64) {
        *self.sequence.lock() = sequence;
        self.changed.notify_all();
    }
}

impl Acknowledged {
    fn wait(&self, sequence: u64) {
        let mut last = self.sequence.lock();
        while *last < sequence {
            self.changed.wait(&mut last);
        }
    }
}

struct Queue {
    writer: Writer,
    next: u64,
}

impl Queue {
    /// Half appends, half removes of what was appended before.
    fn submit(&mut self, records: u64) -> u64 {
        let mut batch = Batch::new();
        for _ in 0..records {
            let added = match self.next % 2 {
                0 => batch.append(1, b"subscriber-0001", self.next / 2, &[7; 64]),
                _ => batch.remove(1, b"subscriber-0001", self.next / 2),
            };
            added.expect("it fits");
            self.next += 1;
        }
        self.writer.submit(batch).expect("it is taken")
    }
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group
        .measurement_time(Duration::from_secs(4))
        .sample_size(10);
    for (name, at_once) in [("lone", 1), ("many", 16)] {
        for records in [1, 64, 1_024_u64] {
            let directory = tempfile::tempdir().expect("a directory");
            let acknowledged = Arc::new(Acknowledged::default());
            let (store, _) = Store::open(
                &directory.path().join("store"),
                StoreOptions::default(),
                Arc::clone(&acknowledged) as Arc<dyn Observer>,
            )
            .expect("the store opens");
            let mut queue = Queue {
                writer: store.writer(0),
                next: 0,
            };
            group.throughput(Throughput::Elements(records * at_once));
            group.bench_function(BenchmarkId::new(name, records), |bencher| {
                bencher.iter(|| {
                    for _ in 0..at_once {
                        queue.submit(records);
                    }
                    acknowledged.wait(queue.writer.last_sequence());
                });
            });
            println!("{:?}", store.statistics());
        }
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);

//! Cost of the subscription tree and the retained tree at 1,000,000 entries.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use noctule_topics::{Generations, RetainedTree, SubscriptionTree, matches};

const SUBSCRIPTIONS: u64 = 1_000_000;

/// Numbers that jump about, so that each look-up finds its memory cold.
struct Scattered(u64);

impl Scattered {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % below
    }
}

/// 100,000 filters of five levels with ten subscribers each.
fn shared_filter(number: u64) -> String {
    format!("site/{}/dev/{}/temp", number % 100, number / 100)
}

/// 1,000,000 filters of five levels with one subscriber each.
fn own_filter(number: u64) -> String {
    format!(
        "site/{}/dev/{}/{}",
        number % 1_000,
        number / 10_000,
        number / 1_000 % 10
    )
}

fn shared() -> SubscriptionTree<u64, u64> {
    let mut tree = SubscriptionTree::new();
    for key in 0..SUBSCRIPTIONS {
        tree.insert(&shared_filter(key % 100_000), key, key);
    }
    tree
}

fn own() -> SubscriptionTree<u64, u64> {
    let mut tree = SubscriptionTree::new();
    for key in 0..SUBSCRIPTIONS {
        tree.insert(&own_filter(key), key, key);
    }
    tree
}

fn bench_matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    let mut scattered = Scattered(1);

    let tree = shared();
    let names: Vec<_> = (0..100_000)
        .map(|_| shared_filter(scattered.next(100_000)))
        .collect();
    let mut name = names.iter().cycle();
    group.bench_function("ten_subscribers_of_a_million", |bench| {
        bench.iter(|| sum(&tree, name.next().map_or("", String::as_str)));
    });
    group.bench_function("ten_subscribers_of_a_million_warm", |bench| {
        bench.iter(|| sum(&tree, &names[0]));
    });
    drop(tree);

    let tree = own();
    let names: Vec<_> = (0..100_000)
        .map(|_| own_filter(scattered.next(SUBSCRIPTIONS)))
        .collect();
    let mut name = names.iter().cycle();
    group.bench_function("one_subscriber_of_a_million", |bench| {
        bench.iter(|| sum(&tree, name.next().map_or("", String::as_str)));
    });

    let mut tree = SubscriptionTree::new();
    for key in 0..1_000 {
        for levels in 0..=64 {
            tree.insert(&("+/".repeat(levels) + "#"), key, key);
        }
    }
    let deep = "a/".repeat(64);
    group.bench_function("wildcard_chains_of_1_000", |bench| {
        bench.iter(|| sum(&tree, &deep))
    });
    group.finish();
}

fn sum(tree: &SubscriptionTree<u64, u64>, name: &str) -> u64 {
    let mut sum = 0_u64;
    tree.matches(black_box(name), |key, value| {
        sum = sum.wrapping_add(key ^ value)
    });
    sum
}

fn bench_changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    let mut scattered = Scattered(2);
    let mut tree = own();
    group.bench_function("remove_and_insert_of_a_million", |bench| {
        let filter = || own_filter(scattered.next(SUBSCRIPTIONS));
        bench.iter_batched(
            filter,
            |filter| {
                if tree.remove(&filter, 1).is_none() {
                    tree.insert(&filter, 1, 1);
                }
            },
            BatchSize::SmallInput,
        );
    });
    let mut tree: SubscriptionTree<u64, u64> = SubscriptionTree::new();
    for key in 0..100_000 {
        tree.insert("all", key, key);
    }
    let mut key = 0;
    group.bench_function("come_and_go_among_100_000_of_one_filter", |bench| {
        bench.iter(|| {
            key = (key + 7_919) % 100_000;
            tree.remove("all", key);
            tree.insert("all", key, key)
        });
    });
    group.finish();
}

fn bench_retained(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retained");
    let mut scattered = Scattered(3);
    let mut tree = RetainedTree::new();
    let name = |at: u64| format!("ret/{}/{}", at / 1_000, at % 1_000);
    for at in 0..1_000_000 {
        tree.insert(&name(at), at);
    }
    let names: Vec<_> = (0..100_000)
        .map(|_| name(scattered.next(1_000_000)))
        .collect();
    let mut next = names.iter().cycle();
    group.bench_function("replace_of_a_million", |bench| {
        bench.iter(|| tree.insert(next.next().map_or("", String::as_str), 7));
    });
    group.bench_function("remove_and_insert_of_a_million", |bench| {
        bench.iter(|| {
            let name = next.next().map_or("", String::as_str);
            tree.remove(name);
            tree.insert(name, 7)
        });
    });
    group.bench_function("walk_1_000_below_a_level", |bench| {
        bench.iter(|| {
            count(
                &tree,
                &format!("ret/{}/#", scattered.next(1_000)),
                None,
                1_000,
            )
        });
    });
    group.bench_function("walk_1_000_leaps", |bench| {
        bench.iter(|| {
            count(
                &tree,
                &format!("ret/+/{}", scattered.next(1_000)),
                None,
                1_000,
            )
        });
    });
    group.bench_function("resume_for_one", |bench| {
        bench.iter(|| count(&tree, "#", next.next().map(String::as_str), 1));
    });
    group.finish();
}

fn count(tree: &RetainedTree<u64>, filter: &str, after: Option<&str>, most: usize) -> usize {
    let mut count = 0;
    tree.walk(filter, after, |name, value| {
        black_box((name, value));
        count += 1;
        count < most
    });
    count
}

fn bench_small(criterion: &mut Criterion) {
    let generations = Generations::new();
    criterion.bench_function("generations_stamp", |bench| {
        bench.iter(|| generations.stamp(black_box("site/17/dev/42/temp")));
    });
    criterion.bench_function("filter_matches_name", |bench| {
        bench.iter(|| {
            matches(
                black_box("site/+/dev/42/#"),
                black_box("site/17/dev/42/temp"),
            )
        });
    });
}

criterion_group!(
    benches,
    bench_matching,
    bench_changing,
    bench_retained,
    bench_small
);
criterion_main!(benches);

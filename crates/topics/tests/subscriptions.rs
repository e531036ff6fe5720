//! The subscription tree against a plain map of (filter, subscriber).

mod naive;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use noctule_topics::SubscriptionTree;
use proptest::prelude::*;

type Tree = SubscriptionTree<u64, u64>;
type Model = BTreeMap<(String, u64), u64>;

#[derive(Clone, Debug)]
enum Step {
    Insert(String, u64, u64),
    Remove(String, u64),
    /// Removes the subscription that stands at this share of the model.
    RemoveKnown(prop::sample::Index),
}

fn step(subscribers: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (naive::filter(), 0..subscribers, any::<u64>())
            .prop_map(|(filter, key, value)| Step::Insert(filter, key, value)),
        1 => (naive::filter(), 0..subscribers).prop_map(|(filter, key)| Step::Remove(filter, key)),
        3 => any::<prop::sample::Index>().prop_map(Step::RemoveKnown),
    ]
}

fn apply(tree: &mut Tree, model: &mut Model, step: Step) {
    match step {
        Step::Insert(filter, key, value) => {
            let replaced = tree.insert(&filter, key, value);
            assert_eq!(replaced, model.insert((filter, key), value));
        }
        Step::Remove(filter, key) => {
            assert_eq!(tree.remove(&filter, key), model.remove(&(filter, key)));
        }
        Step::RemoveKnown(index) if !model.is_empty() => {
            let at = index.index(model.len());
            let (filter, key) = model.keys().nth(at).unwrap().clone();
            assert_eq!(tree.remove(&filter, key), model.remove(&(filter, key)));
        }
        Step::RemoveKnown(_) => {}
    }
    assert_eq!(tree.len(), model.len());
}

fn assert_matches(tree: &Tree, model: &Model, name: &str) {
    let mut found = Vec::new();
    tree.matches(name, |key, value| found.push((key, *value)));
    found.sort_unstable();
    let matching = model
        .iter()
        .filter(|((filter, _), _)| naive::naive_matches(filter, name));
    let mut expected: Vec<_> = matching.map(|((_, key), value)| (*key, *value)).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{name}");
    assert_eq!(tree.has_match(name), !expected.is_empty(), "{name}");
}

fn found(tree: &Tree, name: &str) -> Vec<u64> {
    let mut keys = Vec::new();
    tree.matches(name, |key, _| keys.push(key));
    keys.sort_unstable();
    keys
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..Default::default() })]

    #[test]
    fn test_any_history_matches_like_the_naive_matcher(
        steps in prop::collection::vec(step(4), 1..120),
        names in prop::collection::vec(naive::name(), 1..20),
    ) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        for (number, step) in steps.into_iter().enumerate() {
            apply(&mut tree, &mut model, step);
            assert_matches(&tree, &model, &names[number % names.len()]);
        }
        for name in &names {
            assert_matches(&tree, &model, name);
        }
        for ((filter, key), value) in &model {
            prop_assert_eq!(tree.get(filter, *key), Some(value));
        }
    }

    #[test]
    fn test_many_subscribers_of_few_filters_come_and_go(
        steps in prop::collection::vec((prop::sample::select(vec!["a", "a/+", "#"]), 0_u64..120, prop::bool::weighted(0.6)), 1..600),
    ) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        for (filter, key, insert) in steps {
            let step = match insert {
                true => Step::Insert(filter.to_owned(), key, key),
                false => Step::Remove(filter.to_owned(), key),
            };
            apply(&mut tree, &mut model, step);
        }
        for name in ["a", "a/b", "b"] {
            assert_matches(&tree, &model, name);
        }
        for key in 0..120 {
            prop_assert_eq!(tree.get("a", key), model.get(&("a".to_owned(), key)));
        }
    }
}

#[test]
fn test_a_long_history_of_thousands_of_filters() {
    let (mut tree, mut model) = (Tree::new(), Model::new());
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..60_000_u64 {
        let wild = next(10) == 0;
        let middle = if wild {
            "+".to_owned()
        } else {
            next(40).to_string()
        };
        let filter = format!("site/{middle}/dev/{}/{}", next(40), next(4));
        // Grows for the first half, then shrinks.
        let grows = next(10) < if round < 30_000 { 8 } else { 2 };
        let key = next(3);
        match grows {
            true => apply(&mut tree, &mut model, Step::Insert(filter, key, round)),
            false => apply(&mut tree, &mut model, Step::Remove(filter, key)),
        }
        if round % 1_000 == 0 {
            assert_matches(
                &tree,
                &model,
                &format!("site/{}/dev/{}/1", next(40), next(40)),
            );
        }
    }
    assert!(!model.is_empty());
    for (filter, key) in model.keys().cloned().collect::<Vec<_>>() {
        apply(&mut tree, &mut model, Step::Remove(filter, key));
    }
    assert!(tree.is_empty());
    assert!(!tree.has_match("site/1/dev/1/1"));
}

#[test]
fn test_leading_wildcards_do_not_match_dollar_names() {
    // [MQTT-4.7.2-1]
    let mut tree = Tree::new();
    for (key, filter) in ["#", "+/x", "+/#", "$SYS/#", "$SYS/+", "+"]
        .into_iter()
        .enumerate()
    {
        tree.insert(filter, key as u64, 0);
    }
    assert_eq!(found(&tree, "$SYS/x"), [3, 4]);
    assert_eq!(found(&tree, "$SYS"), [3]);
    assert_eq!(found(&tree, "a/x"), [0, 1, 2]);
    assert_eq!(found(&tree, "a"), [0, 2, 5]);
}

#[test]
fn test_empty_levels_are_levels() {
    let mut tree = Tree::new();
    let filters = ["/", "//", "a//b", "/+", "+/", "#", "a/+/b", "/#", "+//+"];
    for (key, filter) in filters.into_iter().enumerate() {
        tree.insert(filter, key as u64, 0);
    }
    assert_eq!(found(&tree, "/"), [0, 3, 4, 5, 7]);
    assert_eq!(found(&tree, "//"), [1, 5, 7, 8]);
    assert_eq!(found(&tree, "a//b"), [2, 5, 6, 8]);
    assert_eq!(found(&tree, "a"), [5]);
}

/// Names and filters as deep as 65,535 bytes can be; on a small stack, so that anything
/// that recursed by level would end the test.
#[test]
fn test_names_of_65_535_levels_need_no_stack() {
    let deep = || {
        let (slashes, pluses) = ("/".repeat(65_535), "+/".repeat(32_767) + "+");
        let tail = "/".repeat(65_534) + "a";
        let mut tree = Tree::new();
        for (key, filter) in [&slashes, &pluses, &tail].into_iter().enumerate() {
            tree.insert(filter, key as u64, 0);
        }
        tree.insert(&("+/".repeat(32_766) + "#"), 3, 0);
        assert_eq!(found(&tree, &slashes), [0, 3]);
        assert_eq!(found(&tree, &tail), [2, 3]);
        assert_eq!(found(&tree, &("a/".repeat(32_767) + "a")), [1, 3]);
        for (key, filter) in [&slashes, &pluses, &tail].into_iter().enumerate() {
            assert_eq!(tree.remove(filter, key as u64), Some(0));
        }
        assert_eq!(found(&tree, &slashes), [3]);
    };
    std::thread::Builder::new()
        .stack_size(128 * 1_024)
        .spawn(deep)
        .unwrap()
        .join()
        .unwrap();
}

/// Case C4: filters of `+/` × n + `#` for n to 64 of 1,000 clients, a name of 65 levels.
#[test]
fn test_wildcard_chains_of_1_000_clients_match_within_10_milliseconds() {
    let mut tree = Tree::new();
    for key in 0..1_000 {
        for n in 0..=64 {
            tree.insert(&("+/".repeat(n) + "#"), key, 0);
        }
    }
    let name = "a/".repeat(64);
    let mut count = 0;
    let best = (0..5).map(|_| {
        let start = Instant::now();
        tree.matches(&name, |_, _| count += 1);
        start.elapsed()
    });
    assert!(best.min().unwrap() < Duration::from_millis(10));
    assert_eq!(count, 5 * 65 * 1_000);
}

/// All filters of 14 levels out of `a` and `+` match one name: 16,384 of them, each node
/// looked at once.
#[test]
fn test_every_mix_of_literal_and_wildcard_is_found_once() {
    let mut tree = Tree::new();
    for mix in 0..1_u64 << 14 {
        let levels: Vec<_> = (0..14)
            .map(|at| if mix >> at & 1 == 1 { "a" } else { "+" })
            .collect();
        tree.insert(&levels.join("/"), mix, mix);
    }
    let name = ["a"; 14].join("/");
    assert_eq!(found(&tree, &name), (0..1 << 14).collect::<Vec<_>>());
    assert_eq!(found(&tree, &name.replace("a/a/a", "a/b/a")).len(), 1 << 10);
}

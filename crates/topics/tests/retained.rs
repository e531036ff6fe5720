//! The retained tree against a plain map of names.

mod naive;

use std::collections::BTreeMap;

use noctule_topics::{Bookmark, RetainedTree, Walk};
use proptest::prelude::*;

type Model = BTreeMap<String, u64>;

fn collect(tree: &RetainedTree<u64>, filter: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let ended = tree.walk(filter, None, |name, value| {
        found.push((name.to_owned(), *value));
        true
    });
    assert!(ended);
    found
}

fn expected(model: &Model, filter: &str) -> Vec<(String, u64)> {
    let matching = model
        .iter()
        .filter(|(name, _)| naive::naive_matches(filter, name));
    matching
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}

fn sorted(mut found: Vec<(String, u64)>) -> Vec<(String, u64)> {
    found.sort_unstable();
    found
}

/// Visits at most `most` names after `after`; returns them and whether the end was reached.
fn piece(
    tree: &RetainedTree<u64>,
    filter: &str,
    after: Option<&str>,
    most: usize,
) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    let ended = tree.walk(filter, after, |name, _| {
        names.push(name.to_owned());
        names.len() < most
    });
    (names, ended)
}

fn filled(names: &[String]) -> (RetainedTree<u64>, Model) {
    let (mut tree, mut model) = (RetainedTree::new(), Model::new());
    for (value, name) in names.iter().enumerate() {
        assert_eq!(
            tree.insert(name, value as u64),
            model.insert(name.clone(), value as u64)
        );
    }
    (tree, model)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..Default::default() })]

    #[test]
    fn test_any_history_is_walked_like_the_naive_matcher(
        steps in prop::collection::vec((naive::name(), any::<Option<u64>>()), 1..200),
        filters in prop::collection::vec(naive::filter(), 1..20),
    ) {
        let (mut tree, mut model) = (RetainedTree::new(), Model::new());
        for (name, value) in steps {
            match value {
                Some(value) => {
                    prop_assert_eq!(tree.insert(&name, value), model.insert(name, value));
                }
                None => prop_assert_eq!(tree.remove(&name), model.remove(&name)),
            }
            prop_assert_eq!(tree.len(), model.len());
        }
        for filter in &filters {
            prop_assert_eq!(sorted(collect(&tree, filter)), expected(&model, filter));
        }
        for (name, value) in &model {
            prop_assert_eq!(tree.get(name), Some(value));
        }
    }

    #[test]
    fn test_a_walk_goes_on_after_every_position(
        names in prop::collection::vec(naive::name(), 1..60),
        filter in naive::filter(),
        absent in naive::name(),
    ) {
        let (mut tree, _) = filled(&names);
        let whole: Vec<String> = collect(&tree, &filter).into_iter().map(|(name, _)| name).collect();
        for at in 0..whole.len() {
            let (rest, ended) = piece(&tree, &filter, Some(&whole[at]), usize::MAX);
            prop_assert!(ended);
            prop_assert_eq!(&rest, &whole[at + 1..]);
        }
        // From a name that is not (any more) there: the same as from where it would be.
        tree.insert(&absent, 0);
        let (with, _) = piece(&tree, &filter, Some(&absent), usize::MAX);
        tree.remove(&absent);
        let (without, _) = piece(&tree, &filter, Some(&absent), usize::MAX);
        prop_assert_eq!(with, without);
    }

    #[test]
    fn test_a_walk_in_pieces_under_change_misses_nothing_that_stayed(
        names in prop::collection::vec(naive::name(), 1..60),
        changes in prop::collection::vec((naive::name(), any::<bool>()), 60),
        filter in naive::filter(),
        most in 1_usize..4,
    ) {
        let (mut tree, model) = filled(&names);
        let mut stayed = model.clone();
        let mut visited: Vec<String> = Vec::new();
        let mut changes = changes.into_iter();
        loop {
            let (names, ended) = piece(&tree, &filter, visited.last().map(String::as_str), most);
            visited.extend(names);
            if ended {
                break;
            }
            // The name that the walk stopped at goes too, now and then.
            let Some((name, insert)) = changes.next() else { continue };
            if insert {
                tree.insert(&name, 0);
            } else {
                let stop = visited.last().cloned().unwrap_or(name);
                tree.remove(&stop);
                stayed.remove(&stop);
            }
        }
        let mut once = visited.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), visited.len(), "a name was visited twice");
        for (name, _) in expected(&stayed, &filter) {
            prop_assert!(visited.contains(&name), "{} was missed", name);
        }
    }

    #[test]
    fn test_a_walk_on_a_bookmark_goes_on_as_one_after_a_name(
        names in prop::collection::vec(naive::name(), 1..60),
        changes in prop::collection::vec((naive::name(), 0..4), 60),
        filter in naive::filter(),
        most in 1_usize..4,
    ) {
        let (mut tree, _) = filled(&names);
        let mut bookmark = Bookmark::default();
        let mut stop: Option<String> = None;
        for (name, change) in changes {
            let (wanted, wanted_end) = piece(&tree, &filter, stop.as_deref(), most);
            let mut visited = Vec::new();
            let ended = tree.walk_on(&filter, &mut bookmark, |name, _| {
                visited.push(name.to_owned());
                visited.len() < most
            });
            prop_assert_eq!((&visited, ended), (&wanted, wanted_end));
            if ended {
                break;
            }
            stop = visited.pop();
            match change {
                0 => drop(tree.insert(&name, 0)),
                1 => drop(tree.remove(&name)),
                // The name that the walk stopped at.
                2 => drop(stop.as_ref().and_then(|stop| tree.remove(stop))),
                _ => {}
            }
        }
    }

    #[test]
    fn test_a_walk_of_few_steps_at_a_time_visits_the_same(
        names in prop::collection::vec(naive::name(), 1..60),
        filter in naive::filter(),
        steps in 0_usize..4,
    ) {
        let (tree, _) = filled(&names);
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..=names.len() {
            let walk = tree.walk_within(&filter, after.as_deref(), steps, |name, value| {
                found.push((name.to_owned(), *value));
                true
            });
            match walk {
                Walk::Paused { after: name } => after = Some(name),
                Walk::Ended => {
                    after = None;
                    break;
                }
                Walk::Stopped => unreachable!("visit never returns false"),
            }
        }
        prop_assert_eq!(after, None, "a pause without progress");
        prop_assert_eq!(found, collect(&tree, &filter));
    }
}

#[test]
fn test_thousands_of_names_come_and_go() {
    let (mut tree, mut model) = (RetainedTree::new(), Model::new());
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..60_000_u64 {
        let name = format!("ret/{}/{}", next(100), next(100));
        if next(10) < if round < 30_000 { 8 } else { 2 } {
            assert_eq!(tree.insert(&name, round), model.insert(name, round));
        } else {
            assert_eq!(tree.remove(&name), model.remove(&name));
        }
    }
    for filter in [
        "#", "ret/+/5", "ret/7/#", "ret/+/+", "+/3/3", "ret/+", "ret/12/+",
    ] {
        assert_eq!(
            sorted(collect(&tree, filter)),
            expected(&model, filter),
            "{filter}"
        );
    }
    for name in model.keys() {
        assert!(tree.remove(name).is_some());
    }
    assert!(tree.is_empty());
    assert_eq!(collect(&tree, "#"), []);
}

#[test]
fn test_a_name_comes_before_those_below_it_and_these_before_others() {
    let names = ["a!", "a/b", "a", "a/b/c", "a/b!", "A", "/", "/a", "$SYS/x"];
    let (tree, _) = filled(&names.map(str::to_owned));
    let order: Vec<_> = collect(&tree, "#")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(order, ["/", "/a", "A", "a", "a/b", "a/b/c", "a/b!", "a!"]);
}

#[test]
fn test_leading_wildcards_pass_over_dollar_names() {
    // [MQTT-4.7.2-1]
    let names = ["$SYS/a", "$SYS/b", "!", "%/a", "x/a"].map(str::to_owned);
    let (tree, model) = filled(&names);
    for filter in ["#", "+/a", "+", "+/#", "$SYS/#", "$SYS/+"] {
        assert_eq!(
            sorted(collect(&tree, filter)),
            expected(&model, filter),
            "{filter}"
        );
    }
}

#[test]
fn test_names_of_65_535_levels_need_no_stack() {
    let deep = || {
        let mut tree = RetainedTree::new();
        let (slashes, letters) = ("/".repeat(65_535), "a/".repeat(32_767) + "a");
        tree.insert(&slashes, 1);
        tree.insert(&letters, 2);
        tree.insert("a", 3);
        assert_eq!(
            collect(&tree, &("+/".repeat(32_767) + "+")),
            [(letters.clone(), 2)]
        );
        assert_eq!(collect(&tree, &("+/".repeat(32_767) + "#")).len(), 2);
        assert_eq!(collect(&tree, "a/#").len(), 2);
        assert_eq!(tree.remove(&slashes), Some(1));
        assert_eq!(tree.remove(&letters), Some(2));
    };
    std::thread::Builder::new()
        .stack_size(128 * 1_024)
        .spawn(deep)
        .unwrap()
        .join()
        .unwrap();
}

/// 200,000 names, of which `+/9` matches one in a thousand: a walk looks at a few names for
/// each first level, not at all of them.
#[test]
fn test_a_walk_leaps_over_what_cannot_match() {
    let mut tree = RetainedTree::new();
    for first in 0..200 {
        for second in 0..1_000 {
            tree.insert(&format!("{first}/{second}"), 0_u64);
        }
    }
    let mut visits = 0;
    let walk = tree.walk_within("+/9", None, 3 * 200 + 1, |_, _| {
        visits += 1;
        true
    });
    assert_eq!((walk, visits), (Walk::Ended, 200));
    let walk = tree.walk_within("77/9", None, 2, |_, _| true);
    assert_eq!(walk, Walk::Ended);

    let mut dollar = RetainedTree::new();
    for at in 0..1_000 {
        dollar.insert(&format!("$SYS/{at}"), 0_u64);
    }
    assert_eq!(dollar.walk_within("#", None, 2, |_, _| true), Walk::Ended);
}

//! A stamp changes whenever a subscription that could match has changed.

mod naive;

use noctule_topics::Generations;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 5_000, ..Default::default() })]

    #[test]
    fn test_a_change_of_a_matching_subscription_changes_the_stamp(
        before in prop::collection::vec(naive::filter(), 0..4),
        filter in naive::filter(),
        name in naive::name(),
        shared in any::<bool>(),
    ) {
        let generations = Generations::new();
        for filter in &before {
            generations.bump(filter);
        }
        let (stamp, changes) = (generations.stamp(&name), generations.changes());
        prop_assert_eq!(stamp, generations.stamp(&name));
        let text = if shared { format!("$share/group/{filter}") } else { filter.clone() };
        generations.bump(&text);
        prop_assert!(generations.changes() > changes);
        if naive::naive_matches(&filter, &name) {
            prop_assert_ne!(generations.stamp(&name), stamp);
        }
    }
}

#[test]
fn test_a_change_elsewhere_leaves_most_stamps() {
    let generations = Generations::new();
    let names: Vec<_> = (0..1_000).map(|at| format!("site/{at}/x")).collect();
    let before: Vec<_> = names.iter().map(|name| generations.stamp(name)).collect();
    generations.bump("site/7/#");
    let after = names.iter().map(|name| generations.stamp(name));
    let changed = before
        .iter()
        .zip(after)
        .filter(|(before, after)| *before != after)
        .count();
    assert!((1..50).contains(&changed), "{changed}");
}

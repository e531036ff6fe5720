//! The rules of MQTT 5.0 §4.7 written down as slowly and plainly as they are told, and
//! topics to try them with.

use proptest::prelude::*;

/// Says whether `filter` matches `name`, by splitting both and recursing.
pub fn naive_matches(filter: &str, name: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    if name[0].starts_with('$') && ["+", "#"].contains(&filter[0]) {
        return false;
    }
    levels_match(&filter, &name)
}

fn levels_match(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) => true,
        ([], []) => true,
        ([wanted, filter @ ..], [level, name @ ..]) => {
            (*wanted == "+" || wanted == level) && levels_match(filter, name)
        }
        _ => false,
    }
}

/// A level out of few, so that names and filters meet; empty ones, `$`, levels that begin
/// alike, bytes around `/` in ASCII and one too long to lie inside a node.
fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c"]),
        2 => prop::sample::select(vec!["", "$", "$SYS", "ab", "a!", "a.", "a0", "ä", "%"]),
        1 => Just("a level of far more than twenty-two bytes"),
    ]
    .prop_map(str::to_owned)
}

pub fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a name is not empty", |name| !name.is_empty())
}

pub fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+".to_owned())];
    (
        prop::collection::vec(level, 0..6),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(mut levels, multi)| {
            if multi {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

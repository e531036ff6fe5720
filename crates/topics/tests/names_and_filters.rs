//! Which texts are names and filters, and what matches what.

mod naive;

use noctule_topics::{Filter, levels, matches, validate_filter, validate_name};
use proptest::prelude::*;

#[test]
fn test_names_with_wildcards_are_refused() {
    // [MQTT-4.7.0-1]
    for name in ["+", "#", "a/+", "a/#", "a+", "a#b"] {
        assert!(validate_name(name).is_err(), "{name}");
    }
}

#[test]
fn test_names_need_one_character_and_no_null() {
    // [MQTT-4.7.3-1] [MQTT-4.7.3-2]
    assert!(validate_name("").is_err());
    assert!(validate_name("a\0b").is_err());
    assert!(validate_filter("").is_err());
    assert!(validate_filter("a\0b").is_err());
}

#[test]
fn test_names_and_filters_end_at_65_535_bytes() {
    // [MQTT-4.7.3-3]; bytes, not characters.
    let longest = "ä".repeat(32_767) + "x";
    assert_eq!(longest.len(), 65_535);
    assert!(validate_name(&longest).is_ok());
    assert!(validate_filter(&longest).is_ok());
    let longer = "ä".repeat(32_768);
    assert!(validate_name(&longer).is_err());
    assert!(validate_filter(&longer).is_err());
    assert!(Filter::parse(&format!("$share/g/{}", "x".repeat(65_527))).is_err());
    assert!(Filter::parse(&format!("$share/g/{}", "x".repeat(65_526))).is_ok());
}

#[test]
fn test_ordinary_and_odd_names_are_taken() {
    for name in [
        "a",
        "/",
        "//",
        "a//b",
        " ",
        "$SYS/x",
        "$share",
        "ä/日本",
        "\u{1}",
        "\u{feff}",
    ] {
        assert!(validate_name(name).is_ok(), "{name}");
    }
}

#[test]
fn test_multi_level_wildcard_stands_alone_and_last() {
    // [MQTT-4.7.1-1]
    for filter in ["#", "a/#", "/#", "+/#", "//#"] {
        assert!(validate_filter(filter).is_ok(), "{filter}");
    }
    for filter in ["a#", "a/#/b", "#/", "##", "#a", "a/b#", "+#", "#/#", "#/a"] {
        assert!(validate_filter(filter).is_err(), "{filter}");
    }
}

#[test]
fn test_single_level_wildcard_fills_a_level() {
    // [MQTT-4.7.1-2]
    for filter in ["+", "+/+", "a/+/b", "/+", "+/", "+/a/#"] {
        assert!(validate_filter(filter).is_ok(), "{filter}");
    }
    for filter in ["a+", "+a", "++", "a/b+/c", "a/+b/c", "a/++"] {
        assert!(validate_filter(filter).is_err(), "{filter}");
    }
}

#[test]
fn test_shared_filters_are_taken_apart() {
    let shared = |group, filter| Ok(Filter::Shared { group, filter });
    assert_eq!(Filter::parse("$share/g/a/b"), shared("g", "a/b"));
    assert_eq!(Filter::parse("$share/g//"), shared("g", "/"));
    assert_eq!(Filter::parse("$share/g/#"), shared("g", "#"));
    assert_eq!(
        Filter::parse("$shared/g/a"),
        Ok(Filter::Plain("$shared/g/a"))
    );
    assert_eq!(Filter::parse("$SYS/#"), Ok(Filter::Plain("$SYS/#")));
}

#[test]
fn test_malformed_shared_filters_are_refused() {
    // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    let bad = [
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
    ];
    let worse = [
        "$share/#/a",
        "$share/g+/a",
        "$share/#",
        "$share/g/a#",
        "$share/g\0/a",
    ];
    for filter in bad.into_iter().chain(worse) {
        assert!(Filter::parse(filter).is_err(), "{filter}");
    }
}

#[test]
fn test_levels_are_separators_and_one() {
    for (text, count) in [("a", 1), ("/", 2), ("//", 3), ("a/b", 2), ("a/#", 2)] {
        assert_eq!(levels(text), count, "{text}");
    }
}

#[test]
fn test_filters_match_as_the_standard_says() {
    let table = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/x",
            true,
        ),
        ("sport/#", "sport", true),
        ("sport/#", "sports", false),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("a//b", "a//b", true),
        ("a/+/b", "a//b", true),
        ("a/b", "a//b", false),
        ("+/+/+", "//", true),
        ("+/#", "/", true),
        ("+/+/#", "a", false),
        ("+/+/#", "a/b", true),
        ("a", "A", false),
        ("a/b", "a/bc", false),
        ("a/bc", "a/b", false),
    ];
    for (filter, name, expected) in table {
        assert_eq!(matches(filter, name), expected, "{filter} {name}");
        assert_eq!(
            naive::naive_matches(filter, name),
            expected,
            "naive: {filter} {name}"
        );
    }
}

#[test]
fn test_leading_wildcards_do_not_match_dollar_names() {
    // [MQTT-4.7.2-1]
    for filter in ["#", "+/monitor/Clients", "+", "+/#"] {
        assert!(!matches(filter, "$SYS/monitor/Clients"), "{filter}");
        assert!(!matches(filter, "$"), "{filter}");
    }
    assert!(matches("$SYS/#", "$SYS/monitor/Clients"));
    assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
    assert!(matches("+/$x", "a/$x"));
    assert!(matches("a/+", "a/$x"));
}

#[test]
fn test_matching_changes_no_character() {
    // [MQTT-4.7.3-4]: both normal forms of é stay two names.
    assert!(!matches("\u{e9}", "e\u{301}"));
    assert!(!matches("\u{feff}a", "a"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..Default::default() })]

    #[test]
    fn test_matching_agrees_with_the_naive_matcher(filter in naive::filter(), name in naive::name()) {
        prop_assert!(validate_filter(&filter).is_ok());
        prop_assert!(validate_name(&name).is_ok());
        prop_assert_eq!(matches(&filter, &name), naive::naive_matches(&filter, &name));
    }

    #[test]
    fn test_any_text_is_judged_without_panic(text in any::<String>(), name in any::<String>()) {
        let levels_are_right = || text.split('/').enumerate().all(|(at, level)| {
            level == "+" || !level.contains(['+', '#'])
                || (level == "#" && at + 1 == levels(&text))
        });
        let good = !text.is_empty() && !text.contains('\0') && levels_are_right();
        prop_assert_eq!(validate_filter(&text).is_ok(), good);
        let _ = (Filter::parse(&text), matches(&text, &name));
    }
}

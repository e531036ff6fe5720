//! Names that are refused although MQTT would let a server take them.

/// Whether a name holds control characters, which MQTT advises against and lets a server
/// refuse (5.0 §1.5.4, 3.1.1 §1.5.3): they forge lines of logs, and mean things to terminals.
pub(crate) fn has_control(name: &str) -> bool {
    name.chars().any(char::is_control)
}

/// Whether a topic is the broker's own to publish (MQTT 5.0 §4.7.2): those that begin with `$`,
/// but for the one in which Mosquitto's bridges tell whether they are there, as a will, too.
pub(crate) fn is_reserved(topic: &[u8]) -> bool {
    topic.starts_with(b"$")
        && !(topic.starts_with(b"$SYS/broker/connection/") && topic.ends_with(b"/state"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_those_of_both_sets() {
        for name in ["a\u{1}", "\u{1f}", "a\u{7f}b", "\u{9f}", "a\nb"] {
            assert!(has_control(name), "{name:?}");
        }
        for name in ["", "a b", "~", "\u{a0}", "\u{feff}", "å/日本/🦉"] {
            assert!(!has_control(name), "{name:?}");
        }
    }

    #[test]
    fn bridges_may_tell_their_state_and_nothing_else() {
        assert!(!is_reserved(b"$SYS/broker/connection/lab.test/state"));
        assert!(!is_reserved(b"a/$SYS"));
        for topic in [
            "$SYS/broker/connection/lab",
            "$SYS/broker/state",
            "$share/g/t",
            "$",
        ] {
            assert!(is_reserved(topic.as_bytes()), "{topic}");
        }
    }
}

//! The clients that fare worst, as `$SYS/broker/clients/…` tells them: as JSON.

use std::fmt::Write;
use std::sync::Arc;

/// Clients told in each list.
const TOLD: usize = 10;

/// A name is cut beyond this: a payload stays small whatever clients call themselves.
const NAME_CHARACTERS: usize = 200;

/// One worker's share.
#[derive(Debug, Default)]
pub(crate) struct Worst {
    pub dropping: Vec<Dropping>,
    pub slow: Vec<Slow>,
}

/// A session that lost messages in the last interval.
#[derive(Clone, Debug)]
pub(crate) struct Dropping {
    pub client: Arc<str>,
    pub user: Option<Box<str>>,
    pub since: u64,
    /// By reason, since the session began.
    pub in_all: Vec<(&'static str, u64)>,
}

/// A connection whose output waits.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub client: Arc<str>,
    pub user: Option<Box<str>>,
    /// What waits to be written, and what is queued behind.
    pub bytes: u64,
    pub queued_messages: u64,
}

/// Those that lost most, most first.
pub(crate) fn tell_dropping(mut all: Vec<Dropping>) -> String {
    all.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.client.cmp(&b.client)));
    list(&all, |each, out| {
        push_who(out, &each.client, each.user.as_deref());
        let total: u64 = each.in_all.iter().map(|(_, count)| count).sum();
        let _ = write!(
            out,
            r#","dropped":{},"dropped_in_all":{total},"by_reason":{{"#,
            each.since
        );
        for (place, (reason, count)) in each.in_all.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}"{reason}":{count}"#);
        }
        out.push('}');
    })
}

/// Those for which most waits, most first.
pub(crate) fn tell_slow(mut all: Vec<Slow>) -> String {
    all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.client.cmp(&b.client)));
    list(&all, |each, out| {
        push_who(out, &each.client, each.user.as_deref());
        let _ = write!(
            out,
            r#","bytes_waiting":{},"messages_queued":{}"#,
            each.bytes, each.queued_messages
        );
    })
}

fn list<T>(all: &[T], push: impl Fn(&T, &mut String)) -> String {
    let mut out = String::from("[");
    for (place, each) in all.iter().take(TOLD).enumerate() {
        out.push_str(if place == 0 { "{" } else { ",{" });
        push(each, &mut out);
        out.push('}');
    }
    out.push(']');
    out
}

fn push_who(out: &mut String, client: &str, user: Option<&str>) {
    out.push_str(r#""client":"#);
    push_text(out, client);
    out.push_str(r#","user":"#);
    match user {
        Some(user) => push_text(out, user),
        None => out.push_str("null"),
    }
}

/// A JSON string (RFC 8259 §7); control characters beyond those that JSON forbids are
/// escaped as well, for terminals.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for (place, character) in text.chars().enumerate() {
        match character {
            _ if place == NAME_CHARACTERS => {
                out.push('…');
                break;
            }
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &str) -> String {
        let mut out = String::new();
        push_text(&mut out, of);
        out
    }

    #[test]
    fn hostile_names_stay_inside_their_string() {
        assert_eq!(text(r#"a","b":"\"#), r#""a\",\"b\":\"\\""#);
        assert_eq!(
            text("\n\u{1}\u{1b}[2J\u{9b}é🦇"),
            "\"\\u000a\\u0001\\u001b[2J\\u009bé🦇\""
        );
        let long = "\"".repeat(65_535);
        assert_eq!(
            text(&long),
            format!("\"{}…\"", "\\\"".repeat(NAME_CHARACTERS))
        );
        assert_eq!(text(&"é".repeat(200)), format!("\"{}\"", "é".repeat(200)));
    }

    #[test]
    fn the_ten_that_lost_most_are_told_most_first() {
        let all = (0..30).map(|number| Dropping {
            client: format!("c{number}").into(),
            user: (number == 29).then(|| "ann".into()),
            since: number,
            in_all: vec![("rate", number), ("queue_full", 1)],
        });
        let told = tell_dropping(all.collect());
        assert!(told.starts_with(
            r#"[{"client":"c29","user":"ann","dropped":29,"dropped_in_all":30,"by_reason":{"rate":29,"queue_full":1}},{"client":"c28","user":null,"#
        ));
        assert_eq!(told.matches("client").count(), TOLD);
        assert_eq!(tell_dropping(Vec::new()), "[]");
    }

    #[test]
    fn the_slowest_are_told_with_what_waits() {
        let slow = |client: &str, bytes| Slow {
            client: client.into(),
            user: None,
            bytes,
            queued_messages: 3,
        };
        assert_eq!(
            tell_slow(vec![slow("a", 1), slow("b", 2)]),
            r#"[{"client":"b","user":null,"bytes_waiting":2,"messages_queued":3},{"client":"a","user":null,"bytes_waiting":1,"messages_queued":3}]"#
        );
    }
}

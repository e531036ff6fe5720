//! What goes out comes in, and goes out the same; what is wrong is said, and nothing of
//! it comes in.

use std::path::Path;

use noctule_archive::{ArchiveError, Import, Imported, export, summary};
use noctule_store::StoreError;

/// Every kind of line, every field, payloads and properties of every type.
const EVERYTHING: &str = r#"{"type":"store","format":1,"written_by":"noctule 0.1.0"}
{"type":"session","client":"zoë","user":"alice","expiry_seconds":4294967295,"offline_since_ms":1790000000123,"will":{"topic":"gone/zoë","qos":1,"retain":true,"delay_seconds":30,"expiry_seconds":60,"properties":[["content_type","text/plain"]],"payload":"bye"}}
{"type":"session","client":"a \"quoted\" one","user":null,"expiry_seconds":3600,"offline_since_ms":null}
{"type":"session","client":"c","user":null,"expiry_seconds":1,"offline_since_ms":1790000000000,"will":{"topic":"w","qos":0,"retain":false,"delay_seconds":0,"expiry_seconds":null,"payload_base64":"/w=="}}
{"type":"subscription","client":"zoë","filter":"$share/group/a/+/#","qos":2,"no_local":false,"retain_as_published":false,"subscription_identifier":268435455}
{"type":"subscription","client":"zoë","filter":"b","qos":0,"no_local":true,"retain_as_published":true,"subscription_identifier":null}
{"type":"subscription","client":"c","filter":"b","qos":1,"no_local":false,"retain_as_published":true,"subscription_identifier":1}
{"type":"queued","client":"zoë","qos":2,"retain":false,"packet_identifier":65535,"message":{"topic":"a/b","qos":2,"retain":false,"arrived_ms":1790000000001,"expires_ms":null,"payload":""}}
{"type":"released","client":"zoë","packet_identifier":7}
{"type":"queued","client":"zoë","qos":1,"retain":true,"subscription_identifiers":[1,268435455],"group":"$share/group/a/+/#","message":{"topic":"a/b/c","qos":2,"retain":true,"arrived_ms":1790000000002,"expires_ms":1790000060000,"properties":[["user_property",["k","1"]],["payload_format_indicator",1],["content_type","x"],["response_topic","answer/here"],["correlation_data","AP8="],["user_property",["k","2"]]],"payload":"line\nbreak \"and\" \u0000 nul"}}
{"type":"released","client":"c","packet_identifier":1}
{"type":"received","client":"zoë","packet_identifier":1}
{"type":"received","client":"zoë","packet_identifier":300}
{"type":"retained","message":{"topic":"$odd/topic","qos":1,"retain":true,"arrived_ms":0,"expires_ms":5,"payload_base64":"AP/+gA=="}}
{"type":"retained","message":{"topic":"r","qos":0,"retain":true,"arrived_ms":1790000000003,"expires_ms":null,"payload":"kept"}}
"#;

const NOW: u64 = 1_790_000_000_000;

fn import(path: &Path, lines: &[u8]) -> Result<Imported, ArchiveError> {
    let mut import = Import::begin(path, NOW)?;
    // In pieces that end anywhere.
    for chunk in lines.chunks(7) {
        import.feed(chunk)?;
    }
    import.finish()
}

fn exported(path: &Path) -> String {
    let mut out = Vec::new();
    let done = export(path, &mut out, |_| Ok(())).unwrap();
    assert_eq!((done.left_out, done.report.damage.len()), (0, 0));
    String::from_utf8(out).unwrap()
}

#[test]
fn every_kind_of_line_comes_back_as_it_went() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let imported = import(&path, EVERYTHING.as_bytes()).unwrap();
    let counts = (imported.sessions, imported.subscriptions);
    assert_eq!((counts, imported.queued, imported.retained), ((3, 3), 2, 2));
    assert_eq!(exported(&path), EVERYTHING);
    let held = summary(&path).unwrap();
    assert_eq!(held.sessions.records, 3);
    assert_eq!(held.in_flight.records, 3);
    assert_eq!(held.received.records, 2);
    assert!(held.damage.is_empty());
}

#[test]
fn what_may_be_left_away_has_its_default() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let short = r#"{"type":"store","format":1}

{"type":"session","client":"c","expiry_seconds":9}
{"type":"subscription","client":"c","filter":"f","qos":1}
{"type":"queued","client":"c","qos":1,"message":{"topic":"t","qos":1,"payload":"p"}}"#;
    import(&path, short.as_bytes()).unwrap();
    let lines = exported(&path);
    assert!(
        lines.contains(r#""arrived_ms":1790000000000,"expires_ms":null"#),
        "{lines}"
    );
    assert!(lines.contains(r#""offline_since_ms":null"#), "{lines}");
    assert_eq!(lines.lines().count(), 4);
}

#[test]
fn of_a_topic_that_stands_twice_the_last_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let line = |payload: &str| {
        format!(
            "{{\"type\":\"retained\",\"message\":{{\"topic\":\"t\",\"qos\":0,\"payload\":\"{payload}\"}}}}\n"
        )
    };
    let lines = [
        "{\"type\":\"store\",\"format\":1}\n",
        &line("old"),
        &line("new"),
    ]
    .concat();
    import(&path, lines.as_bytes()).unwrap();
    let lines = exported(&path);
    assert!(lines.contains("new") && !lines.contains("old"), "{lines}");
}

#[test]
fn a_wrong_line_is_named_and_nothing_comes_in() {
    let wrong = [
        (r#"{"type":"retained"}"#, "missing field `message`"),
        (r#"{"type":"nonsense"}"#, "unknown variant `nonsense`"),
        (
            r#"{"type":"session","client":"","expiry_seconds":1}"#,
            "client is empty",
        ),
        (
            r#"{"type":"session","client":"c","expiry_seconds":0}"#,
            "expiry_seconds is 0",
        ),
        (
            r#"{"type":"session","client":"c","expiry_seconds":1,"expiry":1}"#,
            "unknown field `expiry`",
        ),
        (
            r#"{"type":"session","client":"known","expiry_seconds":1}"#,
            "has a session already",
        ),
        (
            r#"{"type":"subscription","client":"unknown","filter":"f","qos":1}"#,
            "its line comes first",
        ),
        (
            r#"{"type":"subscription","client":"known","filter":"a/#/b","qos":1}"#,
            "filter \"a/#/b\"",
        ),
        (
            r#"{"type":"subscription","client":"known","filter":"f","qos":3}"#,
            "qos is 0, 1 or 2",
        ),
        (
            r#"{"type":"subscription","client":"known","filter":"f","qos":1,"subscription_identifier":0}"#,
            "1 to 268435455",
        ),
        (
            r#"{"type":"received","client":"known","packet_identifier":0}"#,
            "1 to 65535",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a/+","qos":0,"payload":""}}"#,
            "topic \"a/+\"",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a","qos":0}}"#,
            "payload or payload_base64",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a","qos":0,"payload_base64":"!"}}"#,
            "no base64",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a","qos":0,"payload":"","payload_base64":""}}"#,
            "give one of them",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a","qos":0,"payload":"","properties":[["topic_alias",1]]}}"#,
            "topic_alias is no property",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a","qos":0,"payload":"","properties":[["payload_format_indicator",2]]}}"#,
            "cannot be 2",
        ),
        (
            r#"{"type":"retained","message":{"topic":"a","qos":0,"payload":"","properties":[["content_type","a"],["content_type","b"]]}}"#,
            "stands twice",
        ),
        (
            r#"{"type":"queued","client":"known","qos":0,"message":{"topic":"t","qos":0,"payload":""}}"#,
            "nothing of QoS 0",
        ),
        (
            r#"{"type":"queued","client":"known","qos":1,"packet_identifier":3,"message":{"topic":"t","qos":1,"payload":""}}"#,
            "for QoS 2 alone",
        ),
        (r#"{"type":"store","format":1}"#, "stands first"),
        (r#"{"type":"#, "EOF while parsing"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    for (line, expected) in wrong {
        let lines = format!(
            "{{\"type\":\"store\",\"format\":1}}\n{{\"type\":\"session\",\"client\":\"known\",\"expiry_seconds\":1}}\n{line}\n"
        );
        let error = import(&path, lines.as_bytes()).unwrap_err();
        let ArchiveError::Line { number: 3, what } = &error else {
            panic!("{line}: {error}");
        };
        assert!(what.contains(expected), "{line}: {what}");
        assert_eq!(exported(&path).lines().count(), 1, "after {line}");
    }
}

#[test]
fn lines_of_a_later_form_or_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (lines, expected) in [
        ("{\"type\":\"store\",\"format\":2}\n", "format 2 is not one"),
        (
            "{\"type\":\"session\",\"client\":\"c\",\"expiry_seconds\":1}\n",
            "the first line",
        ),
        ("", "there is none"),
    ] {
        let error = import(&directory.path().join("store"), lines.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 1: "), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_store_that_holds_something_is_not_filled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    import(&path, EVERYTHING.as_bytes()).unwrap();
    let refused = import(&path, EVERYTHING.as_bytes());
    assert!(matches!(
        refused,
        Err(ArchiveError::Store(StoreError::NotEmpty { .. }))
    ));
    assert_eq!(exported(&path), EVERYTHING);
}

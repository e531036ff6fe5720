//! Who loses messages and who is behind, as `$SYS/broker/clients/…` tells.

use noctule_broker::Options;
use noctule_packets::{PacketType, QoS};

use crate::rig::{Hello, Peerage, Rig};

const QOS_0: QoS = QoS::AtMostOnce;
const QOS_1: QoS = QoS::AtLeastOnce;

fn telling(options: &mut Options) {
    options.limits.write_buffer_bytes = 4_096;
    options.limits.hold_publishers_milliseconds = 0;
    options.system_topics_interval_seconds.0 = 1;
}

/// What `$SYS/broker/clients/NAME` holds.
fn told(rig: &mut Rig, name: &str) -> String {
    let reader = rig.connect("reader", Hello::default());
    rig.subscribe(reader, &format!("$SYS/broker/clients/{name}"), QOS_0);
    let payload = rig.take_payloads(reader).pop();
    rig.cut(reader);
    payload.expect("it is retained")
}

/// A second passes, twice: each worker shares, and the first tells.
fn pass(rig: &mut Rig) {
    rig.wait_seconds(2);
}

fn stall(rig: &mut Rig, client: Peerage, publisher: Peerage, topic: &str) {
    rig.listen(client, topic, QOS_0);
    for _ in 0..60 {
        rig.publish(publisher, topic, &"x".repeat(500), QOS_0);
    }
}

#[test]
fn a_subscriber_that_takes_nothing_is_told_by_name_whatever_its_name_and_worker() {
    for workers in [1, 2] {
        let mut rig = Rig::new(workers, telling);
        rig.wait_seconds(1);
        assert_eq!(told(&mut rig, "dropping"), "[]");
        assert_eq!(told(&mut rig, "slow"), "[]");
        let name = rig.name_on(workers - 1, "\",\"\\");
        let client = rig.connect(&name, Hello::default());
        let publisher = rig.connect("p", Hello::default());
        stall(&mut rig, client, publisher, "a");
        let lost = rig.statistic("publish_dropped");
        assert!(lost > 40, "{lost}");
        let waiting = rig.waiting(client);
        // The list is of one interval: whose it is depends on when a worker shares.
        let mut dropping = String::new();
        for _ in 0..4 {
            rig.wait(std::time::Duration::from_millis(500));
            dropping = told(&mut rig, "dropping");
            if dropping != "[]" {
                break;
            }
        }
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        assert_eq!(
            dropping,
            format!(
                r#"[{{"client":"{escaped}","user":null,"dropped":{lost},"dropped_in_all":{lost},"by_reason":{{"slow_reader":{lost}}}}}]"#
            )
        );
        pass(&mut rig);
        pass(&mut rig);
        assert_eq!(told(&mut rig, "dropping"), "[]");
        assert_eq!(
            told(&mut rig, "slow"),
            format!(
                r#"[{{"client":"{escaped}","user":null,"bytes_waiting":{waiting},"messages_queued":0}}]"#
            )
        );
        // It loses more: the interval has its own count, the whole goes on.
        rig.publish(publisher, "a", "x", QOS_0);
        rig.wait_seconds(1);
        let mut again = told(&mut rig, "dropping");
        if again == "[]" {
            rig.wait_seconds(1);
            again = told(&mut rig, "dropping");
        }
        let counts = format!(r#""dropped":1,"dropped_in_all":{},"#, lost + 1);
        assert!(again.contains(&counts), "{again}");
        rig.take(client);
        pass(&mut rig);
        assert_eq!(told(&mut rig, "slow"), "[]");
    }
}

#[test]
fn a_subscriber_that_acknowledges_nothing_is_told_while_its_queue_is_long() {
    let mut rig = Rig::new(1, telling);
    let hello = Hello {
        receive_maximum: 1,
        ..Hello::default()
    };
    let client = rig.connect("c", hello);
    rig.listen(client, "a", QOS_1);
    let publisher = rig.connect("p", Hello::default());
    for _ in 0..41 {
        rig.publish(publisher, "a", "x", QOS_1);
    }
    pass(&mut rig);
    let slow = told(&mut rig, "slow");
    assert!(slow.starts_with(r#"[{"client":"c","#), "{slow}");
    assert!(slow.ends_with(r#""messages_queued":40}]"#), "{slow}");
    loop {
        let messages = rig.take_messages(client);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            rig.acknowledge(client, PacketType::Puback, message.identifier);
        }
    }
    pass(&mut rig);
    assert_eq!(told(&mut rig, "slow"), "[]");
}

#[test]
fn those_that_lose_most_are_in_the_list_however_many_lose_some() {
    let mut rig = Rig::new(1, telling);
    let publisher = rig.connect("p", Hello::default());
    for number in 0..60 {
        let client = rig.connect(&format!("c{number}"), Hello::default());
        let topic = format!("t{number}");
        stall(&mut rig, client, publisher, &topic);
        for _ in 0..number * 20 {
            rig.publish(publisher, &topic, "x", QOS_0);
        }
    }
    rig.wait_seconds(1);
    let dropping = told(&mut rig, "dropping");
    assert_eq!(dropping.matches("\"client\"").count(), 10);
    let places: Vec<_> = (50..60)
        .rev()
        .map(|number| dropping.find(&format!("\"c{number}\"")))
        .collect();
    assert!(places.is_sorted() && places[0].is_some(), "{dropping}");
}

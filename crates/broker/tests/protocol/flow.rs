//! Flow: back-pressure, queues, rates and memory.

use std::time::Duration;

use noctule_broker::{Options, Policy, QueueFull, RateLimits};
use noctule_packets::{Packet, PacketType, Properties, Publish, QoS, Version};

use crate::rig::{Got, Hello, Rig};

const QOS_0: QoS = QoS::AtMostOnce;
const QOS_1: QoS = QoS::AtLeastOnce;

/// A small write buffer: what is written beyond half of it holds publishers.
fn small(options: &mut Options) {
    options.limits.write_buffer_bytes = 4_096;
}

#[test]
fn a_publisher_is_held_while_its_subscriber_is_behind_and_goes_on_after() {
    for workers in [1, 2] {
        let mut rig = Rig::new(workers, small);
        let name = rig.name_on(workers - 1, "c");
        let client = rig.connect(&name, Hello::default());
        rig.listen(client, "a", QOS_1);
        let name = rig.name_on(0, "p");
        let publisher = rig.connect(&name, Hello::default());
        let payload = "x".repeat(500);
        let mut sent = 0;
        while !rig.is_paused(publisher) {
            rig.publish(publisher, "a", &payload, QOS_0);
            sent += 1;
            assert!(sent < 100, "never held");
        }
        // What it sends all the same waits.
        for _ in 0..20 {
            rig.publish(publisher, "a", &payload, QOS_0);
            sent += 1;
        }
        assert!(rig.waiting(client) < 4_096);
        let mut received = 0;
        while !rig.take_messages(client).is_empty() {
            received = rig.statistic("publish_sent");
        }
        assert_eq!(received, sent);
        assert!(!rig.is_paused(publisher));
        assert_eq!(rig.statistic("publish_dropped"), 0);
    }
}

#[test]
fn nobody_waits_for_a_subscriber_that_takes_nothing() {
    let mut rig = Rig::new(1, small);
    let client = rig.connect("c", Hello::default());
    rig.listen(client, "a", QOS_0);
    let publisher = rig.connect("p", Hello::default());
    let payload = "x".repeat(500);
    while !rig.is_paused(publisher) {
        rig.publish(publisher, "a", &payload, QOS_0);
    }
    rig.wait_seconds(1);
    assert!(!rig.is_paused(publisher));
    for _ in 0..50 {
        rig.publish(publisher, "a", &payload, QOS_0);
    }
    assert!(!rig.is_paused(publisher));
    assert!(rig.statistic("publish_dropped") >= 40);
    // Once it has read what there was, it gets everything again.
    rig.take(client);
    rig.publish(publisher, "a", "fresh", QOS_0);
    assert_eq!(rig.take_payloads(client), ["fresh"]);
    rig.cut(client);
    assert!(rig.dropped("slow_reader") >= 40);
}

#[test]
fn messages_with_qos_wait_in_order_for_a_subscriber_that_takes_nothing() {
    let mut rig = Rig::new(1, small);
    let client = rig.connect("c", Hello::default());
    rig.listen(client, "a", QOS_1);
    let publisher = rig.connect("p", Hello::default());
    let filler = "x".repeat(500);
    let mut sent = Vec::new();
    for number in 0..60 {
        let payload = format!("{number} {filler}");
        rig.publish(publisher, "a", &payload, QOS_1);
        sent.push(payload);
        rig.wait(Duration::from_millis(101));
    }
    let mut received = Vec::new();
    loop {
        let messages = rig.take_messages(client);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            rig.acknowledge(client, PacketType::Puback, message.identifier);
            received.push(message.payload);
        }
    }
    assert_eq!(received, sent);
    assert_eq!(rig.statistic("messages_stored"), 0);
}

/// What a session kept of five messages, with room for three of them, and what their
/// publisher was told.
fn overflow(policy: QueueFull) -> (Rig, Vec<String>, Vec<u8>) {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_queued_messages = 3;
        options.limits.queue_full = policy;
    });
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.connect("p", Hello::default());
    for payload in ["1", "2", "3", "4", "5"] {
        rig.publish(publisher, "a", payload, QOS_1);
    }
    let told = rig.take(publisher).into_iter().map(|each| match each {
        Got::Ack(PacketType::Puback, _, reason) => reason,
        other => panic!("{other:?}"),
    });
    let told = told.collect();
    let client = rig.connect("c", Hello::kept());
    let kept = rig.take_payloads(client);
    rig.cut(client);
    (rig, kept, told)
}

#[test]
fn the_oldest_message_makes_room_where_the_policy_says_so() {
    let (rig, kept, told) = overflow(QueueFull::DropOldest);
    assert_eq!(kept, ["3", "4", "5"]);
    assert_eq!(told, [0; 5]);
    assert_eq!(rig.dropped("queue_full"), 2);
}

#[test]
fn the_newest_message_is_dropped_where_the_policy_says_so() {
    for policy in [QueueFull::DropNewest, QueueFull::Disconnect] {
        let (rig, kept, told) = overflow(policy);
        assert_eq!(kept, ["1", "2", "3"]);
        assert_eq!(told, [0; 5]);
        assert_eq!(rig.dropped("queue_full"), 2);
    }
}

#[test]
fn the_publisher_is_refused_where_the_policy_says_so() {
    let (rig, kept, told) = overflow(QueueFull::Reject);
    assert_eq!(kept, ["1", "2", "3"]);
    assert_eq!(told, [0, 0, 0, 0x97, 0x97]);
    assert_eq!(rig.statistic("publish_dropped"), 0);
}

/// Five messages of QoS 1 in one go, from one worker to a queue of another.
fn overflow_across_workers(set: impl FnOnce(&mut Options)) -> (Vec<String>, Vec<u8>) {
    let mut rig = Rig::new(2, |options| {
        options.limits.queue_full = QueueFull::Reject;
        set(options);
    });
    let (name, other) = (rig.name_on(1, "c"), rig.name_on(0, "p"));
    let client = rig.connect(&name, Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.connect(&other, Hello::default());
    let mut bytes = Vec::new();
    for (identifier, payload) in (1..).zip(["1", "2", "3", "4", "5"]) {
        let publish = Publish {
            dup: false,
            qos: QOS_1,
            retain: false,
            topic: "a",
            packet_identifier: identifier,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        Packet::Publish(publish).encode(Version::V5, &mut bytes);
    }
    rig.send_bytes(publisher, &bytes);
    rig.publish(publisher, "a", "6", QOS_1);
    let told = rig.take(publisher).into_iter().map(|each| match each {
        Got::Ack(PacketType::Puback, _, reason) => reason,
        other => panic!("{other:?}"),
    });
    let told = told.collect();
    assert_eq!(rig.dropped("queue_full"), 0);
    let client = rig.connect(&name, Hello::kept());
    (rig.take_payloads(client), told)
}

#[test]
fn what_was_taken_before_another_worker_knew_of_the_full_queue_is_kept() {
    let by_number = overflow_across_workers(|options| options.limits.max_queued_messages = 3);
    let by_size = overflow_across_workers(|options| options.limits.max_queued_bytes = 1);
    for (kept, told) in [by_number, by_size] {
        assert_eq!(kept, ["1", "2", "3", "4", "5"]);
        assert_eq!(told, [0, 0, 0, 0, 0, 0x97]);
    }
}

#[test]
fn an_overfull_queue_is_full_until_it_is_below_its_limit() {
    let mut rig = Rig::new(1, |options| {
        options.limits.queue_full = QueueFull::Reject;
        options.limits.max_queued_bytes = 1_000;
    });
    let kept = Hello {
        receive_maximum: 1,
        ..Hello::kept()
    };
    let client = rig.connect("c", kept);
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.connect("p", Hello::default());
    let told = |rig: &mut Rig, payload: &str| {
        rig.publish(publisher, "a", payload, QOS_1);
        match rig.take(publisher)[..] {
            [Got::Ack(PacketType::Puback, _, reason)] => reason,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(&mut rig, "1"), 0);
    assert_eq!(told(&mut rig, &"2".repeat(2_000)), 0);
    assert_eq!(told(&mut rig, "3"), 0x97);
    let kept = Hello {
        receive_maximum: 1,
        ..Hello::kept()
    };
    let client = rig.connect("c", kept);
    let first = rig.take_messages(client);
    assert_eq!(first[0].payload, "1");
    assert_eq!(told(&mut rig, "3"), 0x97);
    rig.acknowledge(client, PacketType::Puback, first[0].identifier);
    assert_eq!(rig.take_payloads(client), ["2".repeat(2_000)]);
    assert_eq!(told(&mut rig, "3"), 0);
}

#[test]
fn a_publisher_of_3_1_1_is_disconnected_where_its_message_is_refused() {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_queued_messages = 1;
        options.limits.queue_full = QueueFull::Reject;
    });
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let old = Hello {
        version: Version::V4,
        ..Hello::default()
    };
    let publisher = rig.connect("p", old);
    rig.publish(publisher, "a", "1", QOS_1);
    assert_eq!(rig.take(publisher).len(), 1);
    rig.publish(publisher, "a", "2", QOS_1);
    assert_eq!(rig.take(publisher), []);
    assert!(rig.is_closing(publisher));
}

#[test]
fn a_slow_subscriber_is_disconnected_where_the_policy_says_so() {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_queued_messages = 3;
        options.limits.max_inflight_messages = 1;
        options.limits.queue_full = QueueFull::Disconnect;
    });
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_1);
    let publisher = rig.connect("p", Hello::default());
    for payload in ["1", "2", "3", "4"] {
        rig.publish(publisher, "a", payload, QOS_1);
    }
    assert!(!rig.is_closing(client));
    rig.publish(publisher, "a", "5", QOS_1);
    assert!(rig.is_closing(client));
    let got = rig.take(client);
    assert_eq!(got.last(), Some(&Got::Disconnect(0x97, None)));
}

#[test]
fn a_publisher_is_paused_at_its_rate_and_loses_nothing() {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_messages_per_second_in = 10;
    });
    let client = rig.connect("c", Hello::default());
    rig.listen(client, "a", QOS_0);
    let publisher = rig.connect("p", Hello::default());
    for _ in 0..100 {
        rig.publish(publisher, "a", "x", QOS_0);
    }
    assert!(rig.is_paused(publisher));
    let mut received = rig.take_payloads(client).len();
    assert!((9..=11).contains(&received), "{received} at once");
    rig.wait_seconds(5);
    received += rig.take_payloads(client).len();
    assert!((59..=61).contains(&received), "{received} after 5 s");
    rig.wait_seconds(5);
    received += rig.take_payloads(client).len();
    assert_eq!(received, 100);
    assert!(!rig.is_paused(publisher));
}

#[test]
fn a_subscriber_gets_no_more_than_its_rate_and_the_rest_later() {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_messages_per_second_out = 10;
    });
    let client = rig.connect("c", Hello::default());
    rig.listen(client, "a", QOS_1);
    let publisher = rig.connect("p", Hello::default());
    for _ in 0..60 {
        rig.publish(publisher, "a", "x", QOS_1);
    }
    let mut received = rig.take_payloads(client).len();
    assert!((9..=11).contains(&received), "{received} at once");
    for _ in 0..60 {
        rig.wait(Duration::from_millis(100));
        received += rig.take_payloads(client).len();
    }
    assert_eq!(received, 60);
}

#[test]
fn a_listener_has_rates_of_its_own_and_the_lower_bound_holds() {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_messages_per_second_in = 20;
        let policy = |messages_in, bytes_out| Policy {
            rates: RateLimits {
                messages_in,
                bytes_out,
                ..RateLimits::default()
            },
            ..Policy::default()
        };
        options.policies = vec![policy(0, 0), policy(10, 50), policy(1_000, 0)];
    });
    let by = |listener| Hello {
        listener,
        ..Hello::default()
    };
    for (listener, most) in [(0, 20), (1, 10), (2, 20)] {
        let (client, publisher) = (
            rig.connect(&format!("c{listener}"), by(0)),
            rig.connect(&format!("p{listener}"), by(listener)),
        );
        rig.listen(client, "a", QOS_0);
        for _ in 0..100 {
            rig.publish(publisher, "a", "x", QOS_0);
        }
        let received = rig.take_payloads(client).len();
        assert!((most - 1..=most + 1).contains(&received), "{received}");
    }
    let (subscriber, publisher) = (rig.connect("s", by(1)), rig.connect("p", by(0)));
    rig.listen(subscriber, "b", QOS_1);
    for _ in 0..20 {
        rig.publish(publisher, "b", "0123456789", QOS_1);
    }
    let received = rig.take_payloads(subscriber).len();
    assert!((4..=6).contains(&received), "{received} of 10 bytes each");
}

#[test]
fn a_client_that_exceeds_its_receive_maximum_is_told_so() {
    // [MQTT-3.3.4-9]
    let mut rig = Rig::new(1, |options| options.limits.receive_maximum = 3);
    let publisher = rig.connect("p", Hello::default());
    for _ in 0..3 {
        rig.publish(publisher, "a", "x", QoS::ExactlyOnce);
    }
    assert_eq!(rig.take(publisher).len(), 3);
    rig.publish(publisher, "a", "x", QoS::ExactlyOnce);
    assert_eq!(rig.take(publisher), [Got::Disconnect(0x93, None)]);
}

#[test]
fn no_more_than_the_receive_maximum_is_in_flight_to_a_client() {
    let mut rig = Rig::new(1, |_| {});
    let hello = Hello {
        receive_maximum: 2,
        ..Hello::default()
    };
    let client = rig.connect("c", hello);
    rig.listen(client, "a", QOS_1);
    let publisher = rig.connect("p", Hello::default());
    for payload in ["1", "2", "3", "4"] {
        rig.publish(publisher, "a", payload, QOS_1);
    }
    // QoS 0 is not bound by it.
    rig.publish(publisher, "a", "0", QOS_0);
    let first = rig.take_messages(client);
    let payloads: Vec<_> = first.iter().map(|each| each.payload.as_str()).collect();
    assert_eq!(payloads, ["1", "2", "0"]);
    rig.acknowledge(client, PacketType::Puback, first[0].identifier);
    assert_eq!(rig.take_payloads(client), ["3"]);
}

#[test]
fn a_broker_short_of_memory_takes_no_clients_and_keeps_those_it_has() {
    let mut rig = Rig::new(1, |options| options.limits.max_memory_bytes = 1 << 30);
    let client = rig.connect("c", Hello::default());
    rig.listen(client, "a", QOS_0);
    let _ = rig.shared.set_memory(1 << 31);
    let late = rig.knock("late", Hello::default());
    let (present, reason) = (false, 0x89);
    assert_eq!(rig.take(late), [Got::Connack { present, reason }]);
    rig.publish(client, "a", "1", QOS_0);
    rig.publish(client, "a", "2", QOS_0);
    assert!(rig.is_paused(client));
    let _ = rig.shared.set_memory(0);
    rig.wait_seconds(1);
    assert!(!rig.is_paused(client));
    assert_eq!(rig.take_payloads(client), ["1", "2"]);
}

#[test]
fn a_broker_short_of_memory_stores_nothing_more() {
    let mut rig = Rig::new(1, |options| {
        options.limits.max_memory_bytes = 1 << 30;
        options.limits.queue_qos0 = true;
    });
    let sleeper = rig.connect("sleeper", Hello::kept());
    rig.listen(sleeper, "a", QOS_0);
    rig.cut(sleeper);
    let publisher = rig.connect("p", Hello::default());
    let _ = rig.shared.set_memory(1 << 31);
    rig.publish(publisher, "a", "not queued", QOS_0);
    let _ = rig.shared.set_memory(0);
    rig.wait_seconds(1);
    rig.publish(publisher, "a", "queued", QOS_0);
    // Who has something to take is let in even so.
    let _ = rig.shared.set_memory(1 << 31);
    let sleeper = rig.connect("sleeper", Hello::kept());
    assert_eq!(rig.take_payloads(sleeper), ["queued"]);
}

#[test]
fn a_long_packet_that_does_not_come_to_its_end_is_given_up_when_memory_is_short() {
    let mut rig = Rig::new(1, |options| options.limits.max_memory_bytes = 1 << 30);
    let [long, short] = ["long", "short"].map(|name| rig.connect(name, Hello::default()));
    let announced = [0x30, 0x80, 0x80, 0x80, 0x01];
    for (client, bytes) in [(long, 100 << 10), (short, 1 << 10)] {
        rig.send_bytes(client, &announced);
        rig.send_bytes(client, &vec![0; bytes]);
        assert!(!rig.is_closing(client));
    }
    let _ = rig.shared.set_memory(1 << 31);
    for client in [long, short] {
        rig.send_bytes(client, &[0; 100]);
    }
    assert_eq!(rig.take(long), [Got::Disconnect(0x97, None)]);
    assert!(!rig.is_closing(short));
}

#[test]
fn what_came_of_packets_counts_before_memory_is_measured_again() {
    const PART: usize = 150 << 10;
    let mut rig = Rig::new(1, |options| options.limits.max_memory_bytes = 1 << 30);
    let clients = ["a", "b", "c"].map(|name| rig.connect(name, Hello::default()));
    let _ = rig.shared.set_memory((1 << 30) - 2 * PART as u64);
    for client in clients {
        rig.send_bytes(client, &[0x30, 0x80, 0x80, 0x80, 0x01]);
        rig.send_bytes(client, &vec![0; PART]);
    }
    // There is room for the first one's half packet, and the others' is given back each time.
    let [a, b, c] = clients;
    rig.send_bytes(a, &[0; 100]);
    assert!(!rig.is_closing(a));
    for client in [b, c] {
        assert_eq!(rig.take(client), [Got::Disconnect(0x97, None)]);
    }
    assert_eq!(rig.statistic("partial_bytes"), 5 + PART as u64 + 100);
    rig.cut(a);
    assert_eq!(rig.statistic("partial_bytes"), 0);
}

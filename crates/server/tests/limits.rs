//! What a connection may not take: time, places, and other people's memory.

mod wire;

use std::io::Write;
use std::time::{Duration, Instant};

use noctule_packets::Version;
use wire::{Client, address, connect, engine, eventually, publish, statistic};

#[test]
fn a_connection_that_says_nothing_is_closed_after_the_connect_timeout() {
    let engine = engine(2, r#""limits": {"connect_timeout_seconds": 1}"#);
    let begin = Instant::now();
    let mut silent = Client::open(address(&engine), Version::V4);
    let mut slow = Client::open(address(&engine), Version::V4);
    // Half a CONNECT buys no time.
    slow.send(&connect(Version::V4, "slow")[..9]);
    silent.expect_end();
    slow.expect_end();
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(statistic(&engine, "connect_timeouts"), 2);
    // The peer sees the end a moment before the place is given back.
    eventually("both places are free", || {
        statistic(&engine, "sockets_open") == 0
    });
}

#[test]
fn what_cannot_be_mqtt_is_closed_at_once() {
    let engine = engine(2, "");
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"\x00\x00",
    ] {
        let mut client = Client::open(address(&engine), Version::V4);
        client.send(bytes);
        client.expect_end();
    }
}

#[test]
fn connections_beyond_the_limit_are_closed_and_a_freed_place_is_taken_again() {
    let engine = engine(2, r#""limits": {"max_connections": 4}"#);
    let mut clients: Vec<Client> = (0..4)
        .map(|number| Client::connect(address(&engine), Version::V4, &format!("c{number}")))
        .collect();
    for _ in 0..3 {
        Client::open(address(&engine), Version::V4).expect_end();
    }
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(statistic(&engine, "sockets_refused"), 3);
    drop(clients.pop());
    eventually("a place is free", || {
        statistic(&engine, "sockets_open") == 3
    });
    Client::connect(address(&engine), Version::V4, "next").ping();
}

#[test]
fn connections_from_one_address_have_a_limit() {
    let engine = engine(2, r#""limits": {"max_connections_per_address": 2}"#);
    let mut first = Client::connect(address(&engine), Version::V4, "a");
    let second = Client::connect(address(&engine), Version::V4, "b");
    Client::open(address(&engine), Version::V4).expect_end();
    drop(second);
    eventually("a place is free", || {
        statistic(&engine, "sockets_open") == 1
    });
    Client::connect(address(&engine), Version::V4, "c").ping();
    first.ping();
}

#[test]
fn a_reader_that_takes_nothing_is_closed_and_nobody_else_waits() {
    let engine = engine(
        2,
        r#""limits": {"write_timeout_seconds": 3, "hold_publishers_milliseconds": 0}"#,
    );
    let mut stalled = Client::connect(address(&engine), Version::V4, "stalled");
    stalled.subscribe("flood", 0);
    let mut reader = Client::connect(address(&engine), Version::V4, "reader");
    reader.subscribe("tick", 0);
    let mut publisher = Client::connect(address(&engine), Version::V4, "publisher");
    let flood = publish(Version::V4, "flood", 0, 0, &[0; 60_000]).repeat(100);
    let begin = Instant::now();
    while statistic(&engine, "write_timeouts") == 0 {
        assert!(begin.elapsed() < wire::PATIENCE);
        publisher.send(&flood);
        publisher.publish("tick", 0, 0, b"x");
        let asked = Instant::now();
        reader.receive_publish();
        assert!(
            asked.elapsed() < Duration::from_millis(2_500),
            "the reader waited"
        );
    }
    eventually("the socket is freed", || {
        statistic(&engine, "sockets_open") == 2
    });
    publisher.ping();
}

#[test]
fn a_thousand_connections_come_and_go_without_leaving_a_descriptor() {
    // No time-out may do the work.
    let engine = engine(2, r#""limits": {"connect_timeout_seconds": 600}"#);
    let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Client::connect(address(&engine), Version::V4, "warm").ping();
    eventually("the first is gone", || {
        statistic(&engine, "sockets_open") == 0
    });
    let before = open();
    for number in 0..1_000 {
        let mut client = Client::open(address(&engine), Version::V4);
        match number % 4 {
            0 => {}
            1 => client.send(b"\x10"),
            2 => client.send(&connect(Version::V4, &format!("c{number}"))),
            // Written and reset: there is a CONNACK nobody reads.
            _ => {
                let _ = client
                    .stream
                    .write(&connect(Version::V4, &format!("c{number}")));
                let _ = client.stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }
    eventually("all are gone", || statistic(&engine, "sockets_open") == 0);
    // Other tests of this program open and close some meanwhile.
    eventually("their descriptors are freed", || open() <= before + 50);
}

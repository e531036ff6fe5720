//! The end of an engine.

mod wire;

use std::time::{Duration, Instant};

use noctule_packets::Version;
use wire::{Client, address, engine};

#[test]
fn clients_of_5_0_are_told_that_the_server_shuts_down_and_others_are_closed() {
    let engine = engine(2, "");
    let mut new: Vec<Client> = (0..8)
        .map(|number| Client::connect(address(&engine), Version::V5, &format!("v5-{number}")))
        .collect();
    let mut old = Client::connect(address(&engine), Version::V4, "v4");
    let mut unknown = Client::open(address(&engine), Version::V4);
    let begin = Instant::now();
    engine.stop(wire::PATIENCE).unwrap();
    assert!(
        begin.elapsed() < wire::PATIENCE / 2,
        "{:?}",
        begin.elapsed()
    );
    for client in &mut new {
        let disconnect = client.receive().expect("closed without a word");
        assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b));
        client.expect_end();
    }
    old.expect_end();
    unknown.expect_end();
    assert!(!engine.is_running());
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_up_the_stop() {
    let engine = engine(2, "");
    let mut stalled = Client::connect(address(&engine), Version::V5, "stalled");
    stalled.subscribe("flood", 0);
    let mut publisher = Client::connect(address(&engine), Version::V5, "publisher");
    for _ in 0..200 {
        publisher.publish("flood", 0, 0, &[0; 60_000]);
    }
    let begin = Instant::now();
    engine.stop(Duration::from_millis(300)).unwrap();
    let waited = begin.elapsed();
    assert!(waited < wire::PATIENCE / 2, "{waited:?}");
}

#[test]
fn the_port_is_free_after_the_stop() {
    let first = engine(2, "");
    let port = address(&first).port();
    let _client = Client::connect(address(&first), Version::V4, "client");
    first.stop(wire::PATIENCE).unwrap();
    let json =
        format!(r#"{{"workers": 2, "listeners": [{{"host": "127.0.0.1", "port": {port}}}]}}"#);
    let options = noctule_server::ServerOptions::from_json(&json).unwrap();
    let second = noctule_server::Engine::new(options).unwrap();
    second.start().unwrap();
    Client::connect(address(&second), Version::V4, "client").ping();
}

#[test]
fn a_dropped_engine_leaves_no_listener() {
    let dropped = engine(2, "");
    let address = address(&dropped);
    drop(dropped);
    // Where few ports are free the client may be given this one: it is connected to itself then.
    if let Ok(client) = std::net::TcpStream::connect(address) {
        assert_eq!(client.local_addr().unwrap(), address);
    }
}

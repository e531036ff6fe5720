//! Wills and their delay (MQTT 5.0 §3.1.3.2.2).

use noctule_packets::{Disconnect, Packet, Properties, QoS, ReasonCode};

use crate::rig::{Got, Hello, Peerage, Rig};

/// A rig of two workers, a witness on one, and a client with a will on the other.
fn rig(delay: u32, expiry: u32) -> (Rig, Peerage, Peerage, String) {
    let mut rig = Rig::new(2, |_| {});
    let witness = rig.name_on(0, "witness");
    let witness = rig.connect(&witness, Hello::default());
    rig.listen(witness, "w", QoS::AtMostOnce);
    let name = rig.name_on(1, "mortal");
    let mortal = rig.connect(&name, hello(delay, expiry));
    (rig, witness, mortal, name)
}

fn hello(delay: u32, expiry: u32) -> Hello<'static> {
    Hello {
        expiry,
        will: Some(("w", delay)),
        ..Hello::default()
    }
}

#[test]
fn a_will_goes_out_at_once_without_a_delay() {
    let (mut rig, witness, mortal, _) = rig(0, 60);
    rig.cut(mortal);
    assert_eq!(rig.take_payloads(witness), ["gone"]);
}

#[test]
fn a_bridge_tells_its_state_in_the_topic_that_mosquitto_has_for_it() {
    const STATE: &str = "$SYS/broker/connection/lab/state";
    let mut rig = Rig::new(1, |_| {});
    let witness = rig.connect("witness", Hello::default());
    rig.listen(witness, "$SYS/broker/connection/#", QoS::AtMostOnce);
    let will = |topic| Hello {
        will: Some((topic, 0)),
        ..Hello::default()
    };
    let bridge = rig.connect("bridge", will(STATE));
    rig.publish(bridge, STATE, "1", QoS::AtLeastOnce);
    rig.publish(bridge, "$SYS/broker/connection/lab", "x", QoS::AtLeastOnce);
    rig.cut(bridge);
    assert_eq!(rig.take_payloads(witness), ["1", "gone"]);
    let other = rig.knock("other", will("$SYS/broker/uptime"));
    let refused = Got::Connack {
        present: false,
        reason: 0x87,
    };
    assert_eq!(rig.take(other), [refused]);
}

#[test]
fn a_will_waits_for_its_delay() {
    let (mut rig, witness, mortal, _) = rig(10, 60);
    rig.cut(mortal);
    rig.wait_seconds(9);
    assert_eq!(rig.take_payloads(witness), [""; 0]);
    rig.wait_seconds(2);
    assert_eq!(rig.take_payloads(witness), ["gone"]);
    rig.wait_seconds(100);
    assert_eq!(rig.take_payloads(witness), [""; 0]);
}

#[test]
fn a_will_goes_out_when_its_session_ends_before_its_delay() {
    let (mut rig, witness, mortal, _) = rig(100, 10);
    rig.cut(mortal);
    rig.wait_seconds(9);
    assert_eq!(rig.take_payloads(witness), [""; 0]);
    rig.wait_seconds(2);
    assert_eq!(rig.take_payloads(witness), ["gone"]);
}

#[test]
fn a_will_is_not_sent_when_its_client_comes_back_in_time() {
    // [MQTT-3.1.3-9]
    let (mut rig, witness, mortal, name) = rig(10, 60);
    rig.cut(mortal);
    rig.wait_seconds(9);
    rig.connect(&name, Hello::kept());
    rig.wait_seconds(100);
    assert_eq!(rig.take_payloads(witness), [""; 0]);
}

#[test]
fn a_will_goes_out_when_its_client_comes_back_with_a_clean_start() {
    let (mut rig, witness, mortal, name) = rig(10, 60);
    rig.cut(mortal);
    rig.wait_seconds(1);
    let clean = Hello {
        clean: true,
        ..Hello::default()
    };
    rig.connect(&name, clean);
    assert_eq!(rig.take_payloads(witness), ["gone"]);
}

#[test]
fn the_will_of_a_later_connection_keeps_its_own_delay() {
    let (mut rig, witness, mortal, name) = rig(10, 60);
    rig.cut(mortal);
    rig.wait_seconds(5);
    let mortal = rig.connect(&name, hello(20, 60));
    rig.wait_seconds(1);
    rig.cut(mortal);
    // The first delay is over by now; it was for the first will.
    rig.wait_seconds(19);
    assert_eq!(rig.take_payloads(witness), [""; 0]);
    rig.wait_seconds(2);
    assert_eq!(rig.take_payloads(witness), ["gone"]);
}

#[test]
fn a_goodbye_deletes_the_will_unless_it_asks_for_it() {
    // [MQTT-3.14.4-3]
    for (reason, expected) in [
        (ReasonCode::NORMAL_DISCONNECTION, &[][..]),
        (ReasonCode::DISCONNECT_WITH_WILL_MESSAGE, &["gone"][..]),
    ] {
        let (mut rig, witness, mortal, _) = rig(0, 60);
        let properties = Properties::EMPTY;
        let disconnect = Disconnect { reason, properties };
        rig.send(mortal, &Packet::Disconnect(disconnect));
        rig.cut(mortal);
        rig.wait_seconds(100);
        assert_eq!(rig.take_payloads(witness), expected);
    }
}

#[test]
fn a_will_goes_out_at_take_over() {
    let (mut rig, witness, _, name) = rig(0, 60);
    rig.connect(&name, Hello::kept());
    assert_eq!(rig.take_payloads(witness), ["gone"]);
}

#[test]
fn a_will_that_falls_due_while_memory_is_short_is_published() {
    let mut rig = Rig::new(1, |options| options.limits.max_memory_bytes = 1 << 30);
    let witness = rig.connect("witness", Hello::default());
    rig.listen(witness, "w", QoS::AtMostOnce);
    let mortal = rig.connect("mortal", hello(0, 60));
    let _ = rig.shared.set_memory(1 << 31);
    rig.cut(mortal);
    assert_eq!(rig.take_payloads(witness), ["gone"]);
}

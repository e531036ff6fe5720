//! A client of a few lines: blocking sockets and packets made by hand.

#![allow(dead_code, reason = "each test program uses its part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use noctule_packets::{FixedHeader, Packet, Version};
use noctule_server::{Engine, ServerOptions};

/// Long enough for a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A started engine on a free port. `options`: keys to set besides, as JSON members.
pub fn engine(workers: usize, options: &str) -> Engine {
    let comma = if options.is_empty() { "" } else { "," };
    let json = format!(
        r#"{{"workers": {workers},
             "listeners": [{{"scheme": "mqtt", "host": "127.0.0.1", "port": 0}}]
             {comma} {options}}}"#
    );
    let engine = Engine::new(ServerOptions::from_json(&json).unwrap()).unwrap();
    engine.start().unwrap();
    engine
}

pub fn address(engine: &Engine) -> SocketAddr {
    engine.addresses()[0].socket().unwrap()
}

pub fn statistic(engine: &Engine, name: &str) -> u64 {
    let found = engine
        .statistics()
        .into_iter()
        .find(|(each, _)| *each == name);
    found.unwrap_or_else(|| panic!("no statistic {name}")).1
}

/// Looks again and again, for want of an event to wait for.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub struct Client {
    pub stream: TcpStream,
    version: Version,
    unread: Vec<u8>,
    /// How much of `unread` has been taken.
    taken: usize,
}

impl Client {
    /// A connection on which nothing has been said.
    pub fn open(address: SocketAddr, version: Version) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            version,
            unread: Vec::new(),
            taken: 0,
        }
    }

    /// A connection that the server has accepted, with a clean session.
    pub fn connect(address: SocketAddr, version: Version, client: &str) -> Client {
        let mut connected = Client::open(address, version);
        connected.send(&connect(version, client));
        connected.expect_connack();
        connected
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// As [`Client::send`], to a server that may have closed the connection.
    pub fn send_if_open(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next whole packet, or `None` at the end of the stream.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let unread = &self.unread[self.taken..];
            if let Some(header) = FixedHeader::decode(unread).unwrap()
                && unread.len() >= header.total()
            {
                self.taken += header.total();
                return Some(unread[..header.total()].to_vec());
            }
            self.unread.drain(..self.taken);
            self.taken = 0;
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn expect(&mut self, packet: &[u8]) {
        let received = self.receive().expect("the server closed the connection");
        assert_eq!(received, packet);
    }

    pub fn expect_connack(&mut self) {
        let received = self.receive().expect("the server closed the connection");
        assert_eq!(received[0], 0x20);
        assert_eq!(received[3], 0, "refused");
    }

    pub fn expect_end(&mut self) {
        assert_eq!(self.receive(), None);
    }

    /// The server ended the stream and did not reset it, which could overtake what it sent.
    pub fn expect_clean_end(&mut self) {
        assert!(self.taken == self.unread.len(), "there is more");
        assert_eq!(self.stream.read(&mut [0]).expect("a clean end"), 0);
    }

    /// Topic name, payload, QoS and packet identifier of the PUBLISH that comes next.
    pub fn receive_publish(&mut self) -> (String, Vec<u8>, u8, u16) {
        let bytes = self.receive().expect("the server closed the connection");
        let header = FixedHeader::decode(&bytes).unwrap().unwrap();
        let packet = Packet::decode(self.version, header, &bytes[header.header_len..]).unwrap();
        let Packet::Publish(publish) = packet else {
            panic!("{packet:?}")
        };
        let qos = publish.qos as u8;
        (
            publish.topic.into(),
            publish.payload.into(),
            qos,
            publish.packet_identifier,
        )
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(self.version, 1, filter, qos));
        let suback = self.receive().expect("the server closed the connection");
        assert_eq!((suback[0], suback.last()), (0x90, Some(&qos)));
    }

    pub fn publish(&mut self, topic: &str, qos: u8, id: u16, payload: &[u8]) {
        self.send(&publish(self.version, topic, qos, id, payload));
    }

    /// Sends a message at QoS 1 or 2 and does what the level asks for.
    pub fn publish_acknowledged(&mut self, topic: &str, qos: u8, id: u16, payload: &[u8]) {
        self.publish(topic, qos, id, payload);
        match qos {
            1 => self.expect_acknowledgement(0x40, id),
            _ => {
                self.expect_acknowledgement(0x50, id);
                self.send(&acknowledgement(0x62, id));
                self.expect_acknowledgement(0x70, id);
            }
        }
    }

    /// Any reason that is no error will do: 0x10 says that nobody subscribes.
    pub fn expect_acknowledgement(&mut self, first: u8, id: u16) {
        let received = self.receive().expect("the server closed the connection");
        assert_eq!(received[0], first);
        assert_eq!(received[2..4], id.to_be_bytes());
        assert!(received.get(4).is_none_or(|reason| *reason < 0x80));
    }

    pub fn ping(&mut self) {
        self.send(b"\xc0\x00");
        self.expect(b"\xd0\x00");
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    noctule_packets::put_variable(&mut bytes, u32::try_from(body.len()).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_no_properties(bytes: &mut Vec<u8>, version: Version) {
    if version == Version::V5 {
        bytes.push(0);
    }
}

/// CONNECT with a clean session and a keep alive of 60 s.
pub fn connect(version: Version, client: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(
        &mut body,
        if version == Version::V3 {
            "MQIsdp"
        } else {
            "MQTT"
        },
    );
    body.extend_from_slice(&[version as u8, 0x02, 0, 60]);
    put_no_properties(&mut body, version);
    put_string(&mut body, client);
    packet(0x10, &body)
}

pub fn subscribe(version: Version, id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    put_no_properties(&mut body, version);
    put_string(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

pub fn publish(version: Version, topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    put_no_properties(&mut body, version);
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP for success.
pub fn acknowledgement(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

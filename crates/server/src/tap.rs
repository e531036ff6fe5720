//! A client inside the process: it sees every message of a filter, and acknowledges in its
//! own time.
//!
//! It is an honest MQTT 5.0 connection over a pair of sockets: queues, limits, in-flight
//! windows and kept sessions are those of any client, so a slow reader is a slow subscriber.
//! What differs: no authenticator is asked, it may see everything, and nobody else may use
//! an identifier that begins as its own.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use noctule_broker::INTERNAL_PREFIX;
use noctule_packets::{
    Acknowledgement, Connect, Disconnect, FixedHeader, Packet, Properties, PropertyBuffer,
    PropertyId, QoS, ReasonCode, Subscribe, SubscriptionRequest, Version,
};

/// How long the engine may take to open a tap.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// What a tap is to see, and whether it is remembered.
#[derive(Clone, Debug)]
pub struct TapOptions {
    /// Distinguishes it from other taps; behind [`INTERNAL_PREFIX`] the client identifier.
    pub name: String,
    pub filter: String,
    /// Messages come at no more than this; at 1 they wait until they are acknowledged.
    pub qos: QoS,
    /// Whether messages are kept for it while it is not there.
    pub kept: bool,
}

/// One message a tap saw.
#[derive(Clone, Debug)]
pub struct Tapped {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    pub user_properties: Vec<(String, String)>,
}

/// The reader's end of a tap.
#[derive(Debug)]
pub struct Tap {
    stream: UnixStream,
    bytes: Vec<u8>,
    /// Bytes at the front that have been taken.
    taken: usize,
    /// Identifiers of messages taken and not acknowledged.
    unacknowledged: Vec<u16>,
    /// Bytes that did not fit into the socket.
    unsent: Vec<u8>,
}

/// Two sockets that are connected with each other and with nobody else.
pub(crate) fn pair() -> io::Result<(UnixStream, mio::net::UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    Ok((ours, mio::net::UnixStream::from_std(theirs)))
}

impl Tap {
    /// Waits until the engine has granted the subscription.
    pub(crate) fn open(stream: UnixStream) -> io::Result<Tap> {
        let mut tap = Tap {
            stream,
            bytes: Vec::new(),
            taken: 0,
            unacknowledged: Vec::new(),
            unsent: Vec::new(),
        };
        let until = Instant::now() + OPEN_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            tap.stream.set_read_timeout(Some(left))?;
            match tap.read() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => read?,
            }
            if tap.is_subscribed()? {
                tap.stream.set_nonblocking(true)?;
                return Ok(tap);
            }
        }
    }

    /// Takes up to `maximum` messages of those that are there; none: wait for
    /// [`Tap::descriptor`].
    ///
    /// # Errors
    /// The engine has ended the connection.
    pub fn take(&mut self, maximum: usize) -> io::Result<Vec<Tapped>> {
        self.flush()?;
        let mut messages = Vec::new();
        while messages.len() < maximum {
            match self.next_packet()? {
                Some((start, header)) => self.handle(start, header, &mut messages)?,
                None => match self.read() {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // What came before the end is handed out first.
                    Err(_) if !messages.is_empty() => break,
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(messages)
    }

    /// What has been taken so far need not be kept for this tap any longer.
    ///
    /// # Errors
    /// The engine has ended the connection.
    pub fn acknowledge(&mut self) -> io::Result<()> {
        for packet_identifier in self.unacknowledged.drain(..) {
            let puback = Acknowledgement {
                packet_identifier,
                reason: ReasonCode::SUCCESS,
                properties: Properties::default(),
            };
            Packet::Puback(puback).encode(Version::V5, &mut self.unsent);
        }
        self.flush()
    }

    /// Ends the connection in order.
    pub fn close(&mut self) {
        let disconnect = Disconnect {
            reason: ReasonCode::NORMAL_DISCONNECTION,
            properties: Properties::default(),
        };
        Packet::Disconnect(disconnect).encode(Version::V5, &mut self.unsent);
        // If it cannot be written the connection ends all the same.
        let _ = self.flush();
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Readable while something waits.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    fn read(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let start = self.bytes.len();
        self.bytes.resize(start + READ_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.bytes[start..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.bytes.truncate(start + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Where the next whole packet begins, if one is there; steps over it.
    fn next_packet(&mut self) -> io::Result<Option<(usize, FixedHeader)>> {
        let rest = &self.bytes[self.taken..];
        let Some(header) = FixedHeader::decode(rest).map_err(broken)? else {
            return Ok(None);
        };
        if rest.len() < header.total() {
            return Ok(None);
        }
        let start = self.taken;
        self.taken += header.total();
        Ok(Some((start, header)))
    }

    fn handle(
        &mut self,
        start: usize,
        header: FixedHeader,
        messages: &mut Vec<Tapped>,
    ) -> io::Result<()> {
        let body = &self.bytes[start + header.header_len..start + header.total()];
        match Packet::decode(Version::V5, header, body).map_err(broken)? {
            Packet::Publish(publish) => {
                let properties = publish.properties;
                if publish.qos != QoS::AtMostOnce {
                    self.unacknowledged.push(publish.packet_identifier);
                }
                messages.push(Tapped {
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_owned(),
                    qos: publish.qos,
                    retain: publish.retain,
                    content_type: properties.string(PropertyId::ContentType).map(Into::into),
                    response_topic: properties.string(PropertyId::ResponseTopic).map(Into::into),
                    correlation_data: properties
                        .binary(PropertyId::CorrelationData)
                        .map(Into::into),
                    user_properties: properties
                        .user_properties()
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                });
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(io::Error::other(disconnect.reason.to_string())),
            _ => Ok(()),
        }
    }

    /// Whether the answers to CONNECT and SUBSCRIBE have come. Messages behind them stay.
    fn is_subscribed(&mut self) -> io::Result<bool> {
        let mut at = 0;
        let mut subscribed = false;
        while let Some(header) = FixedHeader::decode(&self.bytes[at..]).map_err(broken)? {
            let Some(body) = self.bytes.get(at + header.header_len..at + header.total()) else {
                break;
            };
            match Packet::decode(Version::V5, header, body).map_err(broken)? {
                Packet::Connack(connack) if connack.reason.is_error() => {
                    return Err(io::Error::other(connack.reason.to_string()));
                }
                Packet::Suback(suback) => {
                    if let Some(&code) = suback.reasons.iter().find(|code| **code >= 0x80) {
                        return Err(io::Error::other(ReasonCode(code).to_string()));
                    }
                    subscribed = true;
                }
                _ => {}
            }
            at += header.total();
        }
        Ok(subscribed)
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl TapOptions {
    pub(crate) fn client_identifier(&self) -> String {
        format!("{INTERNAL_PREFIX}{}", self.name)
    }

    /// CONNECT and SUBSCRIBE.
    ///
    /// # Errors
    /// The filter does not fit into a packet.
    pub(crate) fn greeting(&self) -> io::Result<Vec<u8>> {
        let client_identifier = self.client_identifier();
        let mut properties = PropertyBuffer::default();
        if self.kept {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, u32::MAX);
        }
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: !self.kept,
            keep_alive: 0,
            client_identifier: &client_identifier,
            will: None,
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        };
        let request = SubscriptionRequest {
            filter: &self.filter,
            qos: self.qos,
            no_local: false,
            retain_as_published: true,
            // New messages only: what is retained can be asked for.
            retain_handling: 2,
        };
        let mut requests = Vec::new();
        request.encode(Version::V5, &mut requests);
        let subscribe =
            Subscribe::new(Version::V5, 1, Properties::default(), &requests).map_err(broken)?;
        let mut bytes = Vec::new();
        Packet::Connect(connect).encode(Version::V5, &mut bytes);
        Packet::Subscribe(subscribe).encode(Version::V5, &mut bytes);
        Ok(bytes)
    }
}

fn broken(error: noctule_packets::Error) -> io::Error {
    io::Error::other(error.what)
}

/// A QoS that a tap can have: 0 or 1.
#[must_use]
pub fn tap_qos(number: u8) -> Option<QoS> {
    match number {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        _ => None,
    }
}

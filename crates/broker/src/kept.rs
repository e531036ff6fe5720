//! What a store holds, one record at a time, for tools that look into it or fill it.
//!
//! The broker itself goes by `keep.rs`, which this stands on: one form, two readers.

use noctule_packets::QoS;

use crate::journal::{Change, Space};
use crate::keep::{self, NO_TIME, Wall};
use crate::key::SessionKey;
use crate::message::{Head, Parts};
use crate::outgoing::Awaiting;
use crate::session;
use crate::time::Time;

/// One record, read.
///
/// `durable` is the number that ties a session's records together; `sequence` and
/// `version` order messages. All are drawn from one series that begins at 1. Times are
/// milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Session {
        client: String,
        durable: u64,
        user: Option<String>,
        expiry_seconds: u32,
        /// `None`: it had a connection when this was written.
        offline_since: Option<u64>,
        will: Option<KeptWill>,
    },
    Subscription {
        durable: u64,
        /// As the client wrote it, `$share/…` included.
        filter: String,
        qos: QoS,
        no_local: bool,
        retain_as_published: bool,
        /// 0: none.
        subscription_identifier: u32,
    },
    Queued {
        durable: u64,
        sequence: u64,
        /// Of the delivery, as is the next.
        qos: QoS,
        retain: bool,
        subscription_identifiers: Vec<u32>,
        /// The shared group by way of which it came.
        group: Option<String>,
        message: KeptMessage,
    },
    /// A QoS 2 message that was sent: the queued one of the same sequence.
    InFlight {
        durable: u64,
        sequence: u64,
        packet_identifier: u16,
        /// PUBREC has come, PUBCOMP has not; the message itself is gone by then.
        released: bool,
    },
    /// A QoS 2 message that was received, and its PUBREL has not come.
    Received {
        durable: u64,
        packet_identifier: u16,
    },
    Retained {
        version: u64,
        message: KeptMessage,
    },
    /// Retained messages of the topic up to this version are gone.
    Cleared {
        topic: String,
        version: u64,
    },
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    pub topic: String,
    pub qos: QoS,
    /// As it was published.
    pub retain: bool,
    pub arrived: u64,
    /// When its message expiry interval is over.
    pub expires: Option<u64>,
    /// The properties that travel with it, as on the wire.
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A will that has not been published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWill {
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    pub delay_seconds: u32,
    pub expiry_seconds: Option<u32>,
    /// The properties that travel with it, as on the wire.
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A record as a store takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// [`Change::Put`] or [`Change::Append`].
    pub change: Change,
    pub space: Space,
    pub key: Vec<u8>,
    pub sequence: u64,
    pub value: Vec<u8>,
}

impl Kept {
    /// `sequence` is 0 for a plain value. `None`: it makes no sense.
    #[must_use]
    pub fn read(space: u8, key: &[u8], sequence: u64, value: &[u8]) -> Option<Kept> {
        let text = |bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let durable = || key.first_chunk().map(|id| u64::from_be_bytes(*id));
        Some(match Space::from_u8(space)? {
            Space::Session => {
                let kept = keep::read_session(value)?;
                Kept::Session {
                    client: text(key)?,
                    durable: kept.durable,
                    user: kept.user.map(String::from),
                    expiry_seconds: kept.expiry_seconds,
                    offline_since: kept.offline_since,
                    will: kept.will.map(|will| KeptWill::from(*will)),
                }
            }
            Space::Subscription => {
                let grant = keep::read_grant(value, durable()?)?;
                Kept::Subscription {
                    durable: grant.durable,
                    filter: text(key.get(8..)?)?,
                    qos: grant.qos,
                    no_local: grant.no_local,
                    retain_as_published: grant.retain_as_published,
                    subscription_identifier: grant.subscription_identifier,
                }
            }
            Space::Queue => {
                let mut rest = value;
                let terms = keep::read_terms(&mut rest)?;
                Kept::Queued {
                    durable: durable()?,
                    sequence,
                    qos: terms.qos,
                    retain: terms.retain,
                    subscription_identifiers: terms.identifiers.to_vec(),
                    group: terms.group.map(str::to_owned),
                    message: KeptMessage::read(rest)?,
                }
            }
            Space::InFlight => {
                let (packet_identifier, awaiting) = keep::read_in_flight(value)?;
                Kept::InFlight {
                    durable: durable()?,
                    sequence,
                    packet_identifier,
                    released: awaiting == Awaiting::Pubcomp,
                }
            }
            Space::Received => Kept::Received {
                durable: durable()?,
                packet_identifier: u16::from_be_bytes(key.get(8..)?.try_into().ok()?),
            },
            Space::Retained => Kept::Retained {
                version: sequence,
                message: KeptMessage::read(value).filter(|kept| kept.topic.as_bytes() == key)?,
            },
            Space::Cleared => Kept::Cleared {
                topic: text(key)?,
                version: sequence,
            },
        })
    }

    /// The record that reads as this.
    #[must_use]
    pub fn record(&self) -> KeptRecord {
        let mut value = Vec::new();
        let (change, space, key, sequence) = match self {
            Kept::Session {
                client,
                durable,
                user,
                expiry_seconds,
                offline_since,
                will,
            } => {
                let (user, will) = (user.as_deref(), will.clone().map(session::Will::from));
                keep::write_session_parts(
                    *durable,
                    *expiry_seconds,
                    *offline_since,
                    user,
                    will.as_ref(),
                    &mut value,
                );
                (Change::Put, Space::Session, client.as_bytes().to_vec(), 0)
            }
            Kept::Subscription {
                durable,
                filter,
                qos,
                no_local,
                retain_as_published,
                subscription_identifier,
            } => {
                let grant = crate::routes::Grant {
                    durable: *durable,
                    qos: *qos,
                    no_local: *no_local,
                    retain_as_published: *retain_as_published,
                    subscription_identifier: *subscription_identifier,
                };
                keep::write_grant(grant, &mut value);
                let key = [&durable.to_be_bytes()[..], filter.as_bytes()].concat();
                (Change::Put, Space::Subscription, key, 0)
            }
            Kept::Queued {
                durable,
                sequence,
                qos,
                retain,
                subscription_identifiers,
                group,
                message,
            } => {
                let group = group.as_deref();
                keep::write_terms(*qos, *retain, subscription_identifiers, group, &mut value);
                message.write(&mut value);
                (
                    Change::Append,
                    Space::Queue,
                    durable.to_be_bytes().to_vec(),
                    *sequence,
                )
            }
            Kept::InFlight {
                durable,
                sequence,
                packet_identifier,
                released,
            } => {
                let awaiting = match released {
                    true => Awaiting::Pubcomp,
                    false => Awaiting::Pubrec,
                };
                keep::write_in_flight(*packet_identifier, awaiting, &mut value);
                (
                    Change::Append,
                    Space::InFlight,
                    durable.to_be_bytes().to_vec(),
                    *sequence,
                )
            }
            Kept::Received {
                durable,
                packet_identifier,
            } => {
                let (durable, identifier) =
                    (durable.to_be_bytes(), packet_identifier.to_be_bytes());
                let key = [&durable[..], &identifier[..]].concat();
                (Change::Put, Space::Received, key, 0)
            }
            Kept::Retained { version, message } => {
                message.write(&mut value);
                let key = message.topic.as_bytes().to_vec();
                (Change::Append, Space::Retained, key, *version)
            }
            Kept::Cleared { topic, version } => (
                Change::Append,
                Space::Cleared,
                topic.as_bytes().to_vec(),
                *version,
            ),
        };
        KeptRecord {
            change,
            space,
            key,
            sequence,
            value,
        }
    }
}

impl KeptMessage {
    fn read(bytes: &[u8]) -> Option<KeptMessage> {
        let raw = keep::read_raw_message(bytes)?;
        Some(KeptMessage {
            topic: std::str::from_utf8(raw.parts.topic).ok()?.to_owned(),
            qos: raw.qos,
            retain: raw.retain,
            arrived: raw.arrived,
            expires: (raw.deadline != NO_TIME).then_some(raw.deadline),
            properties: raw.parts.properties.to_vec(),
            payload: raw.parts.payload.to_vec(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        // The core's clock, were it begun in 1970.
        let time = |milliseconds: u64| Time(milliseconds.saturating_mul(1_000));
        let head = Head {
            publisher: SessionKey::FORMER,
            arrived: time(self.arrived),
            deadline: self.expires.map_or(Time::NEVER, time),
            qos: self.qos,
            retain: self.retain,
        };
        let parts = Parts {
            topic: self.topic.as_bytes(),
            properties: &self.properties,
            payload: &self.payload,
        };
        keep::write_parts(&head, parts, Wall(0), out);
    }
}

impl From<session::Will> for KeptWill {
    fn from(will: session::Will) -> KeptWill {
        KeptWill {
            topic: will.topic.into(),
            qos: will.qos,
            retain: will.retain,
            delay_seconds: will.delay_seconds,
            expiry_seconds: will.expiry_seconds,
            properties: will.properties.into(),
            payload: will.payload.into(),
        }
    }
}

impl From<KeptWill> for session::Will {
    fn from(will: KeptWill) -> session::Will {
        session::Will {
            topic: will.topic.into(),
            qos: will.qos,
            retain: will.retain,
            delay_seconds: will.delay_seconds,
            expiry_seconds: will.expiry_seconds,
            properties: will.properties.into(),
            payload: will.payload.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> KeptMessage {
        KeptMessage {
            topic: "a/b".into(),
            qos: QoS::AtLeastOnce,
            retain: true,
            arrived: 1_790_000_000_001,
            expires: Some(1_790_000_000_999),
            properties: vec![0x03, 0, 1, b'x'],
            payload: vec![0, 0xFF],
        }
    }

    fn one_of_each() -> Vec<Kept> {
        let session = |offline_since, will| Kept::Session {
            client: "client".into(),
            durable: 7,
            user: Some("user".into()),
            expiry_seconds: 60,
            offline_since,
            will,
        };
        let will = KeptWill {
            topic: "w".into(),
            qos: QoS::ExactlyOnce,
            retain: true,
            delay_seconds: 5,
            expiry_seconds: Some(6),
            properties: vec![],
            payload: b"gone".to_vec(),
        };
        vec![
            session(None, None),
            session(Some(1_790_000_000_000), Some(will)),
            Kept::Subscription {
                durable: 7,
                filter: "$share/g/a/#".into(),
                qos: QoS::ExactlyOnce,
                no_local: true,
                retain_as_published: true,
                subscription_identifier: 9,
            },
            Kept::Queued {
                durable: 7,
                sequence: 8,
                qos: QoS::ExactlyOnce,
                retain: true,
                subscription_identifiers: vec![1, 2, 3],
                group: Some("g".into()),
                message: message(),
            },
            Kept::InFlight {
                durable: 7,
                sequence: 8,
                packet_identifier: 0xABCD,
                released: true,
            },
            Kept::Received {
                durable: 7,
                packet_identifier: 0xABCD,
            },
            Kept::Retained {
                version: 4,
                message: KeptMessage {
                    expires: None,
                    ..message()
                },
            },
            Kept::Cleared {
                topic: "a/b".into(),
                version: 5,
            },
        ]
    }

    #[test]
    fn a_record_reads_as_what_it_was_written_from() {
        for kept in one_of_each() {
            let record = kept.record();
            let space = record.space as u8;
            let read = Kept::read(space, &record.key, record.sequence, &record.value);
            assert_eq!(read.as_ref(), Some(&kept));
        }
    }

    #[test]
    fn a_record_that_is_cut_off_makes_no_sense() {
        for kept in one_of_each() {
            let record = kept.record();
            // What a payload ends with, nobody can know.
            let whole = match &kept {
                Kept::Queued { message, .. } | Kept::Retained { message, .. } => {
                    record.value.len() - message.payload.len()
                }
                _ => record.value.len(),
            };
            for cut in 0..whole {
                let space = record.space as u8;
                let read = Kept::read(space, &record.key, record.sequence, &record.value[..cut]);
                assert_eq!(read, None, "{kept:?} cut after {cut}");
            }
        }
    }
}

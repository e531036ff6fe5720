//! From lines to a store.

use std::collections::HashMap;
use std::path::Path;

use noctule_broker::{Change, Kept, KeptMessage, KeptWill};
use noctule_packets::{MAX_VARIABLE, QoS};
use noctule_store::{Batch, Filling, TooLarge};
use noctule_topics::Filter;

use crate::error::ArchiveError;
use crate::line::{FORMAT, Line, Message, Will};
use crate::{payload, properties};

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub lines: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    /// Waiting, or sent and not acknowledged.
    pub queued: u64,
    /// Of a topic that is named twice, both.
    pub retained: u64,
}

/// An import under way: all of it counts when it is finished, or nothing.
pub struct Import {
    filling: Filling,
    batch: Batch,
    clients: HashMap<String, u64>,
    /// The last number drawn: see [`Kept`].
    drawn: u64,
    /// Milliseconds since 1970: when messages arrived that do not say it.
    now: u64,
    /// What is left of the last chunk: a line's beginning.
    rest: Vec<u8>,
    imported: Imported,
}

/// Bytes of a batch that go to the store together.
const BATCH_BYTES: usize = 1 << 20;
/// Longer than any packet in base64; not to be filled with what never ends a line.
const LONGEST_LINE_BYTES: usize = 512 << 20;

impl Import {
    /// Begins to fill the store in directory `path`, which must be empty or not there.
    /// `now`: milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Filling::begin`].
    pub fn begin(path: &Path, now: u64) -> Result<Import, ArchiveError> {
        Ok(Import {
            filling: Filling::begin(path)?,
            batch: Batch::new(),
            clients: HashMap::new(),
            drawn: 0,
            now,
            rest: Vec::new(),
            imported: Imported::default(),
        })
    }

    /// Takes bytes in, as they come: a line may go on in the next.
    ///
    /// # Errors
    /// A line is wrong; give up then.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&bytes[..end], &bytes[end + 1..]);
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LONGEST_LINE_BYTES {
            return Err(self.wrong("it is longer than any that an export writes"));
        }
        Ok(())
    }

    /// So far.
    #[must_use]
    pub fn imported(&self) -> Imported {
        self.imported
    }

    /// Has the store be what came in, on the disk when this returns.
    ///
    /// # Errors
    /// The last line is wrong, there was none, or the store refuses.
    pub fn finish(mut self) -> Result<Imported, ArchiveError> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest)?;
        }
        if self.imported.lines == 0 {
            return Err(self.wrong("there is none: an export begins with its format"));
        }
        self.hand_over(0)?;
        self.filling.finish()?;
        Ok(self.imported)
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            self.imported.lines += 1;
            return Ok(());
        }
        let line = serde_json::from_slice::<Line>(bytes);
        let taken = match line {
            Ok(line) => self.take(line),
            Err(error) => Err(without_place(&error)),
        };
        taken.map_err(|what| self.wrong(what))?;
        self.imported.lines += 1;
        self.hand_over(BATCH_BYTES)
    }

    fn wrong(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Line {
            number: self.imported.lines + 1,
            what: what.into(),
        }
    }

    fn hand_over(&mut self, from_bytes: usize) -> Result<(), ArchiveError> {
        if self.batch.bytes() >= from_bytes {
            self.filling.add(&self.batch)?;
            self.batch.reset();
        }
        Ok(())
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        let is_first = self.imported.lines == 0;
        if let Line::Store { format, .. } = line {
            return match format {
                _ if !is_first => Err("what says the format stands first, and once".to_owned()),
                1..=FORMAT => Ok(()),
                _ => Err(format!(
                    "format {format} is not one that this version reads (1 to {FORMAT}): \
                     import it with the version that wrote it, or a later one"
                )),
            };
        }
        if is_first {
            let what = r#"the first line is to say the format, as in {"type":"store","format":1}"#;
            return Err(what.to_owned());
        }
        self.take_record(line)
    }

    fn take_record(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Store { .. } => Ok(()),
            Line::Session {
                client,
                user,
                expiry_seconds,
                offline_since_ms,
                will,
            } => {
                let durable = self.begin_session(&client, expiry_seconds)?;
                self.add(Kept::Session {
                    client,
                    durable,
                    user,
                    expiry_seconds,
                    offline_since: offline_since_ms,
                    will: will.map(KeptWill::try_from).transpose()?,
                })
            }
            Line::Subscription {
                client,
                filter,
                qos,
                no_local,
                retain_as_published,
                subscription_identifier,
            } => {
                Filter::parse(&filter).map_err(|error| format!("filter {filter:?}: {error}"))?;
                self.imported.subscriptions += 1;
                self.add(Kept::Subscription {
                    durable: self.durable(&client)?,
                    filter,
                    qos: quality(qos)?,
                    no_local,
                    retain_as_published,
                    subscription_identifier: subscription_identifier.map_or(Ok(0), identifier)?,
                })
            }
            Line::Queued { .. } => self.take_queued(line),
            Line::Released {
                client,
                packet_identifier,
            } => {
                let sequence = self.draw();
                self.take_in_flight(&client, sequence, packet_identifier, true)
            }
            Line::Received {
                client,
                packet_identifier,
            } => self.add(Kept::Received {
                durable: self.durable(&client)?,
                packet_identifier: packet(packet_identifier)?,
            }),
            Line::Retained { message } => {
                self.imported.retained += 1;
                let version = self.draw();
                let message = self.message(message)?;
                self.add(Kept::Retained { version, message })
            }
        }
    }

    fn begin_session(&mut self, client: &str, expiry_seconds: u32) -> Result<u64, String> {
        if client.is_empty() || !properties::is_text(client) {
            return Err("client is empty, too long, or has a NUL in it".to_owned());
        }
        if expiry_seconds == 0 {
            let what = "expiry_seconds is 0: such a session ends with its connection and is not \
                        kept";
            return Err(what.to_owned());
        }
        self.imported.sessions += 1;
        let durable = self.draw();
        match self.clients.insert(client.to_owned(), durable) {
            Some(_) => Err(format!("client {client:?} has a session already")),
            None => Ok(durable),
        }
    }

    fn take_queued(&mut self, line: Line) -> Result<(), String> {
        let Line::Queued {
            client,
            qos,
            retain,
            subscription_identifiers,
            group,
            packet_identifier,
            message,
        } = line
        else {
            return Ok(());
        };
        let qos = quality(qos)?;
        match (qos, packet_identifier) {
            (QoS::AtMostOnce, _) => return Err("nothing of QoS 0 is queued".to_owned()),
            (QoS::AtLeastOnce, Some(_)) => {
                return Err("packet_identifier is for QoS 2 alone".to_owned());
            }
            _ => {}
        }
        for &each in &subscription_identifiers {
            identifier(each)?;
        }
        self.imported.queued += 1;
        let sequence = self.draw();
        let message = self.message(message)?;
        self.add(Kept::Queued {
            durable: self.durable(&client)?,
            sequence,
            qos,
            retain,
            subscription_identifiers,
            group,
            message,
        })?;
        match packet_identifier {
            Some(packet_identifier) => {
                self.take_in_flight(&client, sequence, packet_identifier, false)
            }
            None => Ok(()),
        }
    }

    fn take_in_flight(
        &mut self,
        client: &str,
        sequence: u64,
        packet_identifier: u16,
        released: bool,
    ) -> Result<(), String> {
        self.add(Kept::InFlight {
            durable: self.durable(client)?,
            sequence,
            packet_identifier: packet(packet_identifier)?,
            released,
        })
    }

    fn durable(&self, client: &str) -> Result<u64, String> {
        let known = self.clients.get(client).copied();
        known.ok_or_else(|| {
            format!("there is no session of client {client:?} before it: its line comes first")
        })
    }

    fn message(&self, message: Message) -> Result<KeptMessage, String> {
        valid_name(&message.topic)?;
        Ok(KeptMessage {
            qos: quality(message.qos)?,
            retain: message.retain,
            arrived: message.arrived_ms.unwrap_or(self.now),
            expires: message.expires_ms,
            properties: properties::read(&message.properties)?,
            payload: payload::read(message.payload.as_ref(), message.payload_base64.as_ref())?,
            topic: message.topic,
        })
    }

    fn add(&mut self, kept: Kept) -> Result<(), String> {
        let record = kept.record();
        let space = record.space as u8;
        let added = match record.change {
            Change::Append => self
                .batch
                .append(space, &record.key, record.sequence, &record.value),
            _ => self.batch.put(space, &record.key, &record.value),
        };
        added.map_err(|error: TooLarge| error.to_string())
    }
}

impl TryFrom<Will> for KeptWill {
    type Error = String;

    fn try_from(will: Will) -> Result<KeptWill, String> {
        valid_name(&will.topic)?;
        Ok(KeptWill {
            qos: quality(will.qos)?,
            retain: will.retain,
            delay_seconds: will.delay_seconds,
            expiry_seconds: will.expiry_seconds,
            properties: properties::read(&will.properties)?,
            payload: payload::read(will.payload.as_ref(), will.payload_base64.as_ref())?,
            topic: will.topic,
        })
    }
}

fn valid_name(topic: &str) -> Result<(), String> {
    noctule_topics::validate_name(topic).map_err(|error| format!("topic {topic:?}: {error}"))
}

fn quality(qos: u8) -> Result<QoS, String> {
    QoS::from_u8(qos).ok_or_else(|| format!("qos is 0, 1 or 2, not {qos}"))
}

fn packet(identifier: u16) -> Result<u16, String> {
    match identifier {
        0 => Err("packet_identifier is 1 to 65535".to_owned()),
        _ => Ok(identifier),
    }
}

fn identifier(subscription: u32) -> Result<u32, String> {
    match subscription {
        1..=MAX_VARIABLE => Ok(subscription),
        _ => Err(format!(
            "a subscription identifier is 1 to {MAX_VARIABLE}, not {subscription}"
        )),
    }
}

/// What is wrong about a line, and in which column; it always calls it line 1.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("{what} (column {})", error.column())
}

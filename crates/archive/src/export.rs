//! From a store to lines.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use noctule_broker::{Kept, KeptMessage, KeptWill, Space};
use noctule_store::{Observer, Recovery, RecoveryReport, State, Store, StoreError, StoreOptions};

use crate::error::ArchiveError;
use crate::line::{FORMAT, Line, Message, Will};
use crate::{payload, properties};

/// What went out.
#[derive(Clone, Debug)]
pub struct Exported {
    pub lines: u64,
    /// Records that made no sense, or belong to no session any more: they are left out.
    pub left_out: u64,
    /// What opening the store found: a damaged one is repaired, as the broker does.
    pub report: RecoveryReport,
}

/// Writes everything in the store in directory `path` as lines. `progress` is told now
/// and then how many were written, and may end it with an error.
///
/// # Errors
/// As [`Store::open`]; a broker must not have it open. What `out` and `progress` say.
pub fn export(
    path: &Path,
    out: &mut dyn Write,
    mut progress: impl FnMut(u64) -> std::io::Result<()>,
) -> Result<Exported, ArchiveError> {
    if !path.is_dir() {
        return Err(StoreError::Io {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        }
        .into());
    }
    let options = StoreOptions {
        reserve_bytes: 0,
        ..StoreOptions::default()
    };
    let (store, recovery) = Store::open(path, options, Arc::new(Nobody))?;
    let mut writer = Writer {
        out,
        progress: &mut progress,
        lines: 0,
        left_out: 0,
    };
    writer.all(&recovery)?;
    let (lines, left_out) = (writer.lines, writer.left_out);
    out.flush()?;
    drop(store);
    Ok(Exported {
        lines,
        left_out,
        report: recovery.report,
    })
}

/// Nothing is written while a store is exported.
struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: usize, _: u64) {}
    fn state_changed(&self, _: State, _: &str) {}
    fn damaged(&self, _: &str) {}
}

/// Lines between two reports.
const STEP_LINES: u64 = 4_096;

struct Writer<'a> {
    out: &'a mut dyn Write,
    progress: &'a mut dyn FnMut(u64) -> std::io::Result<()>,
    lines: u64,
    left_out: u64,
}

/// Client identifiers by the number that ties a session's records together.
type Clients = HashMap<u64, String>;

impl Writer<'_> {
    fn all(&mut self, recovery: &Recovery) -> Result<(), ArchiveError> {
        self.line(&Line::Store {
            format: FORMAT,
            written_by: concat!("noctule ", env!("CARGO_PKG_VERSION")).to_owned(),
        })?;
        let clients = self.sessions(recovery)?;
        self.subscriptions(recovery, &clients)?;
        self.queues(recovery, &clients)?;
        self.received(recovery, &clients)?;
        self.retained(recovery)?;
        (self.progress)(self.lines)?;
        Ok(())
    }

    /// In the order in which they were made, which an import keeps.
    fn sessions(&mut self, recovery: &Recovery) -> Result<Clients, ArchiveError> {
        let mut sessions = BTreeMap::new();
        for kept in records(recovery, Space::Session) {
            match kept? {
                Some(Kept::Session {
                    client,
                    durable,
                    user,
                    expiry_seconds,
                    offline_since,
                    will,
                }) => {
                    let line = Line::Session {
                        client: client.clone(),
                        user,
                        expiry_seconds,
                        offline_since_ms: offline_since,
                        will: will.map(Will::from),
                    };
                    sessions.insert(durable, (client, line));
                }
                _ => self.left_out += 1,
            }
        }
        let mut clients = HashMap::with_capacity(sessions.len());
        for (durable, (client, line)) in sessions {
            self.line(&line)?;
            clients.insert(durable, client);
        }
        Ok(clients)
    }

    fn subscriptions(&mut self, from: &Recovery, clients: &Clients) -> Result<(), ArchiveError> {
        for kept in records(from, Space::Subscription) {
            let Some(Kept::Subscription {
                durable,
                filter,
                qos,
                no_local,
                retain_as_published,
                subscription_identifier,
            }) = kept?
            else {
                self.left_out += 1;
                continue;
            };
            let Some(client) = self.client(clients, durable) else {
                continue;
            };
            self.line(&Line::Subscription {
                client,
                filter,
                qos: qos as u8,
                no_local,
                retain_as_published,
                subscription_identifier: Some(subscription_identifier).filter(|&each| each != 0),
            })?;
        }
        Ok(())
    }

    /// What waits and what is in flight, by session and sequence.
    fn queues(&mut self, from: &Recovery, clients: &Clients) -> Result<(), ArchiveError> {
        let mut queued = records(from, Space::Queue).peekable();
        let mut in_flight = records(from, Space::InFlight).peekable();
        loop {
            let (next, flight) = (place(&mut queued), place(&mut in_flight));
            match (next, flight) {
                (None, None) => return Ok(()),
                (Some(at), Some(flight)) if at == flight => {
                    let flight = in_flight.next().transpose()?.flatten();
                    let kept = queued.next().transpose()?.flatten();
                    self.queued(clients, kept, flight)?;
                }
                (Some(at), Some(flight)) if at > flight => {
                    let flight = in_flight.next().transpose()?.flatten();
                    self.released(clients, flight)?;
                }
                (None, Some(_)) => {
                    let flight = in_flight.next().transpose()?.flatten();
                    self.released(clients, flight)?;
                }
                _ => {
                    let kept = queued.next().transpose()?.flatten();
                    self.queued(clients, kept, None)?;
                }
            }
        }
    }

    fn queued(
        &mut self,
        clients: &Clients,
        kept: Option<Kept>,
        flight: Option<Kept>,
    ) -> Result<(), ArchiveError> {
        let packet_identifier = match flight {
            Some(Kept::InFlight { released: true, .. }) => return self.released(clients, flight),
            Some(Kept::InFlight {
                packet_identifier, ..
            }) => Some(packet_identifier),
            _ => None,
        };
        let Some(Kept::Queued {
            durable,
            qos,
            retain,
            subscription_identifiers,
            group,
            message,
            ..
        }) = kept
        else {
            self.left_out += 1;
            return Ok(());
        };
        let Some(client) = self.client(clients, durable) else {
            return Ok(());
        };
        self.line(&Line::Queued {
            client,
            qos: qos as u8,
            retain,
            subscription_identifiers,
            group,
            packet_identifier,
            message: message.into(),
        })
    }

    /// Without its message, one that was sent can only be released: the client may
    /// have it.
    fn released(&mut self, clients: &Clients, flight: Option<Kept>) -> Result<(), ArchiveError> {
        let Some(Kept::InFlight {
            durable,
            packet_identifier,
            ..
        }) = flight
        else {
            self.left_out += 1;
            return Ok(());
        };
        let Some(client) = self.client(clients, durable) else {
            return Ok(());
        };
        self.line(&Line::Released {
            client,
            packet_identifier,
        })
    }

    fn received(&mut self, from: &Recovery, clients: &Clients) -> Result<(), ArchiveError> {
        for kept in records(from, Space::Received) {
            let Some(Kept::Received {
                durable,
                packet_identifier,
            }) = kept?
            else {
                self.left_out += 1;
                continue;
            };
            if let Some(client) = self.client(clients, durable) {
                self.line(&Line::Received {
                    client,
                    packet_identifier,
                })?;
            }
        }
        Ok(())
    }

    /// Of each topic the last version, unless it has been cleared.
    fn retained(&mut self, from: &Recovery) -> Result<(), ArchiveError> {
        let mut cleared = HashMap::<String, u64>::new();
        for kept in records(from, Space::Cleared) {
            if let Some(Kept::Cleared { topic, version }) = kept? {
                let known = cleared.entry(topic).or_insert(0);
                *known = version.max(*known);
            }
        }
        let mut retained = records(from, Space::Retained).peekable();
        while let Some(kept) = retained.next() {
            let Some(Kept::Retained { version, message }) = kept? else {
                self.left_out += 1;
                continue;
            };
            let is_cleared = cleared.get(&message.topic).is_some_and(|&to| to >= version);
            let is_replaced = matches!(
                retained.peek(),
                Some(Ok(Some(Kept::Retained { message: next, .. }))) if next.topic == message.topic
            );
            if !is_cleared && !is_replaced {
                let message = message.into();
                self.line(&Line::Retained { message })?;
            }
        }
        Ok(())
    }

    fn client(&mut self, clients: &Clients, durable: u64) -> Option<String> {
        let client = clients.get(&durable).cloned();
        self.left_out += u64::from(client.is_none());
        client
    }

    fn line(&mut self, line: &Line) -> Result<(), ArchiveError> {
        serde_json::to_writer(&mut *self.out, line).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        self.lines += 1;
        if self.lines % STEP_LINES == 0 {
            (self.progress)(self.lines)?;
        }
        Ok(())
    }
}

/// The inner `Option` says whether a record made sense.
fn records(
    recovery: &Recovery,
    space: Space,
) -> impl Iterator<Item = Result<Option<Kept>, StoreError>> {
    recovery.entries(space as u8).map(move |entry| {
        let entry = entry?;
        let sequence = entry.sequence.unwrap_or(0);
        Ok(Kept::read(space as u8, &entry.key, sequence, &entry.value))
    })
}

/// Session and sequence of the next record; what made no sense comes first.
fn place<I>(records: &mut Peekable<I>) -> Option<(u64, u64)>
where
    I: Iterator<Item = Result<Option<Kept>, StoreError>>,
{
    match records.peek()? {
        Ok(Some(
            Kept::Queued {
                durable, sequence, ..
            }
            | Kept::InFlight {
                durable, sequence, ..
            },
        )) => Some((*durable, *sequence)),
        _ => Some((0, 0)),
    }
}

impl From<KeptMessage> for Message {
    fn from(kept: KeptMessage) -> Message {
        let (payload, payload_base64) = payload::write(&kept.payload);
        Message {
            topic: kept.topic,
            qos: kept.qos as u8,
            retain: kept.retain,
            arrived_ms: Some(kept.arrived),
            expires_ms: kept.expires,
            properties: properties::write(&kept.properties),
            payload,
            payload_base64,
        }
    }
}

impl From<KeptWill> for Will {
    fn from(kept: KeptWill) -> Will {
        let (payload, payload_base64) = payload::write(&kept.payload);
        Will {
            topic: kept.topic,
            qos: kept.qos as u8,
            retain: kept.retain,
            delay_seconds: kept.delay_seconds,
            expiry_seconds: kept.expiry_seconds,
            properties: properties::write(&kept.properties),
            payload,
            payload_base64,
        }
    }
}

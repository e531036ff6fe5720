//! TLS 1.2 and 1.3 between a socket and what is above it.
//!
//! rustls without its own buffers: records are read into the worker's scratch space and
//! opened there, and sealed into another one, so that an idle connection holds none and a
//! busy one costs one system call for as many records as there are.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use noctule_broker::Identity;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError};

use super::socket::Socket;
use super::{Read, Written};
use crate::tls::client_identity;

/// Bytes of records read at once.
const READ_BYTES: usize = 256 << 10;

/// Plain bytes sealed for one write, at most: what a peer that stops reading makes us hold.
const WRITE_BYTES: usize = 128 << 10;

/// Pieces shorter than this share a record: sealing one has a price of its own.
const SHARED_RECORD_BYTES: usize = 4 << 10;

/// Most plain bytes of a record, RFC 8446 §5.1.
const RECORD_BYTES: usize = 16 << 10;

/// Most bytes of an unfinished record or handshake message: the longest certificate message
/// that rustls takes is 64 KiB.
const MAX_UNFINISHED_BYTES: usize = 96 << 10;

/// Space that every connection of a thread uses in its turn.
struct Scratch {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    gathered: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { incoming: Vec::new(), outgoing: Vec::new(), gathered: Vec::new() })
    };
}

pub(crate) struct Tls {
    socket: Socket,
    connection: UnbufferedServerConnection,
    /// The beginning of a record whose rest has not come.
    unfinished: Vec<u8>,
    /// Sealed, and not yet taken by the socket.
    pending: Vec<u8>,
    stage: Stage,
    /// What was wrong with the client's certificate.
    refusal: Option<Box<str>>,
}

impl fmt::Debug for Tls {
    /// No keys in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("socket", &self.socket)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Ended, and whoever reads is still to be told.
    Ending,
    Ended,
}

impl Tls {
    /// # Errors
    /// The configuration cannot be used: our fault.
    pub fn new(socket: Socket, config: Arc<ServerConfig>) -> io::Result<Tls> {
        Ok(Tls {
            socket,
            connection: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            unfinished: Vec::new(),
            pending: Vec::new(),
            stage: Stage::Open,
            refusal: None,
        })
    }

    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    pub fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub fn into_socket(self) -> Socket {
        self.socket
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Why the client's certificate was refused, if that is how it ended.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The client's certificate, if it has shown one.
    ///
    /// # Errors
    /// It has ended since it was checked: a resumed session checks nothing again.
    pub fn identity(&self) -> Result<Option<Identity>, String> {
        let chain = self.connection.peer_certificates();
        chain
            .and_then(<[_]>::first)
            .map(|certificate| client_identity(certificate))
            .transpose()
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Read> {
        if self.stage == Stage::Ending {
            self.stage = Stage::Ended;
            return Ok(Read::Ended);
        }
        if self.stage == Stage::Ended {
            return self.discard(into);
        }
        let read = SCRATCH.with_borrow_mut(|scratch| self.read_records(scratch, into))?;
        self.flush()?;
        Ok(read)
    }

    fn read_records(&mut self, scratch: &mut Scratch, into: &mut [u8]) -> io::Result<Read> {
        // Plain text is shorter than its records, so what is read always fits.
        let room = READ_BYTES.min(into.len());
        scratch
            .incoming
            .resize(READ_BYTES + MAX_UNFINISHED_BYTES, 0);
        let kept = self.unfinished.len();
        if kept >= room.min(MAX_UNFINISHED_BYTES) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a record without end",
            ));
        }
        let (count, drained) = match self.socket.read(&mut scratch.incoming[kept..room])? {
            Read::Bytes { count, drained } => (count, drained),
            other => return Ok(other),
        };
        scratch.incoming[..kept].copy_from_slice(&self.unfinished);
        let records = &mut scratch.incoming[..kept + count];
        let (used, count) = self.open_records(records, into);
        self.unfinished = records[used..].to_vec();
        if self.stage == Stage::Ending && count == 0 {
            self.stage = Stage::Ended;
            return Ok(Read::Ended);
        }
        let drained = drained && self.stage == Stage::Open;
        Ok(Read::Bytes { count, drained })
    }

    /// Returns how much of `records` is done with, and how many plain bytes came of it.
    fn open_records(&mut self, records: &mut [u8], into: &mut [u8]) -> (usize, usize) {
        let (mut used, mut count) = (0, 0);
        loop {
            let status = self.connection.process_tls_records(&mut records[used..]);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        let end = count + record.payload.len();
                        into[count..end].copy_from_slice(record.payload);
                        count = end;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode_behind(&mut self.pending, |space| data.encode(space));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    return (used, count);
                }
                Ok(_) => {
                    // Closed by the peer; or early data, which is never offered.
                    self.stage = Stage::Ending;
                    return (records.len(), count);
                }
                Err(error) => {
                    tracing::debug!("a TLS connection is refused: {error}");
                    let is_of_certificate = matches!(
                        error,
                        rustls::Error::InvalidCertificate(_)
                            | rustls::Error::NoCertificatesPresented
                    );
                    self.refusal = is_of_certificate.then(|| error.to_string().into());
                    self.stage = Stage::Ending;
                    self.queue_alert();
                    return (records.len(), count);
                }
            }
        }
    }

    /// Takes the alert that goes with an error.
    fn queue_alert(&mut self) {
        while let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.connection.process_tls_records(&mut []).state
        {
            encode_behind(&mut self.pending, |space| data.encode(space));
        }
    }

    fn discard(&mut self, into: &mut [u8]) -> io::Result<Read> {
        match self.socket.read(into)? {
            Read::Bytes { drained, .. } => Ok(Read::Bytes { count: 0, drained }),
            other => Ok(other),
        }
    }

    pub fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        let moved = self.flush()?;
        if self.has_pending() || chunks.is_empty() {
            return Ok(Written {
                count: 0,
                blocked: self.has_pending(),
                moved,
            });
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let (count, sealed) = self.seal(scratch, chunks)?;
            let sealed = &scratch.outgoing[..sealed];
            let written = self.socket.write_vectored(&[IoSlice::new(sealed)])?;
            self.pending = sealed[written.count..].to_vec();
            Ok(Written {
                count,
                blocked: written.blocked,
                moved: written.moved || moved,
            })
        })
    }

    /// Seals as much as one write may hold into `scratch.outgoing`; returns how many plain
    /// bytes that was, and how many sealed ones.
    fn seal(
        &mut self,
        scratch: &mut Scratch,
        chunks: &[IoSlice<'_>],
    ) -> io::Result<(usize, usize)> {
        let mut sealed = 0;
        let mut writer = loop {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(writer)) => break writer,
                // The answer to a key update.
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode_at(&mut scratch.outgoing, &mut sealed, |space| {
                        data.encode(space)
                    });
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => return Err(ErrorKind::BrokenPipe.into()),
            }
        };
        let Scratch {
            outgoing, gathered, ..
        } = scratch;
        gathered.clear();
        let mut encrypt =
            |plain: &[u8]| encrypt_at(outgoing, &mut sealed, |space| writer.encrypt(plain, space));
        let mut count = 0;
        for chunk in chunks {
            let piece = &chunk[..chunk.len().min(WRITE_BYTES - count)];
            let has_own_record = piece.len() >= SHARED_RECORD_BYTES;
            let is_full = has_own_record || gathered.len() + piece.len() > RECORD_BYTES;
            if is_full && !gathered.is_empty() {
                encrypt(gathered)?;
                gathered.clear();
            }
            match has_own_record {
                true => encrypt(piece)?,
                false => gathered.extend_from_slice(piece),
            }
            count += piece.len();
            if count == WRITE_BYTES {
                break;
            }
        }
        if !gathered.is_empty() {
            encrypt(gathered)?;
        }
        Ok((count, sealed))
    }

    /// Writes what is pending; returns whether the socket took anything.
    fn flush(&mut self) -> io::Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let written = self.socket.write_vectored(&[IoSlice::new(&self.pending)])?;
        match written.blocked {
            true => drop(self.pending.drain(..written.count)),
            false => self.pending = Vec::new(),
        }
        Ok(written.moved)
    }

    /// Says close_notify if there is room for it, then ends the stream.
    pub fn finish_writing(&mut self) -> io::Result<()> {
        if self.stage == Stage::Open {
            self.queue_close_notify();
        }
        self.flush()?;
        self.stage = Stage::Ended;
        self.socket.finish_writing()
    }

    fn queue_close_notify(&mut self) {
        if let Ok(ConnectionState::WriteTraffic(mut writer)) =
            self.connection.process_tls_records(&mut []).state
        {
            let mut space = [0; 64];
            if let Ok(count) = writer.queue_close_notify(&mut space) {
                self.pending.extend_from_slice(&space[..count]);
            }
        }
    }
}

/// Puts a handshake record behind what is there.
fn encode_behind(
    pending: &mut Vec<u8>,
    encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) {
    let mut end = pending.len();
    encode_at(pending, &mut end, encode);
    pending.truncate(end);
}

fn encode_at(
    space: &mut Vec<u8>,
    at: &mut usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) {
    loop {
        match encode(&mut space[*at..]) {
            Ok(count) => return *at += count,
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                space.resize(*at + required_size, 0);
            }
            Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}

fn encrypt_at(
    space: &mut Vec<u8>,
    at: &mut usize,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    loop {
        match encrypt(&mut space[*at..]) {
            Ok(count) => {
                *at += count;
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                space.resize(*at + required_size, 0);
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

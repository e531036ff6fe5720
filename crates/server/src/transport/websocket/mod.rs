//! MQTT in WebSocket frames, RFC 6455. MQTT 5.0 §6.
//!
//! Frames and packets have nothing to do with each other [MQTT-6.0.0-2]: payload is handed on
//! as it comes, however long its frame is, and everything a turn has to write goes out in one
//! frame. Compression (permessage-deflate) is agreed to only where the listener says so: it
//! costs far more processor time than a message does.

mod deflate;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod opening;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::channel::Channel;
use super::{Read, Written};
use deflate::Inflater;
use frame::{Decoded, Decoder};
pub(crate) use opening::Door;

/// Longest frame sent: a browser hands a message on only when it is complete.
const FRAME_BYTES: usize = 128 << 10;

/// Pieces of output offered to one write, a frame's head included.
const CHUNKS_A_WRITE: usize = 66;

/// Bytes of frames read at once where they may be compressed.
const COMPRESSED_READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct WebSocket {
    channel: Channel,
    stage: Stage,
    decoder: Decoder,
    /// To be written before anything else.
    out: Vec<u8>,
    /// How much of the frame that was begun is still to be written.
    frame_left: usize,
    /// To be written once that is done: a pong, a close frame.
    control: Vec<u8>,
    /// There where compression is agreed to.
    compression: Option<Box<Compressed>>,
}

/// What comes in frames that may be compressed, on its way.
#[derive(Default)]
struct Compressed {
    inflater: Inflater,
    /// Frames that have come and are not taken apart.
    frames: Vec<u8>,
}

impl Compressed {
    fn has_more(&self) -> bool {
        self.inflater.has_more() || !self.frames.is_empty()
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed").finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Stage {
    /// The request has come as far as this.
    Opening(Box<(Vec<u8>, Arc<Door>)>),
    Open,
    /// Ended, and whoever reads is still to be told.
    Ending,
    Ended,
}

impl WebSocket {
    pub fn new(channel: Channel, door: Arc<Door>) -> WebSocket {
        WebSocket {
            channel,
            stage: Stage::Opening(Box::new((Vec::new(), door))),
            decoder: Decoder::default(),
            out: Vec::new(),
            frame_left: 0,
            control: Vec::new(),
            compression: None,
        }
    }

    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    pub fn channel_mut(&mut self) -> &mut Channel {
        &mut self.channel
    }

    pub fn into_channel(self) -> Channel {
        self.channel
    }

    pub fn has_pending(&self) -> bool {
        !self.out.is_empty() || !self.control.is_empty() || self.channel.has_pending()
    }

    /// Whether something that has come waits for the next read: no edge will tell of it.
    pub fn has_unread(&self) -> bool {
        let compression = self.compression.as_ref();
        compression.is_some_and(|compression| compression.has_more())
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Read> {
        if matches!(self.stage, Stage::Ending) {
            self.stage = Stage::Ended;
            return Ok(Read::Ended);
        }
        if let Some(compression) = self.compression.take() {
            return self.read_compressed(compression, into);
        }
        let (count, drained) = match self.channel.read(into)? {
            Read::Bytes { count, drained } => (count, drained),
            other => return Ok(other),
        };
        let count = match &mut self.stage {
            Stage::Open => self.decode(&mut into[..count]),
            Stage::Opening(_) => match self.open(&mut into[..count]) {
                Some(count) => count,
                None => return Ok(Read::Closed),
            },
            Stage::Ending | Stage::Ended => 0,
        };
        if self.has_pending() {
            self.write_own()?;
        }
        if matches!(self.stage, Stage::Ending) && count == 0 {
            self.stage = Stage::Ended;
            return Ok(Read::Ended);
        }
        let is_over = matches!(self.stage, Stage::Ending);
        let drained = drained && !is_over && !self.has_unread();
        Ok(Read::Bytes { count, drained })
    }

    /// Goes on with the request; returns the length of the payload that came behind it, or
    /// `None` if this is no HTTP.
    fn open(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let Stage::Opening(opening) = &mut self.stage else {
            return Some(0);
        };
        let (request, door) = &mut **opening;
        let before = request.len();
        let taken = bytes.len().min(opening::MAX_REQUEST_BYTES - before);
        request.extend_from_slice(&bytes[..taken]);
        if !opening::may_be_http(request) {
            return None;
        }
        let Some(end) = opening::end_of_request(request) else {
            if request.len() == opening::MAX_REQUEST_BYTES {
                self.out = opening::too_long().bytes;
                self.stage = Stage::Ending;
            }
            return Some(0);
        };
        let answer = door.answer(&request[..end]);
        self.out = answer.bytes;
        if !answer.is_open {
            self.stage = Stage::Ending;
            return Some(0);
        }
        self.stage = Stage::Open;
        let behind = end - before;
        let count = bytes.len() - behind;
        if answer.is_compressed {
            self.decoder.allow_compression();
            let frames = bytes[behind..].to_vec();
            let inflater = Inflater::default();
            self.compression = Some(Box::new(Compressed { inflater, frames }));
            return Some(0);
        }
        bytes.copy_within(behind.., 0);
        Some(self.decode(&mut bytes[..count]))
    }

    /// As [`WebSocket::read`], where messages may be compressed: what one read hands on has an
    /// end, whatever they grow to, and the rest is for the next one.
    fn read_compressed(
        &mut self,
        mut compression: Box<Compressed>,
        into: &mut [u8],
    ) -> io::Result<Read> {
        let mut drained = false;
        if !compression.has_more() {
            let room = into.len().min(COMPRESSED_READ_BYTES);
            match self.channel.read(&mut into[..room]) {
                Ok(Read::Bytes {
                    count,
                    drained: is_all,
                }) => {
                    compression.frames = into[..count].to_vec();
                    drained = is_all;
                }
                other => {
                    self.compression = Some(compression);
                    return other;
                }
            }
        }
        let count = match self.stage {
            Stage::Open => self.inflate(&mut compression, into),
            _ => 0,
        };
        if !matches!(self.stage, Stage::Open) {
            *compression = Compressed::default();
        }
        drained &= !compression.has_more();
        self.compression = Some(compression);
        if self.has_pending() {
            self.write_own()?;
        }
        if matches!(self.stage, Stage::Ending) && count == 0 {
            self.stage = Stage::Ended;
            return Ok(Read::Ended);
        }
        let drained = drained && !matches!(self.stage, Stage::Ending);
        Ok(Read::Bytes { count, drained })
    }

    /// Takes frames apart, and what is in them, until there is no more of them, or no room.
    fn inflate(&mut self, compression: &mut Compressed, into: &mut [u8]) -> usize {
        let Compressed { inflater, frames } = compression;
        let (mut count, mut at) = (0, 0);
        while count < into.len() && matches!(self.stage, Stage::Open) {
            if inflater.has_more() {
                match inflater.inflate(&mut into[count..]) {
                    Ok(more) => count += more,
                    Err(code) => self.end(Some(code)),
                }
            } else if at < frames.len() {
                let decoded = self.decoder.decode(&mut frames[at..]);
                let payload = &frames[at..at + decoded.count];
                inflater.add(payload, decoded.is_compressed, decoded.is_message_end);
                at += decoded.used;
                self.follow(decoded);
            } else {
                break;
            }
        }
        match at == frames.len() {
            // An idle connection holds none.
            true => *frames = Vec::new(),
            false => drop(frames.drain(..at)),
        }
        count
    }

    fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let decoded = self.decoder.decode(bytes);
        let count = decoded.count;
        self.follow(decoded);
        count
    }

    /// Does what control frames ask for.
    fn follow(&mut self, decoded: Decoded) {
        if let Some(payload) = decoded.ping {
            // One pong for several pings is enough (§5.5.3), so a peer that sends pings and
            // reads nothing costs no more than one.
            self.control.clear();
            frame::put_pong(&mut self.control, &payload);
        }
        if let Some(code) = decoded.end {
            self.end(code);
        }
    }

    fn end(&mut self, code: Option<u16>) {
        self.stage = Stage::Ending;
        frame::put_close(&mut self.control, code);
    }

    pub fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        if !matches!(self.stage, Stage::Open) && !chunks.is_empty() {
            // Nobody is there to take it: the next read says so.
            self.write_own()?;
            let count = chunks.iter().map(|chunk| chunk.len()).sum();
            return Ok(Written {
                count,
                blocked: false,
                moved: false,
            });
        }
        if self.frame_left == 0 {
            self.out.append(&mut self.control);
            let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
            let length = offered.min(FRAME_BYTES);
            if self.compression.is_some() {
                return self.write_compressed(chunks, length);
            }
            if length > 0 {
                frame::put_head(&mut self.out, OpCode::Data(Data::Binary), length);
                self.frame_left = length;
            }
        }
        let written = self.write_frame(chunks)?;
        if self.frame_left == 0 && !written.blocked && !self.control.is_empty() {
            return self.write_control(written);
        }
        Ok(written)
    }

    /// Writes a frame of its own that holds `length` bytes of the chunks; what the socket does
    /// not take of it waits here.
    fn write_compressed(&mut self, chunks: &[IoSlice<'_>], length: usize) -> io::Result<Written> {
        let mut moved = false;
        if self.has_pending() {
            let before = self.write_frame(&[])?;
            if before.blocked {
                return Ok(before);
            }
            moved = before.moved;
        }
        if length == 0 {
            return Ok(Written {
                count: 0,
                blocked: false,
                moved,
            });
        }
        let mut payload = Vec::new();
        if !deflate::compress(&mut payload, chunks, length) {
            frame::put_head(&mut self.out, OpCode::Data(Data::Binary), length);
            self.frame_left = length;
            return self.write_frame(chunks);
        }
        frame::put_compressed_head(&mut self.out, payload.len());
        self.out.append(&mut payload);
        let written = self.write_frame(&[])?;
        Ok(Written {
            count: length,
            moved: written.moved || moved,
            ..written
        })
    }

    /// Writes what waits and the rest of the frame that was begun, from the chunks.
    fn write_frame(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        let mut pieces = [IoSlice::new(&[]); CHUNKS_A_WRITE];
        let mut filled = 0;
        if !self.out.is_empty() {
            pieces[0] = IoSlice::new(&self.out);
            filled = 1;
        }
        let mut left = self.frame_left;
        for chunk in chunks {
            if left == 0 || filled == CHUNKS_A_WRITE {
                break;
            }
            let length = chunk.len().min(left);
            pieces[filled] = IoSlice::new(&chunk[..length]);
            filled += 1;
            left -= length;
        }
        let written = self.channel.write_vectored(&pieces[..filled])?;
        let own = written.count.min(self.out.len());
        let count = written.count - own;
        match own == self.out.len() {
            // The buffer is kept while there is traffic, and is small.
            true => self.out.clear(),
            false => drop(self.out.drain(..own)),
        }
        self.frame_left -= count;
        Ok(Written { count, ..written })
    }

    /// A control frame has waited for the end of the frame that is now written.
    fn write_control(&mut self, before: Written) -> io::Result<Written> {
        self.out.append(&mut self.control);
        let written = self.write_frame(&[])?;
        Ok(Written {
            count: before.count,
            ..written
        })
    }

    /// Writes what this layer has to say, as far as the frame under way lets it.
    fn write_own(&mut self) -> io::Result<()> {
        if self.frame_left == 0 {
            self.out.append(&mut self.control);
        }
        if !self.out.is_empty() || self.channel.has_pending() {
            self.write_frame(&[])?;
        }
        Ok(())
    }

    pub fn finish_writing(&mut self) -> io::Result<()> {
        if matches!(self.stage, Stage::Open) && self.frame_left == 0 {
            self.end(Some(frame::NORMAL));
            self.write_own()?;
        }
        self.stage = Stage::Ended;
        self.channel.finish_writing()
    }
}

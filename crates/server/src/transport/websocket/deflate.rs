//! permessage-deflate, RFC 7692: each message compressed by itself ("no context takeover"), so
//! that a connection holds no window between two of them.

use std::cell::RefCell;
use std::io::IoSlice;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::INVALID_PAYLOAD;

/// The answer to an offer that is accepted.
pub(super) const ANSWER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Ends every message and is left out on the way, §7.2.1.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Shorter messages grow, or shrink by less than it takes.
const MIN_BYTES: usize = 64;

/// What compressing may add to text that does not compress, and the tail.
const SPARE_BYTES: usize = 1 << 10;

thread_local! {
    /// Some 300 KiB, for every connection of a thread in its turn.
    static COMPRESS: RefCell<Option<Box<Compress>>> = const { RefCell::new(None) };
}

/// Whether one of the offers in these headers can be accepted, §7.1.
///
/// One that bounds the window of what is sent cannot.
pub(super) fn is_offered<'a>(headers: impl Iterator<Item = &'a str>) -> bool {
    headers
        .flat_map(|value| value.split(','))
        .any(is_acceptable)
}

fn is_acceptable(offer: &str) -> bool {
    let mut words = offer.split(';').map(str::trim);
    if words.next() != Some("permessage-deflate") {
        return false;
    }
    let mut seen = Vec::new();
    words.all(|word| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (word, None),
        };
        let is_new = !seen.contains(&name);
        seen.push(name);
        is_new
            && match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
                ("client_max_window_bits", None) => true,
                ("client_max_window_bits", Some(bits)) => {
                    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
                }
                _ => false,
            }
    })
}

/// Puts what `chunks` begin with, `length` bytes, compressed behind `into`; leaves that as it
/// was and returns false where that would not be shorter.
pub(super) fn compress(into: &mut Vec<u8>, chunks: &[IoSlice<'_>], length: usize) -> bool {
    if length < MIN_BYTES {
        return false;
    }
    let before = into.len();
    into.reserve(length + length / 8 + SPARE_BYTES);
    let is_whole = COMPRESS.with_borrow_mut(|compress| {
        let compress = compress.get_or_insert_with(|| {
            let raw = false;
            Box::new(Compress::new(Compression::fast(), raw))
        });
        compress.reset();
        let mut left = length;
        for chunk in chunks {
            let piece = &chunk[..chunk.len().min(left)];
            left -= piece.len();
            let flush = match left {
                0 => FlushCompress::Sync,
                _ => FlushCompress::None,
            };
            let taken = compress.total_in() + piece.len() as u64;
            if compress.compress_vec(piece, into, flush).is_err() || compress.total_in() != taken {
                return false;
            }
            if left == 0 {
                break;
            }
        }
        into.ends_with(&TAIL)
    });
    let end = into.len().saturating_sub(TAIL.len());
    let is_shorter = is_whole && end - before < length;
    into.truncate(if is_shorter { end } else { before });
    is_shorter
}

/// Takes a client's messages apart again, as fast as there is room for what comes out: never
/// more than what one read may hold, whatever they grow to.
#[derive(Default)]
pub(super) struct Inflater {
    /// There from the beginning of a compressed message to its end; some 40 KiB.
    decompress: Option<Box<Decompress>>,
    /// Payload that has come and is not taken apart.
    packed: Vec<u8>,
    /// How much of it is.
    at: usize,
    /// The room was used up: there may be more.
    is_full: bool,
    /// The message ends with `packed`.
    ends: bool,
}

impl Inflater {
    /// A piece of a message: `is_compressed` or as it is; `ends` with it.
    pub fn add(&mut self, piece: &[u8], is_compressed: bool, ends: bool) {
        self.packed.extend_from_slice(piece);
        self.ends = ends;
        if is_compressed {
            if ends {
                self.packed.extend_from_slice(&TAIL);
            }
            self.decompress
                .get_or_insert_with(|| Box::new(Decompress::new(false)));
        }
    }

    /// Whether something waits for room.
    pub fn has_more(&self) -> bool {
        self.at < self.packed.len() || self.is_full
    }

    /// Fills `into` as far as it goes; returns how far that is.
    ///
    /// # Errors
    /// The code to close with: what came was not compressed as it should be.
    pub fn inflate(&mut self, into: &mut [u8]) -> Result<usize, u16> {
        let count = match self.decompress {
            Some(_) => self.decompress(into)?,
            None => self.copy(into),
        };
        if !self.has_more() {
            self.packed = Vec::new();
            self.at = 0;
            if self.ends {
                self.decompress = None;
                self.ends = false;
            }
        }
        Ok(count)
    }

    fn copy(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.packed.len() - self.at);
        into[..count].copy_from_slice(&self.packed[self.at..self.at + count]);
        self.at += count;
        count
    }

    fn decompress(&mut self, into: &mut [u8]) -> Result<usize, u16> {
        let Some(decompress) = &mut self.decompress else {
            return Ok(0);
        };
        let mut count = 0;
        while self.at < self.packed.len() || self.is_full {
            let before = (decompress.total_in(), decompress.total_out());
            let status = decompress
                .decompress(
                    &self.packed[self.at..],
                    &mut into[count..],
                    FlushDecompress::Sync,
                )
                .map_err(|_| INVALID_PAYLOAD)?;
            let used = (decompress.total_in() - before.0) as usize;
            let made = (decompress.total_out() - before.1) as usize;
            self.at += used;
            count += made;
            self.is_full = count == into.len();
            // A block that says it is the last one: others may follow, §7.2.3.4.
            if status == Status::StreamEnd {
                decompress.reset(false);
                self.is_full = false;
            }
            if count == into.len() {
                break;
            }
            if used == 0 && made == 0 && self.at < self.packed.len() {
                return Err(INVALID_PAYLOAD);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let (front, back) = text.split_at(text.len() / 3);
        let mut bytes = b"before".to_vec();
        let chunks = [IoSlice::new(front), IoSlice::new(back), IoSlice::new(b"x")];
        assert!(compress(&mut bytes, &chunks, text.len()));
        bytes.split_off(6)
    }

    /// What comes out with room for `room` bytes at a time, the message cut every `step`.
    fn inflated(message: &[u8], step: usize, room: usize) -> Result<Vec<u8>, u16> {
        let mut inflater = Inflater::default();
        let mut out = Vec::new();
        let mut into = vec![0; room];
        let mut pieces = message.chunks(step).peekable();
        while let Some(piece) = pieces.next() {
            inflater.add(piece, true, pieces.peek().is_none());
            while inflater.has_more() {
                let count = inflater.inflate(&mut into)?;
                out.extend_from_slice(&into[..count]);
            }
        }
        assert!(inflater.decompress.is_none(), "nothing is held afterwards");
        Ok(out)
    }

    #[test]
    fn messages_come_out_as_they_were_however_they_are_cut() {
        let text: Vec<u8> = (0..30_000_u32).map(|at| (at * at / 7 % 23) as u8).collect();
        let message = compressed(&text);
        assert!(message.len() < text.len() / 2);
        for step in [1, 2, 3, 7, 1_000, usize::MAX] {
            for room in [1, 5, 4_096, 1 << 20] {
                assert!(inflated(&message, step.min(message.len()), room).as_ref() == Ok(&text));
            }
        }
    }

    #[test]
    fn examples_of_the_rfc_come_out() {
        let hello: [&[u8]; 3] = [
            &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
            // Not compressed; with a block that says it is the last.
            &[
                0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00,
            ],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
        ];
        for message in hello {
            for step in 1..=message.len() {
                assert_eq!(inflated(message, step, 3), Ok(b"Hello".to_vec()), "{step}");
            }
        }
    }

    #[test]
    fn a_bomb_takes_no_more_than_the_room_there_is() {
        let zeros = vec![0; 64 << 20];
        let message = compressed(&zeros);
        assert!(message.len() < 400_000);
        let mut inflater = Inflater::default();
        inflater.add(&message, true, true);
        let (mut into, mut total) = (vec![0; 1 << 16], 0);
        while inflater.has_more() {
            total += inflater.inflate(&mut into).unwrap();
            assert!(inflater.packed.capacity() < 1 << 20);
        }
        assert_eq!(total, zeros.len());
    }

    #[test]
    fn what_is_not_compressed_is_refused() {
        for message in [
            &[0x06, 0x00][..],
            &[0xFF; 100],
            &[0x00, 0x01, 0x00, 0x00, 0x00],
        ] {
            assert_eq!(inflated(message, 100, 100), Err(INVALID_PAYLOAD));
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_left_alone() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .take(100_000)
        .collect();
        for text in [&noise[..], b"short"] {
            let mut bytes = b"before".to_vec();
            assert!(!compress(&mut bytes, &[IoSlice::new(text)], text.len()));
            assert_eq!(bytes, b"before");
        }
    }

    #[test]
    fn offers_that_can_be_kept_are_accepted() {
        let is_offered = |value: &'static str| is_offered([value].into_iter());
        for good in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "x-other, permessage-deflate;client_max_window_bits=\"15\" ; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert!(is_offered(good), "{good}");
        }
        for bad in [
            "",
            "deflate",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; mystery",
        ] {
            assert!(!is_offered(bad), "{bad}");
        }
    }
}

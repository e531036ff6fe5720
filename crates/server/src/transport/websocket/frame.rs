//! Frames from clients, RFC 6455 §5: payload out, in place; and the heads of our own.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest frame taken: that of the largest MQTT packet. Nothing is allocated by it.
const MAX_FRAME_BYTES: u64 = 268_435_460;

/// Longest payload of a control frame, RFC 6455 §5.5.
const MAX_CONTROL_BYTES: u64 = 125;

/// Longest head of a client's frame: two bytes, a length of eight, a mask of four.
const MAX_HEAD_BYTES: usize = 14;

/// Bits of a frame's first byte, RFC 6455 §5.2 and RFC 7692 §6.
const FINAL: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

/// Status codes of a close frame, RFC 6455 §7.4.1.
pub(super) const NORMAL: u16 = 1_000;
pub(super) const PROTOCOL_ERROR: u16 = 1_002;
pub(super) const UNSUPPORTED_DATA: u16 = 1_003;
pub(super) const INVALID_PAYLOAD: u16 = 1_007;
pub(super) const TOO_BIG: u16 = 1_009;

/// Where a client's stream of frames stands.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The part of a head that came with an earlier read.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// A message has begun and not ended.
    is_fragmented: bool,
    /// It was agreed that messages may be compressed.
    may_be_compressed: bool,
    /// The message that began last is.
    is_compressed: bool,
    /// What a control frame has brought so far.
    control: Vec<u8>,
}

/// The frame that is being taken.
#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// Turned so that its first byte is for the next one.
    mask: [u8; 4],
    left: u64,
}

/// What a piece of the stream held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Bytes of payload, at the front of what was given.
    pub count: usize,
    /// Bytes that are done with.
    pub used: usize,
    /// The payload is that of a compressed message.
    pub is_compressed: bool,
    /// A message ends with it.
    pub is_message_end: bool,
    /// The payload of the last ping.
    pub ping: Option<Vec<u8>>,
    /// The stream ends here, with this code to be answered; `None`: without one.
    pub end: Option<Option<u16>>,
}

impl Decoder {
    /// Compressed messages may come from now on.
    pub fn allow_compression(&mut self) {
        self.may_be_compressed = true;
    }

    /// Takes frames apart and moves their payload together at the front of `bytes`: of all of
    /// them, or, where they may be compressed, as far as one message goes.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Decoded {
        let mut decoded = Decoded::default();
        let mut from = 0;
        while from < bytes.len() && decoded.end.is_none() && !decoded.is_message_end {
            let Some(frame) = &mut self.frame else {
                match self.take_head(&bytes[from..]) {
                    Ok(count) => from += count,
                    Err(code) => decoded.end = Some(Some(code)),
                }
                // An empty frame is complete with its head.
                self.complete(&mut decoded);
                continue;
            };
            let left = usize::try_from(frame.left).unwrap_or(usize::MAX);
            let count = left.min(bytes.len() - from);
            let piece = from..from + count;
            unmask(&mut bytes[piece.clone()], frame.mask);
            frame.mask.rotate_left(count % 4);
            frame.left -= count as u64;
            match frame.opcode {
                OpCode::Data(_) => {
                    bytes.copy_within(piece, decoded.count);
                    decoded.count += count;
                }
                OpCode::Control(_) => self.control.extend_from_slice(&bytes[piece]),
            }
            from += count;
            self.complete(&mut decoded);
        }
        decoded.used = from;
        decoded.is_compressed = self.is_compressed;
        if decoded.is_message_end {
            self.is_compressed = false;
        }
        decoded
    }

    /// Begins a frame if its head is complete; returns how many bytes were taken.
    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, u16> {
        let before = self.head.len();
        let (head, length, used) = if before == 0 {
            let Some(parsed) = parse_head(bytes)? else {
                self.head = bytes.to_vec();
                return Ok(bytes.len());
            };
            parsed
        } else {
            let more = bytes.len().min(MAX_HEAD_BYTES - before);
            self.head.extend_from_slice(&bytes[..more]);
            let Some(parsed) = parse_head(&self.head)? else {
                return Ok(more);
            };
            self.head = Vec::new();
            parsed
        };
        self.begin(&head, length, used)?;
        Ok(used - before)
    }

    /// The rules about heads, RFC 6455 §5.2 to §5.5.
    fn begin(&mut self, head: &FrameHeader, length: u64, head_bytes: usize) -> Result<(), u16> {
        let is_shortest = match head_bytes - 4 {
            2 => true,
            4 => length > MAX_CONTROL_BYTES,
            _ => length > u64::from(u16::MAX),
        };
        // Only the first frame of a message says that it is compressed, RFC 7692 §6.
        let begins = matches!(head.opcode, OpCode::Data(kind) if kind != Data::Continue);
        let is_reserved = head.rsv1 && !(begins && self.may_be_compressed);
        if is_reserved || head.rsv2 || head.rsv3 || !is_shortest {
            return Err(PROTOCOL_ERROR);
        }
        match head.opcode {
            OpCode::Control(_) if !head.is_final || length > MAX_CONTROL_BYTES => {
                return Err(PROTOCOL_ERROR);
            }
            OpCode::Control(_) => {}
            // Binary frames only [MQTT-6.0.0-1].
            OpCode::Data(Data::Text) => return Err(UNSUPPORTED_DATA),
            OpCode::Data(kind) => {
                if (kind == Data::Continue) != self.is_fragmented {
                    return Err(PROTOCOL_ERROR);
                }
                if length > MAX_FRAME_BYTES {
                    return Err(TOO_BIG);
                }
                self.is_fragmented = !head.is_final;
                if begins {
                    self.is_compressed = head.rsv1;
                }
            }
        }
        self.frame = Some(Frame {
            opcode: head.opcode,
            is_final: head.is_final,
            // A client always masks, §5.1; a head without has been refused.
            mask: head.mask.unwrap_or_default(),
            left: length,
        });
        Ok(())
    }

    /// Ends the frame if nothing of it is left, and does what a control frame asks for.
    fn complete(&mut self, decoded: &mut Decoded) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else {
            return;
        };
        match frame.opcode {
            OpCode::Control(Control::Ping) => {
                decoded.ping = Some(std::mem::take(&mut self.control));
            }
            OpCode::Control(Control::Close) => decoded.end = Some(answer_to_close(&self.control)),
            // A pong that was not asked for is allowed, §5.5.3.
            OpCode::Control(_) => self.control = Vec::new(),
            OpCode::Data(_) => decoded.is_message_end = self.may_be_compressed && frame.is_final,
        }
    }
}

/// A head with the length of the payload and its own; `None` if there is more to come.
fn parse_head(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, u16> {
    // Looked at before the rest of the head has come.
    if bytes.get(1).is_some_and(|second| second & 0x80 == 0) {
        return Err(PROTOCOL_ERROR);
    }
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| PROTOCOL_ERROR)?;
    let used = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    Ok(parsed.map(|(head, length)| (head, length, used)))
}

/// The code to answer a close frame with: its own, if it may be sent (§7.4).
fn answer_to_close(payload: &[u8]) -> Option<u16> {
    let Some((code, text)) = payload.split_first_chunk::<2>() else {
        return (!payload.is_empty()).then_some(PROTOCOL_ERROR);
    };
    let code = u16::from_be_bytes(*code);
    let is_known = matches!(code, 1_000..=1_003 | 1_007..=1_014 | 3_000..=4_999);
    match is_known && std::str::from_utf8(text).is_ok() {
        true => Some(code),
        false => Some(PROTOCOL_ERROR),
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    // Eight at a time, which the compiler makes wider still: a byte at a time would take as
    // long as everything else that is done with a message.
    let [a, b, c, d] = mask;
    let twice = [a, b, c, d, a, b, c, d];
    let wide = u64::from_ne_bytes(twice);
    let mut words = bytes.chunks_exact_mut(8);
    for word in words.by_ref().filter_map(<[u8]>::first_chunk_mut) {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(twice) {
        *byte ^= mask;
    }
}

/// Puts the head of an unmasked, unfragmented frame behind `into`.
pub(super) fn put_head(into: &mut Vec<u8>, opcode: OpCode, length: usize) {
    put_first(into, FINAL | u8::from(opcode), length);
}

/// The head of a whole message that is compressed.
pub(super) fn put_compressed_head(into: &mut Vec<u8>, length: usize) {
    put_first(
        into,
        FINAL | COMPRESSED | u8::from(OpCode::Data(Data::Binary)),
        length,
    );
}

fn put_first(into: &mut Vec<u8>, first: u8, length: usize) {
    into.push(first);
    match length {
        0..=125 => into.push(length as u8),
        126..=0xFFFF => {
            into.push(126);
            into.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            into.push(127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

pub(super) fn put_pong(into: &mut Vec<u8>, payload: &[u8]) {
    put_head(into, OpCode::Control(Control::Pong), payload.len());
    into.extend_from_slice(payload);
}

pub(super) fn put_close(into: &mut Vec<u8>, code: Option<u16>) {
    let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
    put_head(into, OpCode::Control(Control::Close), payload.len());
    into.extend_from_slice(&payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: u8 = 0x02;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0xA2, 0x33, 0xF4];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | length as u8),
            length @ 126..=0xFFFF => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        bytes
    }

    /// All payload, all pings and the end, with the stream cut every `step` bytes.
    fn decode(stream: &[u8], step: usize) -> (Vec<u8>, Vec<Vec<u8>>, Option<Option<u16>>) {
        let mut decoder = Decoder::default();
        let (mut payload, mut pings) = (Vec::new(), Vec::new());
        for piece in stream.chunks(step) {
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece);
            payload.extend_from_slice(&piece[..decoded.count]);
            pings.extend(decoded.ping);
            if decoded.end.is_some() {
                return (payload, pings, decoded.end);
            }
        }
        (payload, pings, None)
    }

    #[test]
    fn frames_of_every_length_come_out_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for length in [0, 1, 7, 8, 9, 125, 126, 300, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at: usize| (at * 7) as u8).collect();
            stream.extend(frame(0x80 | BINARY, &payload));
            expected.extend(payload);
        }
        for step in [1, 2, 3, 5, 13, 64, 4_096, usize::MAX] {
            let (payload, _, end) = decode(&stream, step.min(stream.len()));
            assert_eq!(payload, expected, "{step}");
            assert_eq!(end, None);
        }
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let stream = [
            frame(BINARY, b"ab"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x8A, b"a pong nobody asked for"),
            frame(0x80, b"cd"),
            frame(0x88, &1_000_u16.to_be_bytes()),
        ]
        .concat();
        for step in 1..stream.len() {
            let (payload, pings, end) = decode(&stream, step);
            assert_eq!(payload, b"abcd");
            assert_eq!(pings, [b"ping".to_vec()]);
            assert_eq!(end, Some(Some(1_000)));
        }
    }

    #[test]
    fn what_the_rules_forbid_ends_the_stream_with_its_code() {
        let long_head = |length: u64| {
            let mut bytes = vec![0x82, 0x80 | 127];
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes
        };
        let cases: [(Vec<u8>, u16); 12] = [
            (frame(0x81, b"text"), UNSUPPORTED_DATA),
            (vec![0x82, 0x01, 0x00], PROTOCOL_ERROR),
            (frame(0xC2, b"compressed"), PROTOCOL_ERROR),
            (frame(0x83, b"reserved opcode"), PROTOCOL_ERROR),
            (frame(0x80, b"continues nothing"), PROTOCOL_ERROR),
            (
                [frame(BINARY, b"a"), frame(0x82, b"b")].concat(),
                PROTOCOL_ERROR,
            ),
            (frame(0x09, b"fragmented ping"), PROTOCOL_ERROR),
            (frame(0x89, &[0; 126]), PROTOCOL_ERROR),
            (frame(0x88, b"x"), PROTOCOL_ERROR),
            (frame(0x88, &1_005_u16.to_be_bytes()), PROTOCOL_ERROR),
            (long_head(MAX_FRAME_BYTES + 1), TOO_BIG),
            (long_head(5), PROTOCOL_ERROR),
        ];
        for (stream, code) in cases {
            for step in [1, stream.len()] {
                let (_, _, end) = decode(&stream, step);
                assert_eq!(end, Some(Some(code)), "{stream:02x?}");
            }
        }
    }

    #[test]
    fn what_came_before_a_violation_is_still_delivered() {
        let stream = [frame(0x82, b"good"), frame(0x81, b"bad")].concat();
        assert_eq!(
            decode(&stream, stream.len()),
            (b"good".to_vec(), Vec::new(), Some(Some(UNSUPPORTED_DATA)))
        );
    }
}

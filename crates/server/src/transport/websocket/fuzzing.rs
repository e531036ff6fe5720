//! The checks behind [`crate::fuzzing`].

use super::deflate::Inflater;
use super::frame::{Decoder, NORMAL, PROTOCOL_ERROR, TOO_BIG, UNSUPPORTED_DATA, put_close};
use super::opening::{self, Door};

/// Bytes that a compressed stream may grow to before it is left alone.
const MAX_GROWN_BYTES: usize = 1 << 18;

/// All payload, the last ping, and the end.
type Outcome = (Vec<u8>, Option<Vec<u8>>, Option<Option<u16>>);

pub(crate) fn check_frames(input: &[u8]) {
    let Some((&step, stream)) = input.split_first() else {
        return;
    };
    let whole = decode(stream, stream.len().max(1));
    let cut = decode(stream, usize::from(step).max(1));
    assert_eq!(whole, cut, "cut every {step} bytes");
    let (payload, ping, end) = whole;
    // A head of a client takes six bytes at least.
    assert!(payload.len() <= stream.len().saturating_sub(6));
    assert!(ping.is_none_or(|ping| ping.len() <= 125));
    if let Some(Some(code)) = end {
        let own = [NORMAL, PROTOCOL_ERROR, UNSUPPORTED_DATA, TOO_BIG];
        let is_sendable =
            own.contains(&code) || matches!(code, 1_000..=1_003 | 1_007..=1_014 | 3_000..=4_999);
        assert!(is_sendable, "{code} must not be sent");
        let mut answer = Vec::new();
        put_close(&mut answer, Some(code));
        assert_eq!(answer.len(), 4);
    }
}

/// As [`check_frames`], where messages may be compressed.
pub(crate) fn check_compressed(input: &[u8]) {
    let Some((&step, stream)) = input.split_first() else {
        return;
    };
    let step = usize::from(step).max(1);
    let whole = inflate(stream, stream.len().max(1), 1 << 16);
    let cut = inflate(stream, step, 1 + step);
    let (Some((first, end)), Some((second, other))) = (whole, cut) else {
        return;
    };
    assert_eq!(end, other, "cut every {step} bytes");
    // What a message that breaks off has held so far may have come out or not.
    let common = first.len().min(second.len());
    assert!(first[..common] == second[..common], "cut every {step}");
    assert!(end.is_some() || first.len() == second.len());
}

/// The payload and the end; `None` where it grows beyond what is worth the time.
fn inflate(stream: &[u8], step: usize, room: usize) -> Option<(Vec<u8>, Option<Option<u16>>)> {
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    decoder.allow_compression();
    let (mut payload, mut into) = (Vec::new(), vec![0; room]);
    for piece in stream.chunks(step) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            let decoded = decoder.decode(&mut piece[at..]);
            assert!(decoded.used > 0 || decoded.end.is_some());
            let bytes = &piece[at..at + decoded.count];
            inflater.add(bytes, decoded.is_compressed, decoded.is_message_end);
            while inflater.has_more() {
                match inflater.inflate(&mut into) {
                    Ok(count) => payload.extend_from_slice(&into[..count]),
                    Err(code) => return Some((payload, Some(Some(code)))),
                }
                if payload.len() > MAX_GROWN_BYTES {
                    return None;
                }
            }
            if decoded.end.is_some() {
                return Some((payload, decoded.end));
            }
            at += decoded.used;
        }
    }
    Some((payload, None))
}

fn decode(stream: &[u8], step: usize) -> Outcome {
    let mut decoder = Decoder::default();
    let mut outcome = Outcome::default();
    for piece in stream.chunks(step) {
        let mut piece = piece.to_vec();
        let decoded = decoder.decode(&mut piece);
        outcome.0.extend_from_slice(&piece[..decoded.count]);
        outcome.1 = decoded.ping.or(outcome.1);
        if decoded.end.is_some() {
            outcome.2 = decoded.end;
            break;
        }
    }
    outcome
}

pub(crate) fn check_opening(request: &[u8]) {
    let door = Door {
        path: "/mqtt".into(),
        origins: vec!["https://app.example".into()],
        compression: true,
    };
    let Some(end) = opening::end_of_request(request) else {
        return;
    };
    assert!(request[..end].ends_with(b"\r\n\r\n"));
    let answer = door.answer(&request[..end]);
    let text = String::from_utf8(answer.bytes).expect("an answer in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    assert_eq!(head.starts_with("HTTP/1.1 101 "), answer.is_open, "{text}");
    assert!(head.lines().all(|line| !line.contains('\r')), "{head:?}");
    if answer.is_open {
        assert!(body.is_empty());
        let request = request[..end].to_ascii_lowercase();
        let has = |text: &[u8]| request.windows(text.len()).any(|window| window == text);
        assert!(has(b"/mqtt") && has(b"sec-websocket-key") && has(b"mqtt"));
    } else {
        let length = format!("Content-Length: {}", body.len());
        assert!(head.contains(&length), "{text}");
    }
}

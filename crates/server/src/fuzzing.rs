//! What must hold of whatever comes before and around MQTT: PROXY headers, the WebSocket
//! request and frames. Functions of bytes that panic where it does not; see `crates/fuzzing`.

use crate::proxy::{self, Header};
use crate::transport::fuzzing as websocket;

/// A PROXY header is judged alike wherever it is cut, and is never longer than what came.
///
/// # Panics
/// Otherwise.
pub fn check_proxy(bytes: &[u8]) {
    let whole = proxy::parse(bytes);
    if let Header::Complete { length, .. } = whole {
        assert!(length <= bytes.len().min(proxy::MAX_HEADER_BYTES));
        for end in 0..length {
            let cut = proxy::parse(&bytes[..end]);
            assert_eq!(cut, Header::Incomplete, "cut at {end}");
        }
        assert_eq!(
            proxy::parse(&bytes[..length]),
            whole,
            "without what follows"
        );
    }
    if whole == Header::Incomplete {
        assert!(bytes.len() < proxy::MAX_HEADER_BYTES, "never enough");
    }
}

/// The first byte of `input` says where the stream of frames is cut: what comes out is what
/// comes out of it whole.
///
/// # Panics
/// Otherwise.
pub fn check_frames(input: &[u8]) {
    websocket::check_frames(input);
    websocket::check_compressed(input);
}

/// A request is answered, whatever it is: opened, or refused with a whole response.
///
/// # Panics
/// Otherwise.
pub fn check_opening(request: &[u8]) {
    websocket::check_opening(request);
}

//! What comes before and around MQTT: PROXY headers, the WebSocket request and frames.

use noctule_server::fuzzing::{check_frames, check_opening, check_proxy};

/// The first byte of `input` chooses which of the three the rest is.
///
/// # Panics
/// It is judged otherwise when it comes in pieces, or answered with something malformed.
pub fn check(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 3 {
        0 => check_proxy(bytes),
        1 => check_frames(bytes),
        _ => check_opening(bytes),
    }
}

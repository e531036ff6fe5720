//! The workers: whatever clients send, in whatever order, and however time passes, the
//! outboxes hold well-formed packets that a server may send, within the client's window.

mod client;
mod house;
mod script;

use house::House;
use script::Script;

/// `input` is a list of steps: clients connect, send packets good and bad, read, vanish; the
/// clock goes on.
///
/// # Panics
/// A worker does, or what it does is against the protocol.
pub fn check(input: &[u8]) {
    let mut script = Script(input);
    let mut house = House::new(script.byte());
    while !script.is_at_end() {
        house.step(&mut script);
    }
    house.finish();
}

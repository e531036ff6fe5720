//! The workers: whatever clients send, in whatever order, and however time passes, the
//! outboxes hold well-formed packets that a server may send, within the client's window, and
//! promise nothing that is not on the disk.

mod acts;
mod around;
mod client;
mod disk;
mod house;
mod script;

use house::House;
use script::Script;

/// `input` is the options in two bytes and a list of steps: clients connect, send packets good
/// and bad, read, vanish; the clock goes on; the store commits; hooks answer; operators ban and
/// forbid; the process dies and begins anew from what was committed.
///
/// # Panics
/// A worker does, or what it does is against the protocol.
pub fn check(input: &[u8]) {
    let mut script = Script(input);
    let mut house = House::new(script.byte(), script.byte());
    while !script.is_at_end() {
        house.step(&mut script);
    }
    house.finish();
}

//! Building property sections.

use crate::fields::{put_binary, put_string};
use crate::properties::Properties;
use crate::tables::PropertyId;
use crate::variable::put_variable;

/// Builds a property section; clear it to use it again.
///
/// The methods append without judging: that a value has the identifier's type and the
/// section the packet's properties is up to whoever builds it. Strings and binaries hold
/// at most 65,535 bytes; what is over is left out.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct PropertyBuffer(Vec<u8>);

impl PropertyBuffer {
    /// An empty buffer, nothing allocated.
    pub const fn new() -> PropertyBuffer {
        PropertyBuffer(Vec::new())
    }

    pub fn push_byte(&mut self, id: PropertyId, value: u8) {
        self.0.extend_from_slice(&[id as u8, value]);
    }

    pub fn push_two_byte(&mut self, id: PropertyId, value: u16) {
        self.0.push(id as u8);
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn push_four_byte(&mut self, id: PropertyId, value: u32) {
        self.0.push(id as u8);
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// `value` is at most [`crate::MAX_VARIABLE`].
    pub fn push_variable(&mut self, id: PropertyId, value: u32) {
        self.0.push(id as u8);
        put_variable(&mut self.0, value);
    }

    pub fn push_string(&mut self, id: PropertyId, value: &str) {
        self.0.push(id as u8);
        put_string(&mut self.0, value);
    }

    pub fn push_binary(&mut self, id: PropertyId, value: &[u8]) {
        self.0.push(id as u8);
        put_binary(&mut self.0, value);
    }

    /// A pair of strings: in practice a user property's name and value.
    pub fn push_pair(&mut self, id: PropertyId, name: &str, value: &str) {
        self.0.push(id as u8);
        put_string(&mut self.0, name);
        put_string(&mut self.0, value);
    }

    /// Copies a property through, as [`crate::Property::raw`] holds it, or several.
    pub fn push_raw(&mut self, raw: &[u8]) {
        self.0.extend_from_slice(raw);
    }

    pub fn as_properties(&self) -> Properties<'_> {
        Properties::trusted(&self.0)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the section.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

//! Reading and writing a packet's fields one after the other.

use crate::error::Error;
use crate::properties::Properties;
use crate::text::text;
use crate::variable::{put_variable, take_variable, variable_len};
use crate::version::Version;

const CUT_OFF: Error = Error::malformed("a field runs past the end of its packet");
const TRAILING: Error = Error::malformed("bytes follow the packet's last field");
const ZERO_IDENTIFIER: &str = "a packet identifier is 0";

/// What is left to read of a packet's body.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Refuses bytes after the last field.
    #[inline]
    pub(crate) fn end(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(TRAILING)
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.0.split_first().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn two_byte(&mut self) -> Result<u16, Error> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn four_byte(&mut self) -> Result<u32, Error> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn variable(&mut self) -> Result<u32, Error> {
        let (value, len) = take_variable(self.0)?.ok_or(CUT_OFF)?;
        self.0 = self.0.get(len..).ok_or(CUT_OFF)?;
        Ok(value)
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Bytes with a two byte length in front.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let len = self.two_byte()?;
        self.take(usize::from(len))
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Error> {
        text(self.binary()?)
    }

    /// The packet identifier of a message, which is never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(crate) fn packet_identifier(&mut self) -> Result<u16, Error> {
        match self.two_byte()? {
            0 => Err(Error::protocol_error(ZERO_IDENTIFIER)),
            identifier => Ok(identifier),
        }
    }

    /// The packet identifier of SUBSCRIBE, UNSUBSCRIBE and their answers. Whether 0 is
    /// malformed or a protocol error, MQTT does not say; this is what Mosquitto answers.
    pub(crate) fn request_identifier(&mut self) -> Result<u16, Error> {
        match self.two_byte()? {
            0 => Err(Error::malformed(ZERO_IDENTIFIER)),
            identifier => Ok(identifier),
        }
    }

    /// A property section with its length in front, not looked into.
    #[inline]
    pub(crate) fn property_bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = self.variable()?;
        self.take(len as usize)
    }

    /// The property section of `section`; empty before 5.0, which has none.
    #[inline]
    pub(crate) fn properties(
        &mut self,
        version: Version,
        section: u16,
    ) -> Result<Properties<'a>, Error> {
        if version < Version::V5 {
            return Ok(Properties::EMPTY);
        }
        Properties::validate(section, self.property_bytes()?)
    }
}

/// The longest string or binary that its two byte length can tell of.
const MAX_BINARY_BYTES: usize = 65_535;

/// Bytes that [`put_binary`] appends.
#[inline]
pub(crate) fn binary_len(bytes: &[u8]) -> usize {
    2 + bytes.len().min(MAX_BINARY_BYTES)
}

/// Appends a two byte length and the bytes; what is over 65,535 is left out, so that the
/// packet around it stays well formed. Nothing decoded is ever that long.
#[inline]
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..MAX_BINARY_BYTES).unwrap_or(bytes);
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// As much of `text` as [`put_binary`] takes without cutting a character.
#[inline]
pub(crate) fn fitting(text: &str) -> &[u8] {
    if text.len() <= MAX_BINARY_BYTES {
        return text.as_bytes();
    }
    let end = (0..=MAX_BINARY_BYTES)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    &text.as_bytes()[..end]
}

/// Bytes that [`put_string`] appends.
#[inline]
pub(crate) fn string_len(text: &str) -> usize {
    binary_len(fitting(text))
}

#[inline]
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, fitting(text));
}

/// Bytes that [`put_properties`] appends.
#[inline]
pub(crate) fn properties_len(version: Version, properties: Properties<'_>) -> usize {
    if version < Version::V5 {
        return 0;
    }
    let len = properties.as_bytes().len();
    variable_len(len as u32) + len
}

/// Appends the section with its length in front; nothing before 5.0.
#[inline]
pub(crate) fn put_properties(out: &mut Vec<u8>, version: Version, properties: Properties<'_>) {
    if version < Version::V5 {
        return;
    }
    put_variable(out, properties.as_bytes().len() as u32);
    out.extend_from_slice(properties.as_bytes());
}

//! Property sections, MQTT 5.0 §2.2.2: validated once, then read in place.

use crate::error::Error;
use crate::fields::Fields;
use crate::tables::{PROPERTY_RULES, PropertyId, PropertyRule, PropertyType, section};
use crate::text::topic_name;

const NO_RESPONSE_TOPIC: Error =
    Error::protocol_error("a response topic is empty or holds a wildcard");

/// A property section: validated (identifiers, types, bounds, allowed in the packet, no
/// repeats) raw bytes without the length in front.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Properties<'a>(&'a [u8]);

/// A property's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    Byte(u8),
    TwoByte(u16),
    FourByte(u32),
    Variable(u32),
    String(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

/// One property of a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Property<'a> {
    pub id: PropertyId,
    pub value: Value<'a>,
    /// Identifier and value as on the wire, to copy through.
    pub raw: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No property.
    pub const EMPTY: Properties<'static> = Properties(&[]);

    /// Holds `bytes` against the rules of `section` (one bit of [`crate::tables::section`]).
    ///
    /// Errors: 0x81 for what cannot be read, in SUBSCRIBE and UNSUBSCRIBE for what is out
    /// of place, too; elsewhere 0x82 for that, and for what is repeated or out of its
    /// bounds (0x94 for a topic alias of 0), and for a response topic that is empty
    /// [MQTT-4.7.3-1] or has wildcards [MQTT-3.3.2-14].
    pub(crate) fn validate(section: u16, bytes: &'a [u8]) -> Result<Properties<'a>, Error> {
        let mut seen = 0u64;
        let mut fields = Fields(bytes);
        while !fields.is_empty() {
            let rule = take_rule(&mut fields)?;
            // Whatever it is, it has to be there as a whole.
            let value = take_value(&mut fields, rule.kind)?;
            if rule.packets & section == 0 {
                return Err(out_of_place(section));
            }
            let bit = 1 << rule.id as u8;
            if seen & bit != 0 && rule.repeatable & section == 0 {
                return Err(Error::protocol_error("a property stands twice"));
            }
            seen |= bit;
            check_value(rule, value)?;
        }
        Ok(Properties(bytes))
    }

    /// A section that this crate wrote itself.
    pub(crate) const fn trusted(bytes: &'a [u8]) -> Properties<'a> {
        Properties(bytes)
    }

    /// The section as on the wire, without its length.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All properties, in their order.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        self.raw().filter_map(RawProperty::read)
    }

    /// How many properties there are.
    pub fn count(self) -> usize {
        self.raw().count()
    }

    /// The value of a byte; None: not there, or of another type.
    pub fn byte(self, id: PropertyId) -> Option<u8> {
        match self.first(id)? {
            Value::Byte(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a two byte integer; None: not there, or of another type.
    pub fn two_byte(self, id: PropertyId) -> Option<u16> {
        match self.first(id)? {
            Value::TwoByte(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a four byte integer; None: not there, or of another type.
    pub fn four_byte(self, id: PropertyId) -> Option<u32> {
        match self.first(id)? {
            Value::FourByte(value) => Some(value),
            _ => None,
        }
    }

    /// The first value of a variable byte integer; None: not there, or of another type.
    pub fn variable(self, id: PropertyId) -> Option<u32> {
        match self.first(id)? {
            Value::Variable(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a string; None: not there, or of another type.
    pub fn string(self, id: PropertyId) -> Option<&'a str> {
        match self.first(id)? {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// The value of binary data; None: not there, or of another type.
    pub fn binary(self, id: PropertyId) -> Option<&'a [u8]> {
        match self.first(id)? {
            Value::Binary(value) => Some(value),
            _ => None,
        }
    }

    /// Names and values of the user properties, in their order.
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all(PropertyId::UserProperty)
            .filter_map(|value| match value {
                Value::Pair(name, value) => Some((name, value)),
                _ => None,
            })
    }

    /// The subscription identifiers, in their order.
    pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> {
        self.all(PropertyId::SubscriptionIdentifier)
            .filter_map(|value| match value {
                Value::Variable(value) => Some(value),
                _ => None,
            })
    }

    #[inline]
    fn first(self, id: PropertyId) -> Option<Value<'a>> {
        self.all(id).next()
    }

    fn all(self, id: PropertyId) -> impl Iterator<Item = Value<'a>> {
        self.raw()
            .filter(move |raw| raw.rule.id == id)
            .filter_map(|raw| Some(raw.read()?.value))
    }

    /// Walks from property to property without looking into the values.
    fn raw(self) -> impl Iterator<Item = RawProperty<'a>> {
        let mut fields = Fields(self.0);
        std::iter::from_fn(move || {
            let start = fields.0;
            let rule = take_rule(&mut fields).ok()?;
            skip_value(&mut fields, rule.kind).ok()?;
            let raw = start.get(..start.len() - fields.0.len())?;
            Some(RawProperty { rule, raw })
        })
    }
}

/// A property whose value is not read yet.
struct RawProperty<'a> {
    rule: &'static PropertyRule,
    raw: &'a [u8],
}

impl<'a> RawProperty<'a> {
    fn read(self) -> Option<Property<'a>> {
        let mut fields = Fields(self.raw.get(1..)?);
        let value = take_value(&mut fields, self.rule.kind).ok()?;
        Some(Property {
            id: self.rule.id,
            value,
            raw: self.raw,
        })
    }
}

/// Reads a property identifier. It is a variable byte integer, but all that exist are
/// below 0x80 and take one byte.
fn take_rule(fields: &mut Fields<'_>) -> Result<&'static PropertyRule, Error> {
    let id = fields.byte()?;
    match PROPERTY_RULES.get(usize::from(id)) {
        Some(Some(rule)) => Ok(rule),
        _ => Err(Error::malformed("a property does not exist")),
    }
}

fn take_value<'a>(fields: &mut Fields<'a>, kind: PropertyType) -> Result<Value<'a>, Error> {
    Ok(match kind {
        PropertyType::Byte => Value::Byte(fields.byte()?),
        PropertyType::TwoByteInteger => Value::TwoByte(fields.two_byte()?),
        PropertyType::FourByteInteger => Value::FourByte(fields.four_byte()?),
        PropertyType::VariableByteInteger => Value::Variable(fields.variable()?),
        PropertyType::Utf8String => Value::String(fields.string()?),
        PropertyType::BinaryData => Value::Binary(fields.binary()?),
        PropertyType::Utf8StringPair => Value::Pair(fields.string()?, fields.string()?),
    })
}

/// A malformed packet, says MQTT 5.0 §2.2.2.2, where §4.13.1 makes it a protocol error:
/// either is right, and this is what Mosquitto answers to each packet.
fn out_of_place(section: u16) -> Error {
    let what = "a property does not belong in its packet";
    match section {
        section::SUBSCRIBE | section::UNSUBSCRIBE => Error::malformed(what),
        _ => Error::protocol_error(what),
    }
}

fn skip_value(fields: &mut Fields<'_>, kind: PropertyType) -> Result<(), Error> {
    match kind {
        PropertyType::Byte => fields.byte().map(drop),
        PropertyType::TwoByteInteger => fields.two_byte().map(drop),
        PropertyType::FourByteInteger => fields.four_byte().map(drop),
        PropertyType::VariableByteInteger => fields.variable().map(drop),
        PropertyType::Utf8String | PropertyType::BinaryData => fields.binary().map(drop),
        PropertyType::Utf8StringPair => fields.binary().and(fields.binary()).map(drop),
    }
}

fn check_value(rule: &PropertyRule, value: Value<'_>) -> Result<(), Error> {
    let integer = match value {
        Value::Byte(value) => u32::from(value),
        Value::TwoByte(value) => u32::from(value),
        Value::FourByte(value) | Value::Variable(value) => value,
        Value::String(topic) if rule.id == PropertyId::ResponseTopic => {
            return match topic.is_empty() || topic_name(topic.as_bytes()).is_err() {
                true => Err(NO_RESPONSE_TOPIC),
                false => Ok(()),
            };
        }
        _ => return Ok(()),
    };
    if integer < rule.minimum || integer > rule.maximum {
        return Err(Error {
            reason: rule.refusal,
            what: "a property's value is out of bounds",
        });
    }
    Ok(())
}

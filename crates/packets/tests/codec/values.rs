//! Arbitrary field values and property sections.

use noctule_packets::{MAX_VARIABLE, PropertyBuffer, PropertyId, QoS, Value, Version};
use proptest::prelude::*;

pub fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![Version::V3, Version::V4, Version::V5])
}

pub fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

pub fn packet_identifier() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

/// Any UTF-8 without U+0000, now and then as long as a string can be.
pub fn text() -> impl Strategy<Value = String> {
    let character = any::<char>().prop_filter("U+0000", |character| *character != '\0');
    prop_oneof![
        20 => prop::collection::vec(character, 0..40)
            .prop_map(|characters| characters.into_iter().collect()),
        1 => Just("long/".repeat(13_107)),
    ]
}

/// A topic name: text of at least one character, without wildcards.
pub fn topic() -> impl Strategy<Value = String> {
    text()
        .prop_map(|text| format!("t{}", text.replace(['+', '#'], "/")))
        .prop_filter("too long", |topic| topic.len() <= 65_535)
}

pub fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![0xFF; 65_535]),
    ]
}

/// A property's value, owned.
#[derive(Clone, Debug)]
pub enum OwnedValue {
    Byte(u8),
    TwoByte(u16),
    FourByte(u32),
    Variable(u32),
    String(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

impl OwnedValue {
    pub fn borrow(&self) -> Value<'_> {
        match self {
            OwnedValue::Byte(value) => Value::Byte(*value),
            OwnedValue::TwoByte(value) => Value::TwoByte(*value),
            OwnedValue::FourByte(value) => Value::FourByte(*value),
            OwnedValue::Variable(value) => Value::Variable(*value),
            OwnedValue::String(value) => Value::String(value),
            OwnedValue::Binary(value) => Value::Binary(value),
            OwnedValue::Pair(name, value) => Value::Pair(name, value),
        }
    }
}

/// A property section: what is in it, and the section itself.
#[derive(Clone, Debug)]
pub struct Section {
    pub values: Vec<(PropertyId, OwnedValue)>,
    pub buffer: PropertyBuffer,
}

impl Section {
    fn new(values: Vec<(PropertyId, OwnedValue)>) -> Section {
        let mut buffer = PropertyBuffer::default();
        for (id, value) in &values {
            match value {
                OwnedValue::Byte(value) => buffer.push_byte(*id, *value),
                OwnedValue::TwoByte(value) => buffer.push_two_byte(*id, *value),
                OwnedValue::FourByte(value) => buffer.push_four_byte(*id, *value),
                OwnedValue::Variable(value) => buffer.push_variable(*id, *value),
                OwnedValue::String(value) => buffer.push_string(*id, value),
                OwnedValue::Binary(value) => buffer.push_binary(*id, value),
                OwnedValue::Pair(name, value) => buffer.push_pair(*id, name, value),
            }
        }
        Section { values, buffer }
    }
}

/// Some of these properties, each once, in any order, and any number of user properties.
pub fn section(ids: &'static [PropertyId]) -> BoxedStrategy<Section> {
    let once = prop::sample::subsequence(ids, 0..=ids.len())
        .prop_flat_map(|ids| ids.into_iter().map(property).collect::<Vec<_>>());
    let users = prop::collection::vec(property(PropertyId::UserProperty), 0..3);
    (once, users)
        .prop_map(|(once, users)| once.into_iter().chain(users).collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(Section::new)
        .boxed()
}

fn property(id: PropertyId) -> BoxedStrategy<(PropertyId, OwnedValue)> {
    use PropertyId::*;
    let value = match id {
        PayloadFormatIndicator
        | RequestProblemInformation
        | RequestResponseInformation
        | MaximumQos
        | RetainAvailable
        | WildcardSubscriptionAvailable
        | SubscriptionIdentifierAvailable
        | SharedSubscriptionAvailable => (0..=1u8).prop_map(OwnedValue::Byte).boxed(),
        ServerKeepAlive | TopicAliasMaximum => any::<u16>().prop_map(OwnedValue::TwoByte).boxed(),
        ReceiveMaximum | TopicAlias => (1..=u16::MAX).prop_map(OwnedValue::TwoByte).boxed(),
        MessageExpiryInterval | SessionExpiryInterval | WillDelayInterval => {
            any::<u32>().prop_map(OwnedValue::FourByte).boxed()
        }
        MaximumPacketSize => (1..=u32::MAX).prop_map(OwnedValue::FourByte).boxed(),
        SubscriptionIdentifier => (1..=MAX_VARIABLE).prop_map(OwnedValue::Variable).boxed(),
        ResponseTopic => topic().prop_map(OwnedValue::String).boxed(),
        ContentType
        | AssignedClientIdentifier
        | AuthenticationMethod
        | ResponseInformation
        | ServerReference
        | ReasonString => text().prop_map(OwnedValue::String).boxed(),
        CorrelationData | AuthenticationData => binary().prop_map(OwnedValue::Binary).boxed(),
        UserProperty => (text(), text())
            .prop_map(|(name, value)| OwnedValue::Pair(name, value))
            .boxed(),
    };
    value.prop_map(move |value| (id, value)).boxed()
}

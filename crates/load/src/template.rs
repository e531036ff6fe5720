//! The bytes of a publisher's messages.

use noctule_packets::{PacketType, QoS, Version, put_fixed_header};

use crate::plan::Plan;
use crate::stamp::{FILLER, STAMP_BYTES, Stamp};

/// Writes PUBLISH packets: one that is copied and patched where all are alike (a third of
/// the cost), else put together for each message.
#[derive(Debug)]
pub(crate) struct Template {
    first: u8,
    /// A whole packet; empty where messages differ.
    packet: Vec<u8>,
    identifier_at: usize,
    stamp_at: usize,
    topic: Vec<u8>,
    filler: Vec<u8>,
}

impl Template {
    pub(crate) fn new(plan: &Plan, publisher: u32) -> Template {
        let largest = plan.scenario.payload_sizes().1 as usize;
        let mut template = Template {
            first: (PacketType::Publish as u8) << 4
                | (plan.qos as u8) << 1
                | u8::from(plan.retained),
            packet: Vec::new(),
            identifier_at: 0,
            stamp_at: 0,
            topic: Vec::new(),
            filler: vec![FILLER; largest - STAMP_BYTES],
        };
        if plan.is_uniform() {
            let stamp = Stamp {
                due: 0,
                publisher,
                sequence: 0,
            };
            let mut packet = Vec::new();
            template.compose(plan, 0, stamp, &mut packet);
            template.stamp_at = packet.len() - largest;
            let properties = usize::from(plan.version == Version::V5);
            let identifier = if plan.qos == QoS::AtMostOnce { 0 } else { 2 };
            template.identifier_at = template.stamp_at - properties - identifier;
            template.packet = packet;
            template.filler = Vec::new();
        }
        template
    }

    /// Appends a message; `identifier` is 0 at QoS 0.
    #[inline]
    pub(crate) fn put(&mut self, plan: &Plan, identifier: u16, stamp: Stamp, out: &mut Vec<u8>) {
        if self.packet.is_empty() {
            return self.compose(plan, identifier, stamp, out);
        }
        if identifier != 0 {
            self.packet[self.identifier_at..self.identifier_at + 2]
                .copy_from_slice(&identifier.to_be_bytes());
        }
        self.packet[self.stamp_at..self.stamp_at + STAMP_BYTES].copy_from_slice(&stamp.to_bytes());
        out.extend_from_slice(&self.packet);
    }

    fn compose(&mut self, plan: &Plan, identifier: u16, stamp: Stamp, out: &mut Vec<u8>) {
        let payload = plan.payload_len(stamp.publisher, stamp.sequence);
        self.topic.clear();
        plan.put_topic(stamp.publisher, stamp.sequence, &mut self.topic);
        let has_identifier = plan.qos != QoS::AtMostOnce;
        let has_properties = plan.version == Version::V5;
        let remaining = self.topic.len()
            + 2 * usize::from(has_identifier)
            + usize::from(has_properties)
            + payload;
        put_fixed_header(out, self.first, remaining);
        out.extend_from_slice(&self.topic);
        if has_identifier {
            out.extend_from_slice(&identifier.to_be_bytes());
        }
        if has_properties {
            out.push(0);
        }
        out.extend_from_slice(&stamp.to_bytes());
        out.extend_from_slice(&self.filler[..payload - STAMP_BYTES]);
    }
}

#[cfg(test)]
mod tests {
    use noctule_packets::{FixedHeader, RawPublish};

    use super::*;
    use crate::scenario::{Kind, Scenario};

    #[test]
    fn packets_are_what_the_plan_says() {
        for (version, qos, mixed, kind) in [
            (4, 0, false, Kind::Publish),
            (5, 2, false, Kind::Publish),
            (3, 1, true, Kind::Publish),
            (5, 0, true, Kind::Publish),
            (5, 1, false, Kind::Retained),
        ] {
            let scenario = Scenario {
                kind,
                version,
                qos,
                mixed,
                topics: 30,
                publishers: 3,
                payload_bytes: 16,
                max_payload_bytes: if mixed { 400 } else { 0 },
                ..Scenario::default()
            };
            let plan = Plan::new(scenario, 1);
            let mut template = Template::new(&plan, 2);
            for sequence in 0..100 {
                let stamp = Stamp {
                    due: 99,
                    publisher: 2,
                    sequence,
                };
                let identifier = if qos == 0 { 0 } else { 0x0102 };
                let mut bytes = Vec::new();
                template.put(&plan, identifier, stamp, &mut bytes);

                let header = FixedHeader::decode(&bytes).unwrap().unwrap();
                assert_eq!(header.total(), bytes.len());
                let body = &bytes[header.header_len..];
                let publish = RawPublish::decode(plan.version, header.flags(), body).unwrap();
                assert_eq!(publish.qos as u8, qos);
                assert_eq!(publish.retain, plan.retained);
                assert_eq!(publish.packet_identifier, identifier);
                assert_eq!(publish.payload.len(), plan.payload_len(2, sequence));
                assert_eq!(Stamp::from_payload(publish.payload), Some(stamp));
                assert!(plan.is_topic(stamp, publish.topic));
                assert!(
                    publish.payload[STAMP_BYTES..]
                        .iter()
                        .all(|byte| *byte == FILLER)
                );
            }
        }
    }
}

//! What every payload begins with.

/// Bytes of a [`Stamp`]: due time (8), publisher (4), sequence (4), little-endian.
pub(crate) const STAMP_BYTES: usize = 16;
/// What fills a payload after its stamp; the last byte is checked.
pub(crate) const FILLER: u8 = b'x';

/// Which message this is, and since when it has been on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    /// Nanoseconds of the run's clock: when the message was due (open loop) or sent.
    pub(crate) due: u64,
    pub(crate) publisher: u32,
    /// Counts the publisher's messages from 0.
    pub(crate) sequence: u32,
}

impl Stamp {
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.due.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[12..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// The stamp of a payload; None where it is too short to hold one.
    #[inline]
    pub(crate) fn from_payload(payload: &[u8]) -> Option<Stamp> {
        let (due, rest) = payload.split_first_chunk::<8>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, _) = rest.split_first_chunk::<4>()?;
        Some(Stamp {
            due: u64::from_le_bytes(*due),
            publisher: u32::from_le_bytes(*publisher),
            sequence: u32::from_le_bytes(*sequence),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_payload() {
        let stamp = Stamp {
            due: 0x0123_4567_89AB_CDEF,
            publisher: 7,
            sequence: u32::MAX,
        };
        let mut payload = stamp.to_bytes().to_vec();
        payload.extend_from_slice(b"xxxx");
        assert_eq!(Stamp::from_payload(&payload), Some(stamp));
        assert_eq!(Stamp::from_payload(&payload[..15]), None);
    }
}

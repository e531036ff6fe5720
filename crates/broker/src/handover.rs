//! Whose client is it? Answered from the first bytes, before anybody owns the connection.

use noctule_packets::FixedHeader;

use crate::shared::Shared;

/// The worker that a new connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The client identifier has not come yet.
    Incomplete,
    /// Any worker will do: what came is no CONNECT, or names no client.
    Here,
    Worker(usize),
}

const CONNECT_FLAGS: u8 = 0x10;

/// Finds the owner of the client that `bytes`, the first of a connection, announce.
///
/// The answer is about where, never about whether: what is wrong with a CONNECT is
/// for the owner to say. A packet larger than a CONNECT may be is answered
/// [`Destination::Here`] as soon as its length is known.
#[must_use]
pub fn destination(bytes: &[u8], shared: &Shared) -> Destination {
    if bytes.first().is_some_and(|&first| first != CONNECT_FLAGS) {
        return Destination::Here;
    }
    let header = match FixedHeader::decode(bytes) {
        Ok(Some(header)) => header,
        Ok(None) => return Destination::Incomplete,
        Err(_) => return Destination::Here,
    };
    if header.total() > shared.options().limits.max_connect_packet_bytes as usize {
        return Destination::Here;
    }
    let Some(body) = bytes.get(header.header_len..header.total()) else {
        return Destination::Incomplete;
    };
    match client_identifier(body) {
        Some(client) if !client.is_empty() => Destination::Worker(shared.worker_of(client)),
        _ => Destination::Here,
    }
}

/// The client identifier of a CONNECT's body, if it can be reached.
fn client_identifier(body: &[u8]) -> Option<&str> {
    let (name, rest) = take_prefixed(body)?;
    let level = *rest.first()?;
    // Level, flags and keep alive are four bytes; 5.0 has properties behind them.
    let mut rest = rest.get(4..)?;
    if name == b"MQTT" && level & 0x7F == 5 {
        let (length, used) = noctule_packets::take_variable(rest).ok()??;
        rest = rest.get(used + length as usize..)?;
    }
    let (client, _) = take_prefixed(rest)?;
    std::str::from_utf8(client).ok()
}

fn take_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc";

    #[test]
    fn every_cut_of_a_connect_is_incomplete_and_the_whole_names_its_worker() {
        let shared = Shared::new(Options::default(), 4, 1);
        for end in 0..CONNECT.len() {
            assert_eq!(
                destination(&CONNECT[..end], &shared),
                Destination::Incomplete
            );
        }
        let owner = Destination::Worker(shared.worker_of("abc"));
        assert_eq!(destination(CONNECT, &shared), owner);
    }

    #[test]
    fn what_is_no_connect_stays_where_it_is() {
        let shared = Shared::new(Options::default(), 4, 1);
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x30\x00",
            b"\x10\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(destination(bytes, &shared), Destination::Here);
        }
    }
}

//! The PROXY protocol, versions 1 and 2: a proxy says in front of everything else for whom it
//! connects. Believed only from addresses that the listener names, and required of them.
//!
//! Source: the HAProxy project's proxy-protocol.txt, §2.1 and §2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its line end included.
const MAX_LINE_BYTES: usize = 107;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;

/// Longest header of version 2 taken. What may follow the addresses is seldom longer than a
/// host name and a few lines about TLS.
const MAX_BINARY_BYTES: usize = 2_048;

/// Bytes to look at: no header that is taken is longer.
pub(crate) const MAX_HEADER_BYTES: usize = MAX_BINARY_BYTES;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Incomplete,
    /// `length` bytes to be taken off; `source`: for whom, unless the proxy speaks for itself.
    Complete {
        length: usize,
        source: Option<SocketAddr>,
    },
    /// No header, or one that does not hold together.
    Wrong,
}

pub(crate) fn parse(bytes: &[u8]) -> Header {
    let parsed = match bytes.first() {
        None => return Header::Incomplete,
        Some(b'P') => parse_line(bytes),
        Some(_) => parse_binary(bytes),
    };
    match parsed {
        Some(Some((length, source))) => Header::Complete { length, source },
        Some(None) => Header::Incomplete,
        None => Header::Wrong,
    }
}

/// `None`: wrong; `Some(None)`: incomplete.
type Parsed = Option<Option<(usize, Option<SocketAddr>)>>;

fn parse_line(bytes: &[u8]) -> Parsed {
    let prefix = b"PROXY ";
    let known = bytes.len().min(prefix.len());
    if bytes[..known] != prefix[..known] {
        return None;
    }
    let window = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return (window.len() < MAX_LINE_BYTES).then_some(None);
    };
    let line = std::str::from_utf8(&window[..end]).ok()?;
    let mut words = line.split(' ').skip(1);
    let length = end + 2;
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(Some((length, None))),
        _ => return None,
    };
    let address: IpAddr = words.next()?.parse().ok()?;
    let destination: IpAddr = words.next()?.parse().ok()?;
    let port = port(words.next()?)?;
    self::port(words.next()?)?;
    if address.is_ipv4() != is_v4 || destination.is_ipv4() != is_v4 || words.next().is_some() {
        return None;
    }
    Some(Some((length, Some(SocketAddr::new(address, port)))))
}

fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_shortest = word == "0" || !word.starts_with('0');
    (is_plain && is_shortest)
        .then(|| word.parse().ok())
        .flatten()
}

fn parse_binary(bytes: &[u8]) -> Parsed {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return None;
    }
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Some(None);
    };
    let [command, family] = [fixed[12], fixed[13]];
    let announced = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let length = FIXED_BYTES + announced;
    if length > MAX_BINARY_BYTES {
        return None;
    }
    let Some(body) = bytes.get(FIXED_BYTES..length) else {
        return Some(None);
    };
    let source = match (command, family) {
        // LOCAL: the proxy's own health check.
        (0x20, _) => return Some(Some((length, None))),
        (0x21, 0x00) => return Some(Some((length, None))),
        (0x21, 0x11) => {
            let addresses = body.first_chunk::<12>()?;
            check_extensions(&body[12..])?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
        }
        (0x21, 0x21) => {
            let addresses = body.first_chunk::<36>()?;
            check_extensions(&body[36..])?;
            let address = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
            SocketAddr::from((address, u16::from_be_bytes([addresses[32], addresses[33]])))
        }
        _ => return None,
    };
    Some(Some((length, Some(source))))
}

/// Type, length and value, over and over, to the very end.
fn check_extensions(mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        let [_, high, low] = *bytes.first_chunk::<3>()?;
        bytes = bytes.get(3 + usize::from(u16::from_be_bytes([high, low]))..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn complete(bytes: &[u8], source: Option<&str>) {
        let whole = Header::Complete {
            length: bytes.len(),
            source: source.map(|text| text.parse().unwrap()),
        };
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Header::Incomplete, "{end}");
        }
        assert_eq!(parse(bytes), whole);
        let behind = [bytes, b"\x10\x0c"].concat();
        assert_eq!(parse(&behind), whole);
    }

    #[test]
    fn both_versions_tell_the_source_wherever_they_are_cut() {
        complete(
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n",
            Some("192.0.2.7:56324"),
        );
        complete(
            b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 1883\r\n",
            Some("[2001:db8::7]:56324"),
        );
        complete(b"PROXY UNKNOWN\r\n", None);
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 0x07, 0x5B];
        complete(&binary(0x21, 0x11, &v4), Some("192.0.2.7:56324"));
        let extended = [&v4[..], &[0x04, 0, 2, 9, 9]].concat();
        complete(&binary(0x21, 0x11, &extended), Some("192.0.2.7:56324"));
        let mut v6 = [0; 36];
        v6[15] = 7;
        v6[33] = 80;
        complete(&binary(0x21, 0x21, &v6), Some("[::7]:80"));
        complete(&binary(0x20, 0x00, b""), None);
        complete(&binary(0x21, 0x00, b"whatever"), None);
    }

    #[test]
    fn what_does_not_hold_together_is_wrong() {
        let long = format!("PROXY TCP4 {}", "1".repeat(MAX_LINE_BYTES));
        let lines: [&[u8]; 12] = [
            b"\x10\x0c\x00\x04MQTT",
            b"PROXX",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
            long.as_bytes(),
        ];
        for bytes in lines {
            assert_eq!(parse(bytes), Header::Wrong, "{}", bytes.escape_ascii());
        }
        let mut lying = binary(0x21, 0x11, &[0; 12]);
        for announced in [0_u16, 11, 13, 0xFFFF] {
            lying[14..16].copy_from_slice(&announced.to_be_bytes());
            lying.resize(FIXED_BYTES + 40, 0xFF);
            assert_eq!(parse(&lying), Header::Wrong, "{announced}");
        }
        for (command, family) in [(0x11, 0x11), (0x22, 0x11), (0x21, 0x12), (0x21, 0x31)] {
            let bytes = binary(command, family, &[0; 12]);
            assert_eq!(parse(&bytes), Header::Wrong, "{command:x} {family:x}");
        }
    }
}

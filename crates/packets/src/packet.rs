//! Any packet.

use crate::acknowledgement::Acknowledgement;
use crate::auth::Auth;
use crate::connack::Connack;
use crate::connect::Connect;
use crate::disconnect::Disconnect;
use crate::error::Error;
use crate::framing::FixedHeader;
use crate::publish::Publish;
use crate::suback::{Suback, Unsuback};
use crate::subscribe::Subscribe;
use crate::tables::PacketType;
use crate::unsubscribe::Unsubscribe;
use crate::version::Version;

/// Any of the fifteen packets, borrowed from the bytes it was decoded from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Acknowledgement<'a>),
    Pubrec(Acknowledgement<'a>),
    Pubrel(Acknowledgement<'a>),
    Pubcomp(Acknowledgement<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Takes a packet apart; `body` is exactly the `header.remaining` bytes after its
    /// fixed header. CONNECT says its version itself, whatever `version` is.
    pub fn decode(
        version: Version,
        header: FixedHeader,
        body: &'a [u8],
    ) -> Result<Packet<'a>, Error> {
        if body.len() != header.remaining {
            return Err(Error::malformed(
                "a packet is not as long as its header says",
            ));
        }
        let Some(kind) = PacketType::from_u8(header.packet_type()) else {
            return Err(Error::protocol_error("packet type 0 is reserved"));
        };
        let flags = header.flags();
        let acknowledgement = || Acknowledgement::decode(kind, version, flags, body);
        Ok(match kind {
            PacketType::Connect => Packet::Connect(Connect::decode(flags, body)?),
            PacketType::Connack => Packet::Connack(Connack::decode(version, flags, body)?),
            PacketType::Publish => Packet::Publish(Publish::decode(version, flags, body)?),
            PacketType::Puback => Packet::Puback(acknowledgement()?),
            PacketType::Pubrec => Packet::Pubrec(acknowledgement()?),
            PacketType::Pubrel => Packet::Pubrel(acknowledgement()?),
            PacketType::Pubcomp => Packet::Pubcomp(acknowledgement()?),
            PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(version, flags, body)?),
            PacketType::Suback => Packet::Suback(Suback::decode(version, flags, body)?),
            PacketType::Unsubscribe => {
                Packet::Unsubscribe(Unsubscribe::decode(version, flags, body)?)
            }
            PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(version, flags, body)?),
            PacketType::Pingreq => {
                check_ping(kind, version, flags, body)?;
                Packet::Pingreq
            }
            PacketType::Pingresp => {
                check_ping(kind, version, flags, body)?;
                Packet::Pingresp
            }
            PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(version, flags, body)?),
            PacketType::Auth if version < Version::V5 => {
                return Err(Error::malformed("packet type 15 is reserved before 5.0"));
            }
            PacketType::Auth => Packet::Auth(Auth::decode(flags, body)?),
        })
    }

    /// Appends the packet. What `version` has no place for (properties, reason codes) is
    /// left out; CONNECT is written in its own version, and AUTH in 5.0.
    ///
    /// The whole must not be over [`crate::MAX_VARIABLE`] bytes, which no header can tell.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Packet::Connect(packet) => packet.encode(out),
            Packet::Connack(packet) => packet.encode(version, out),
            Packet::Publish(packet) => packet.encode(version, out),
            Packet::Puback(packet) => packet.encode(PacketType::Puback, version, out),
            Packet::Pubrec(packet) => packet.encode(PacketType::Pubrec, version, out),
            Packet::Pubrel(packet) => packet.encode(PacketType::Pubrel, version, out),
            Packet::Pubcomp(packet) => packet.encode(PacketType::Pubcomp, version, out),
            Packet::Subscribe(packet) => packet.encode(version, out),
            Packet::Suback(packet) => packet.encode(version, out),
            Packet::Unsubscribe(packet) => packet.encode(version, out),
            Packet::Unsuback(packet) => packet.encode(version, out),
            Packet::Pingreq => out.extend_from_slice(&[PacketType::Pingreq.first_byte(), 0]),
            Packet::Pingresp => out.extend_from_slice(&[PacketType::Pingresp.first_byte(), 0]),
            Packet::Disconnect(packet) => packet.encode(version, out),
            Packet::Auth(packet) => packet.encode(out),
        }
    }

    /// Which of the fifteen it is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::Connack(_) => PacketType::Connack,
            Packet::Publish(_) => PacketType::Publish,
            Packet::Puback(_) => PacketType::Puback,
            Packet::Pubrec(_) => PacketType::Pubrec,
            Packet::Pubrel(_) => PacketType::Pubrel,
            Packet::Pubcomp(_) => PacketType::Pubcomp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::Suback(_) => PacketType::Suback,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::Unsuback(_) => PacketType::Unsuback,
            Packet::Pingreq => PacketType::Pingreq,
            Packet::Pingresp => PacketType::Pingresp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }
}

fn check_ping(kind: PacketType, version: Version, flags: u8, body: &[u8]) -> Result<(), Error> {
    kind.check_flags(version, flags)?;
    if !body.is_empty() {
        return Err(Error::malformed("a ping has a body"));
    }
    Ok(())
}

impl PacketType {
    /// The first byte of a packet of this type; PUBLISH's without its flags.
    #[inline]
    pub const fn first_byte(self) -> u8 {
        (self as u8) << 4
            | match self.flags() {
                Some(flags) => flags,
                None => 0,
            }
    }

    /// The section its properties are held against, a bit of [`crate::tables::section`].
    #[inline]
    pub(crate) const fn section(self) -> u16 {
        1 << self as u16
    }

    /// Refuses fixed header flags other than the packet's own [MQTT-2.1.3-1]; 3.1 may set
    /// DUP where it may send again (PUBREL, SUBSCRIBE, UNSUBSCRIBE).
    #[inline]
    pub(crate) fn check_flags(self, version: Version, flags: u8) -> Result<(), Error> {
        const DUP: u8 = 0b1000;
        let Some(own) = self.flags() else {
            return Ok(());
        };
        let may_repeat = version == Version::V3 && own != 0;
        let flags = if may_repeat { flags & !DUP } else { flags };
        if flags != own {
            return Err(Error::malformed(
                "the fixed header flags are not the packet's",
            ));
        }
        Ok(())
    }
}

//! What a receiver refuses by knowing who sent it.

use crate::connect::Connect;
use crate::error::Error;
use crate::packet::Packet;
use crate::reason::ReasonCode;
use crate::subscribe::Subscribe;
use crate::tables::PropertyId;
use crate::version::Version;

const CLIENT_IDENTIFIER: Error = Error {
    reason: ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
    what: "an empty client identifier without a clean session",
};

/// Refuses what a client must not send to a server.
///
/// Errors: 0x82 for a server's packet, a PUBLISH with a subscription identifier
/// [MQTT-3.3.4-6] and no local on a shared subscription [MQTT-3.8.3-4]; 0x85 for an empty
/// client identifier in 3.1, and in 3.1.1 unless it asks for a clean session
/// [MQTT-3.1.3-8].
pub fn check_from_client(packet: &Packet<'_>, version: Version) -> Result<(), Error> {
    match packet {
        Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
            Err(Error::protocol_error("a client sent a server's packet"))
        }
        Packet::Connect(connect) => check_client_identifier(connect),
        Packet::Publish(publish)
            if publish
                .properties
                .variable(PropertyId::SubscriptionIdentifier)
                .is_some() =>
        {
            Err(Error::protocol_error(
                "a client published a subscription identifier",
            ))
        }
        Packet::Subscribe(subscribe) if version == Version::V5 => check_no_local(subscribe),
        _ => Ok(()),
    }
}

/// Refuses what a server must not send to a client.
///
/// Errors (0x82): a client's packet, DISCONNECT before 5.0, and in 5.0 one with a session
/// expiry interval [MQTT-3.14.2-2].
pub fn check_from_server(packet: &Packet<'_>, version: Version) -> Result<(), Error> {
    match packet {
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::Pingreq => {
            Err(Error::protocol_error("a server sent a client's packet"))
        }
        Packet::Disconnect(_) if version < Version::V5 => {
            Err(Error::protocol_error("a server sent a client's packet"))
        }
        Packet::Disconnect(disconnect)
            if disconnect
                .properties
                .four_byte(PropertyId::SessionExpiryInterval)
                .is_some() =>
        {
            Err(Error::protocol_error(
                "a server's DISCONNECT has a session expiry interval",
            ))
        }
        _ => Ok(()),
    }
}

fn check_client_identifier(connect: &Connect<'_>) -> Result<(), Error> {
    let may_be_empty = match connect.version {
        Version::V3 => false,
        Version::V4 => connect.clean_start,
        Version::V5 => true,
    };
    if connect.client_identifier.is_empty() && !may_be_empty {
        return Err(CLIENT_IDENTIFIER);
    }
    Ok(())
}

fn check_no_local(subscribe: &Subscribe<'_>) -> Result<(), Error> {
    if subscribe
        .filters()
        .any(|request| request.no_local && request.filter.starts_with("$share/"))
    {
        return Err(Error::protocol_error("no local on a shared subscription"));
    }
    Ok(())
}

//! The users of this machine, for the processes behind Unix sockets.

use std::fs;

use noctule_broker::Identity;

use crate::transport::Socket;

/// Where names of users are looked up. Not through the C library: that may ask the network,
/// and a worker never waits.
const USERS: &str = "/etc/passwd";

/// Who is at the other end of a Unix socket; `None` for other sockets and where the system
/// does not tell.
pub(crate) fn unix_user(socket: &Socket) -> Option<Identity> {
    let Socket::Unix(stream) = socket else {
        return None;
    };
    #[cfg(target_os = "linux")]
    {
        let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
        let uid = peer.uid.as_raw();
        Some(Identity::UnixUser {
            name: user_name(uid).into(),
            uid,
            gid: peer.gid.as_raw(),
            pid: peer.pid.as_raw_nonzero().get(),
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        None
    }
}

/// The user's name, or its number if it has none here.
#[cfg(target_os = "linux")]
fn user_name(uid: u32) -> String {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid && !name.is_empty()).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn users_have_their_names_and_others_their_numbers() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_001), "4000000001");
    }
}

//! The limit on open files: each connection takes one.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs beside its connections.
const SPARE: u64 = 64;

/// Makes room for so many connections; raises the hard limit too where that is allowed.
pub(crate) fn make_room(connections: u64) -> io::Result<()> {
    let wanted = connections + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

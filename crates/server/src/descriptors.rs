//! The limit on open files.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one and returns it (`None`: no limit).
///
/// Each connection takes a descriptor. The soft limit is low (often 1,024) only for the
/// sake of programs that use select(2), whose sets overflow above that; nothing here
/// does, so whoever set the hard limit has said what we may take.
pub(crate) fn raise_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        Err(_) => before,
    }
}

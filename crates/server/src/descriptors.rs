//! The limit on open files, and what is done at it.

use std::fs::File;
use std::io;

use parking_lot::RwLock;
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

/// A descriptor to give up when there is none left, so that a connection can be taken and
/// closed: otherwise it would stay in its listener's queue, and so would its edge.
///
/// All workers share it, and take connections under its lock: none may get the descriptor
/// that another has just given up.
#[derive(Debug)]
pub(crate) struct Reserve(RwLock<Option<File>>);

impl Reserve {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> io::Result<Reserve> {
        Ok(Reserve(RwLock::new(Some(spare()?))))
    }

    /// Does what may take a descriptor while nobody has given up the reserve.
    pub fn kept<T>(&self, work: impl FnOnce() -> T) -> T {
        let _kept = self.0.read();
        work()
    }

    /// Does what needs a descriptor, and leaves it free again, in place of the reserve. False
    /// if the reserve is lost: somebody else in this process, or in all, had the descriptor.
    pub fn given_up(&self, work: impl FnOnce()) -> bool {
        let mut reserve = self.0.write();
        *reserve = None;
        work();
        *reserve = spare().ok();
        reserve.is_some()
    }
}

fn spare() -> io::Result<File> {
    File::open("/dev/null")
}

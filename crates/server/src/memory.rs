//! How much memory the process holds.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

/// Resident bytes of this process; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

/// Gives back to the system what is free in the allocator's pages: only what is resident
/// counts, and glibc keeps most of what was freed. In a thread of its own, since it takes
/// milliseconds for each gigabyte; one that is at it already is enough.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    if BUSY.swap(true, SeqCst) {
        return;
    }
    let trim = || {
        malloc_trim(0);
        BUSY.store(false, SeqCst);
    };
    let trimming = thread::Builder::new().name("noctule-memory".into());
    if trimming.spawn(trim).is_err() {
        BUSY.store(false, SeqCst);
    }
}

// SAFETY: glibc's, of this signature. It takes the allocator's own locks and touches only
// what is free, so that any thread may call it at any time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
unsafe extern "C" {
    safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn resident_bytes_grow_with_what_is_touched() {
        let before = super::resident_bytes().unwrap();
        let touched = vec![1u8; 64 << 20];
        let after = super::resident_bytes().unwrap();
        assert!(after > before + (32 << 20), "{before} → {after}");
        drop(touched);
    }
}

//! How much memory the process holds.

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

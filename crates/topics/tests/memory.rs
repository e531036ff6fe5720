//! What a subscription and a retained message cost, counted at the allocator.
//!
//! Run with `--release -- --nocapture` to see the figures at full size. Every block counts as what glibc's malloc
//! takes for it: 8 bytes more, rounded up to 16, at least 32.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use noctule_topics::{RetainedTree, SubscriptionTree};

/// Ten subscriptions each: a million in a release build, a fifth in a slower one.
const SESSIONS: u64 = if cfg!(debug_assertions) {
    20_000
} else {
    100_000
};
const RETAINED: u64 = SESSIONS * 10;

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

fn block_bytes(size: usize) -> usize {
    ((size + 8).next_multiple_of(16)).max(32)
}

// SAFETY: hands every call on to the system's allocator unchanged, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(block_bytes(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(block_bytes(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of the value that `build` returns, and of everything it owns on the heap.
fn measured<T>(build: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let built = build();
    (built, LIVE_BYTES.load(Ordering::Relaxed) - before)
}

fn subscribed(filter: impl Fn(u64, u64) -> String) -> SubscriptionTree<u64, u64> {
    let mut tree = SubscriptionTree::new();
    for session in 0..SESSIONS {
        for at in 0..10 {
            tree.insert(&filter(session, at), session, at);
        }
    }
    assert_eq!(tree.len() as u64, SESSIONS * 10);
    tree
}

/// Counts the bytes a subscription, then takes them out again, nine in ten at first, and
/// checks that the memory is given back.
fn check_subscriptions(shape: &str, most: usize, filter: impl Fn(u64, u64) -> String) {
    let (mut tree, bytes) = measured(|| subscribed(&filter));
    println!(
        "subscription, {shape}: {:.1} bytes each",
        bytes as f64 / tree.len() as f64
    );
    assert!(bytes <= most * tree.len(), "{shape}: {bytes}");

    let before = LIVE_BYTES.load(Ordering::Relaxed) - bytes;
    for session in (0..SESSIONS).filter(|session| session % 10 != 3) {
        for at in 0..10 {
            assert!(tree.remove(&filter(session, at), session).is_some());
        }
    }
    let left = LIVE_BYTES.load(Ordering::Relaxed) - before;
    println!("  after nine in ten went: {left} of {bytes} bytes");
    assert!(left < bytes / 4, "{shape}: {left} of {bytes}");

    for session in (0..SESSIONS).filter(|session| session % 10 == 3) {
        for at in 0..10 {
            assert!(tree.remove(&filter(session, at), session).is_some());
        }
    }
    let left = LIVE_BYTES.load(Ordering::Relaxed) - before;
    println!("  after all went: {left} bytes");
    assert!(tree.is_empty());
    assert!(left < 256 * 1_024, "{shape}: {left} bytes left");
}

fn check_retained(shape: &str, most: usize, name: impl Fn(u64) -> String) {
    let value = Arc::new(());
    let (mut tree, bytes) = measured(|| {
        let mut tree = RetainedTree::new();
        for at in 0..RETAINED {
            // In no order of names.
            tree.insert(&name(at * 611_953 % RETAINED), value.clone());
        }
        tree
    });
    assert_eq!(tree.len() as u64, RETAINED);
    let beside = bytes - tree.len() * 8;
    println!(
        "retained message, {shape}: {:.1} bytes each beside the value",
        beside as f64 / tree.len() as f64
    );
    assert!(beside <= most * tree.len(), "{shape}: {beside}");

    let before = LIVE_BYTES.load(Ordering::Relaxed) - bytes;
    for at in (0..RETAINED).filter(|at| at % 10 != 3) {
        assert!(tree.remove(&name(at)).is_some());
    }
    let left = LIVE_BYTES.load(Ordering::Relaxed) - before;
    println!("  after nine in ten went: {left} of {bytes} bytes");
    assert!(left < bytes / 4, "{shape}: {left} of {bytes}");
    for at in (0..RETAINED).filter(|at| at % 10 == 3) {
        assert!(tree.remove(&name(at)).is_some());
    }
    let left = LIVE_BYTES.load(Ordering::Relaxed) - before;
    println!("  after all went: {left} bytes");
    assert!(left < 256 * 1_024, "{shape}: {left} bytes left");
}

/// One test, because the counter is the process's.
#[test]
fn test_large_trees_are_small_and_give_memory_back() {
    check_subscriptions("ten sessions share a filter", 40, |session, at| {
        format!(
            "site/{}/dev/{}/temp",
            session / 10 % 100,
            session / 1_000 * 10 + at
        )
    });
    check_subscriptions("each its own filter", 150, |session, at| {
        format!("site/{}/dev/{session}/{at}", session % 1_000)
    });
    check_subscriptions(
        "each its own filter, one long level beyond",
        150,
        |session, at| {
            format!(
                "site/{}/dev/{}/measurement-number-{at}",
                session / 1_000,
                session * 10 + at
            )
        },
    );
    check_subscriptions("each its own filter, nothing shared", 150, |session, at| {
        format!("site-{session}/dev/{at}/+/#")
    });
    check_retained("ret/123/456", 80, |at| {
        format!("ret/{}/{}", at / 1_000, at % 1_000)
    });
    check_retained("of 50 bytes", 150, |at| {
        format!(
            "factory/berlin-{}/line/{at:07}/temperature/celsius",
            at % 100
        )
    });
}

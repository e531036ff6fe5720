//! A short text in 24 bytes.

/// Longest text that needs no allocation, in bytes: 24 less the tag and the length.
const INLINE_BYTES: usize = 22;

/// A text that never changes: inside itself up to 22 bytes, on the heap beyond.
pub(crate) enum Text {
    Inline(u8, [u8; INLINE_BYTES]),
    Heap(Box<str>),
}

impl Text {
    pub fn new(text: &str) -> Self {
        if text.len() > INLINE_BYTES {
            return Self::Heap(text.into());
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::Inline(text.len() as u8, bytes)
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Self::Heap(text) => text.as_bytes(),
        }
    }

    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            // Only ever made of a whole `str`, so this cannot fail.
            Self::Inline(length, bytes) => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
            Self::Heap(text) => text,
        }
    }
}

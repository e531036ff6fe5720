//! Values in chunks, addressed by number.

use std::ops::{Index, IndexMut};

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Values numbered 0 to len - 1 without holes.
///
/// Lies in chunks of 1,024: growing never copies what is there (a vector of 1,000,000
/// nodes would stall its owner for that), and removing gives whole chunks back.
pub(crate) struct Arena<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Arena<T> {
    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds `value` and returns its number.
    pub fn push(&mut self, value: T) -> u32 {
        let number = self.len as u32;
        if self.len % CHUNK == 0 {
            // The first chunk grows with a small tree; later ones are sure to be filled.
            let room = if self.len == 0 { 4 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        self.chunks[self.len >> CHUNK_BITS].push(value);
        self.len += 1;
        number
    }

    /// Takes value `number` out; the last value, if it is another, takes its number.
    /// Returns the value and the number that the moved one had.
    pub fn swap_remove(&mut self, number: u32) -> (T, Option<u32>) {
        let last_number = self.len as u32 - 1;
        self.len -= 1;
        let chunk = self.len >> CHUNK_BITS;
        if number == last_number {
            let value = self.chunks[chunk].swap_remove(self.len % CHUNK);
            self.give_back(chunk);
            return (value, None);
        }
        let last = self.chunks[chunk].swap_remove(self.len % CHUNK);
        self.give_back(chunk);
        (
            std::mem::replace(&mut self[number], last),
            Some(last_number),
        )
    }

    fn give_back(&mut self, chunk: usize) {
        if self.chunks[chunk].is_empty() {
            self.chunks.pop();
            if self.chunks.len() < self.chunks.capacity() / 4 {
                self.chunks.shrink_to(self.chunks.len() * 2);
            }
        }
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.chunks[number as usize >> CHUNK_BITS][number as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[number as usize >> CHUNK_BITS][number as usize % CHUNK]
    }
}

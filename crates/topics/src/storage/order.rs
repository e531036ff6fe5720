//! Numbers kept in an order that only their owner can tell.

/// Most numbers in a chunk; a full one is halved.
const CHUNK: usize = 512;

/// A sorted list of numbers in chunks: 4 to 8 bytes each, found by bisection.
pub(crate) struct Order {
    /// None is empty.
    chunks: Vec<Vec<u32>>,
}

/// A place in the list, good until the list changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    chunk: usize,
    at: usize,
}

impl Order {
    pub fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    pub fn first(&self) -> Position {
        Position { chunk: 0, at: 0 }
    }

    /// Returns the number at `position`, or nothing at the end of the list.
    #[inline]
    pub fn number(&self, position: Position) -> Option<u32> {
        self.chunks
            .get(position.chunk)
            .map(|chunk| chunk[position.at])
    }

    #[inline]
    pub fn next(&self, position: Position) -> Position {
        let Position { chunk, at } = position;
        if at + 1 < self.chunks[chunk].len() {
            return Position { chunk, at: at + 1 };
        }
        Position {
            chunk: chunk + 1,
            at: 0,
        }
    }

    /// Returns the first position for whose number `is_before` does not hold; it must hold
    /// for all numbers up to some place and for none after.
    pub fn seek(&self, is_before: impl FnMut(u32) -> bool) -> Position {
        self.seek_from(self.first(), is_before)
    }

    /// As [`seek`](Self::seek), from `start` on: cheap when the place is near.
    pub fn seek_from(&self, start: Position, mut is_before: impl FnMut(u32) -> bool) -> Position {
        let mut at = start.at;
        let chunks = &self.chunks[start.chunk.min(self.chunks.len())..];
        let ahead = gallop(chunks, |chunk| is_before(chunk[chunk.len() - 1]));
        let Some(chunk) = chunks.get(ahead) else {
            return Position {
                chunk: self.chunks.len(),
                at: 0,
            };
        };
        if ahead > 0 {
            at = 0;
        }
        at += gallop(&chunk[at..], |&number| is_before(number));
        Position {
            chunk: start.chunk + ahead,
            at,
        }
    }

    /// Puts `number` before what is at `position`.
    pub fn insert(&mut self, position: Position, number: u32) {
        let Position { mut chunk, mut at } = position;
        if chunk == self.chunks.len() {
            // Past the end: to the last chunk, or to a new one if that is full, so that names
            // which come in order fill their chunks.
            match self.chunks.last() {
                Some(last) if last.len() < CHUNK => (chunk, at) = (chunk - 1, last.len()),
                _ => {
                    self.chunks.push(vec![number]);
                    return;
                }
            }
        }
        if self.chunks[chunk].len() == CHUNK {
            let upper = self.chunks[chunk].split_off(CHUNK / 2);
            self.chunks[chunk].shrink_to(CHUNK * 3 / 4);
            self.chunks.insert(chunk + 1, upper);
            if at > CHUNK / 2 {
                (chunk, at) = (chunk + 1, at - CHUNK / 2);
            }
        }
        self.chunks[chunk].insert(at, number);
    }

    /// Takes out what is at `position`.
    pub fn remove(&mut self, position: Position) {
        let Position { chunk, at } = position;
        self.chunks[chunk].remove(at);
        if self.chunks[chunk].is_empty() {
            self.chunks.remove(chunk);
        } else if self.joins(chunk) {
            let upper = self.chunks.remove(chunk + 1);
            self.chunks[chunk].extend(upper);
        } else if chunk > 0 && self.joins(chunk - 1) {
            let upper = self.chunks.remove(chunk);
            self.chunks[chunk - 1].extend(upper);
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// Puts `new` at `position`, whose value has another number now.
    pub fn renumber(&mut self, position: Position, new: u32) {
        self.chunks[position.chunk][position.at] = new;
    }

    fn joins(&self, chunk: usize) -> bool {
        let Some(upper) = self.chunks.get(chunk + 1) else {
            return false;
        };
        self.chunks[chunk].len() + upper.len() <= CHUNK / 2
    }
}

/// Returns how many items at the beginning `is_before` holds for: doubling steps, then
/// bisection, so that the cost grows with the logarithm of the distance.
fn gallop<T>(items: &[T], mut is_before: impl FnMut(&T) -> bool) -> usize {
    let mut known = 0;
    let mut step = 1;
    while known + step <= items.len() && is_before(&items[known + step - 1]) {
        known += step;
        step *= 2;
    }
    let end = items.len().min(known + step);
    known + items[known..end].partition_point(is_before)
}

//! Inputs kept in the repository, and inputs near them.

use std::path::PathBuf;

/// The inputs of a target: `fuzz/corpus/TARGET.hex`, one a line.
///
/// # Panics
/// There is no such file, or something else than hex digits is in it.
#[must_use]
pub fn read(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let path = folder.join(target).with_extension("hex");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(from_hex).collect()
}

fn from_hex(line: &str) -> Vec<u8> {
    assert_eq!(line.len() % 2, 0, "half a byte: {line}");
    (0..line.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hex digits"))
        .collect()
}

/// Changes inputs a little, alike for the same seed.
pub struct Mutator(u64);

/// What lengths, flags and identifiers are most often wrong by.
const EDGES: [u8; 8] = [0x00, 0x01, 0x02, 0x7F, 0x80, 0x81, 0xFE, 0xFF];

/// Longest input made.
const MAX_BYTES: usize = 4_096;

impl Mutator {
    #[must_use]
    pub fn new(seed: u64) -> Mutator {
        Mutator(seed)
    }

    /// An input of the corpus with one to four changes.
    ///
    /// # Panics
    /// The corpus is empty.
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, corpus);
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        if bytes.is_empty() {
            bytes.push(self.next() as u8);
            return;
        }
        let at = self.below(bytes.len());
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => bytes[at] = EDGES[self.below(EDGES.len())],
            3 => bytes.insert(at, self.next() as u8),
            4 => drop(bytes.drain(at..(at + 1 + self.below(4)).min(bytes.len()))),
            5 => bytes[at] = bytes[at].wrapping_add(1),
            _ => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len().max(1));
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.min(other.len())..]);
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

//! The order of topic names, and where a name stands to a filter in it.

use std::cmp::Ordering;
use std::ops::Range;

use crate::name::first_level;

/// Compares names byte by byte, with `/` below every other byte: a name comes right
/// before all names below it, and these before all others.
pub(super) fn compare_names(left: &[u8], right: &[u8]) -> Ordering {
    let same = common_bytes(left, right);
    rank(left.get(same)).cmp(&rank(right.get(same)))
}

/// Compares `name` with the name `above` + `level`, where `above` is empty or ends with `/`.
pub(super) fn compare_below(name: &[u8], above: &[u8], level: &[u8]) -> Ordering {
    let same = common_bytes(name, above);
    if same < above.len() {
        return rank(name.get(same)).cmp(&rank(above.get(same)));
    }
    compare_names(&name[same..], level)
}

/// Says whether `name` is `run` or lies below it.
pub(super) fn is_within(name: &[u8], run: &[u8]) -> bool {
    name.starts_with(run) && matches!(name.get(run.len()), None | Some(b'/'))
}

/// Returns the beginning of `filter` up to its first wildcard level, without the `/` before
/// that; the whole filter if it has none.
pub(super) fn literal_levels(filter: &[u8]) -> &[u8] {
    let mut end = 0;
    while end <= filter.len() {
        let level = first_level(&filter[end..]);
        if matches!(level, b"+" | b"#") {
            return &filter[..end.saturating_sub(1)];
        }
        end += level.len() + 1;
    }
    filter
}

/// Where a name stands to a filter, which says where the next match may come.
pub(super) enum Place {
    Match,
    /// All its levels match, but the filter has more: matches may lie below it.
    Above,
    /// No match comes before the name made of this name's first bytes (up to and with the
    /// separator) and the literal level of the filter.
    Before {
        levels: usize,
        literal: Range<usize>,
    },
    /// No match comes within this name's first `run` bytes.
    Beyond {
        run: usize,
    },
    /// The filter begins with a wildcard and the name with `$` [MQTT-4.7.2-1].
    Dollar,
    /// No match comes any more.
    End,
}

/// Says where `name` stands to `filter`, level by level.
pub(super) fn place(filter: &[u8], name: &[u8]) -> Place {
    if name.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return Place::Dollar;
    }
    // Where the last level of the name ends that a `+` took.
    let mut wildcard_end = None;
    let (mut f, mut n) = (0, 0);
    loop {
        let wanted = first_level(&filter[f..]);
        if wanted == b"#" {
            return Place::Match;
        }
        let level = first_level(&name[n..]);
        if wanted == b"+" {
            wildcard_end = Some(n + level.len());
        } else {
            match compare_names(level, wanted) {
                Ordering::Less => {
                    return Place::Before {
                        levels: n,
                        literal: f..f + wanted.len(),
                    };
                }
                Ordering::Greater => return beyond(wildcard_end),
                Ordering::Equal => {}
            }
        }
        (f, n) = (f + wanted.len() + 1, n + level.len() + 1);
        match (f > filter.len(), n > name.len()) {
            (true, true) => return Place::Match,
            (true, false) => return beyond(wildcard_end),
            (false, true) if &filter[f..] == b"#" => return Place::Match,
            (false, true) => return Place::Above,
            (false, false) => {}
        }
    }
}

fn beyond(wildcard_end: Option<usize>) -> Place {
    wildcard_end.map_or(Place::End, |run| Place::Beyond { run })
}

/// Below the end of a name lies nothing, above it `/`, above that all other bytes.
fn rank(byte: Option<&u8>) -> u16 {
    match byte {
        None => 0,
        Some(b'/') => 1,
        Some(&byte) => u16::from(byte) + 2,
    }
}

/// Returns how many bytes both begin with.
fn common_bytes(left: &[u8], right: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let shorter = left.len().min(right.len());
    let mut same = 0;
    // Long equal beginnings in blocks: names of 65,535 bytes may differ in the last.
    while same + BLOCK <= shorter && left[same..same + BLOCK] == right[same..same + BLOCK] {
        same += BLOCK;
    }
    same + left[same..]
        .iter()
        .zip(&right[same..])
        .take_while(|(l, r)| l == r)
        .count()
}

//! Every input of the corpus, and a fixed number of inputs near them.

use noctule_fuzzing::corpus::{self, Mutator};

fn replay(target: &str, mutations: usize, check: fn(&[u8])) {
    let corpus = corpus::read(target);
    corpus.iter().for_each(|input| check(input));
    let mut mutator = Mutator::new(0x0FF5_EED5);
    for _ in 0..mutations {
        check(&mutator.mutate(&corpus));
    }
}

#[test]
fn codec_writes_what_it_reads_whatever_it_is() {
    replay("codec", 300_000, noctule_fuzzing::codec::check);
}

#[test]
fn workers_keep_to_the_protocol_whatever_clients_do() {
    replay("worker", 30_000, noctule_fuzzing::worker::check);
}

#[test]
fn framing_is_judged_alike_however_it_is_cut() {
    replay("framing", 100_000, noctule_fuzzing::framing::check);
}

#[test]
fn damaged_stores_open_and_hold_nothing_wrong() {
    replay("store", 600, noctule_fuzzing::store::check);
}

//! Any history of operations leaves what a naive model says, whenever it is looked at:
//! by reading while the store runs, and after opening it again.

mod support;

use noctule_store::{State, StoreOptions, check, compact};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Model, Op, batch, memory_directory, open, small};

/// Few keys, some of which begin others, so that operations meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"".to_vec()),
        Just(b"a".to_vec()),
        Just(b"ab".to_vec()),
        Just(b"abc".to_vec()),
        Just(b"b\0\xFF".to_vec()),
        vec(any::<u8>(), 0..3),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 3_000_usize..70_000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let space = || 0_u8..3;
    let sequence = || prop_oneof![0_u64..6, Just(u64::MAX)];
    prop_oneof![
        4 => (space(), key(), value()).prop_map(|(s, k, v)| Op::Put(s, k, v)),
        2 => (space(), key()).prop_map(|(s, k)| Op::Delete(s, k)),
        5 => (space(), key(), sequence(), value()).prop_map(|(s, k, n, v)| Op::Append(s, k, n, v)),
        3 => (space(), key(), sequence()).prop_map(|(s, k, n)| Op::Remove(s, k, n)),
        1 => (space(), key()).prop_map(|(s, k)| Op::Clear(s, k)),
        1 => (space(), key()).prop_map(|(s, k)| Op::DeletePrefix(s, k)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn recovery_equals_the_model_after_every_few_operations(
        history in vec(vec(op(), 1..8), 1..60),
        reopen_after in 1_usize..20,
        trim_after_bytes in prop_oneof![Just(0_u64), Just(20_000), Just(1 << 20)],
        group_records in 1_usize..40,
    ) {
        let directory = memory_directory();
        let path = directory.path().join("store");
        let options = || StoreOptions { trim_after_bytes, group_records, ..small() };
        let mut model = Model::default();
        for part in history.chunks(reopen_after) {
            let (store, recovery, told) = open(&path, options());
            prop_assert!(recovery.report.is_sound(), "{:?}", recovery.report);
            prop_assert_eq!(&Model::of(&recovery), &model);
            let mut writer = store.writer(0);
            for ops in part {
                model.apply(ops);
                writer.submit(batch(ops)).unwrap();
            }
            told.wait_committed(0, writer.last_sequence());
            prop_assert_eq!(&Model::of(&recovery), &model);
            prop_assert_eq!(store.close(), State::Running);
        }
        let checked = check(&path).unwrap();
        prop_assert!(checked.damage.is_empty(), "{:?}", checked);
        prop_assert_eq!(checked.live_records, model.0.len() as u64);
        compact(&path).unwrap();
        let (_store, recovery, _) = open(&path, options());
        prop_assert!(recovery.report.is_sound(), "{:?}", recovery.report);
        prop_assert_eq!(recovery.report.records, model.0.len() as u64);
        prop_assert_eq!(&Model::of(&recovery), &model);
    }

    #[test]
    fn reading_equals_the_model(history in vec(vec(op(), 1..8), 1..40)) {
        let directory = memory_directory();
        let (store, recovery, told) = open(&directory.path().join("store"), small());
        let (mut writer, reader) = (store.writer(3), store.reader().unwrap());
        let mut model = Model::default();
        for ops in &history {
            model.apply(ops);
            writer.submit(batch(ops)).unwrap();
        }
        told.wait_committed(3, writer.last_sequence());
        for space in 0..3 {
            for key in [&b""[..], b"a", b"ab", b"abc", b"b\0\xFF"] {
                let expected = model.0.get(&(space, key.to_vec(), None));
                prop_assert_eq!(reader.read(space, key).unwrap(), expected.cloned());
                for after in [None, Some(0), Some(2), Some(7), Some(u64::MAX)] {
                    let from = (space, key.to_vec(), Some(0));
                    let below = model.0.range(from..).take_while(|(place, _)| {
                        place.0 == space && place.1 == key
                    });
                    let queue = below.map(|(place, value)| (place.2.unwrap(), value.clone()));
                    let queue = queue.filter(|entry| after.is_none_or(|after| entry.0 > after));
                    let expected = queue.take(3).collect::<Vec<_>>();
                    let found = reader.read_queue(space, key, after, 3).unwrap();
                    prop_assert_eq!(found, expected);
                }
            }
            for queue in recovery.queues(space) {
                let entries = model.0.keys().filter(|place| {
                    place.0 == space && place.1 == queue.key && place.2.is_some()
                });
                let sequences = entries.map(|place| place.2.unwrap()).collect::<Vec<_>>();
                prop_assert_eq!(queue.entries, sequences.len());
                prop_assert_eq!(Some(&queue.first), sequences.first());
                prop_assert_eq!(Some(&queue.last), sequences.last());
            }
        }
    }
}

//! Stable radix sort of entries within a chunk.
//!
//! One pass finds the highest bit in which the keys differ, one distributes by the bits from there, as many as leave about
//! eight entries a bucket, and buckets are finished by insertion as they are copied back. Constant leading bytes (a null
//! marker, the century of a date) thus cost nothing, and skew only recurses. On 24-byte entries in chunks of 1 MiB it
//! takes half the time of `sort_unstable` and a third of `sort`; ascending and descending input is recognized first.

/// Prefix (high word, low word) and address.
pub(super) type Entry = [u64; 3];

/// Buckets up to this are sorted by insertion.
const SMALL: usize = 24;
/// At most so many bits a pass: more buckets than that miss the first-level cache.
const MOST_BITS: u32 = 12;

#[inline]
pub(super) fn prefix(entry: &Entry) -> u128 {
    u128::from(entry[0]) << 64 | u128::from(entry[1])
}

/// Sorts by prefix; entries with equal prefixes keep their order. `scratch` is at least as long.
pub(super) fn sort(entries: &mut [Entry], scratch: &mut [Entry]) {
    let ascending = entries.windows(2).position(|w| prefix(&w[0]) > prefix(&w[1]));
    let Some(first_descent) = ascending else { return };
    if first_descent == 0 && entries.windows(2).all(|w| prefix(&w[0]) > prefix(&w[1])) {
        entries.reverse();
        return;
    }
    distribute(entries, scratch);
}

fn distribute(entries: &mut [Entry], scratch: &mut [Entry]) {
    if entries.len() <= SMALL {
        return insert(entries);
    }
    let first = entries[0];
    let differ = entries.iter().fold([0, 0], |d, e| [d[0] | (e[0] ^ first[0]), d[1] | (e[1] ^ first[1])]);
    let word = usize::from(differ[0] == 0);
    if differ[word] == 0 {
        return; // all equal
    }
    let top = 64 - differ[word].leading_zeros();
    let bits = entries.len().ilog2().saturating_sub(3).clamp(2, MOST_BITS).min(top);
    let (shift, mask) = (top - bits, (1u64 << bits) - 1);
    let bucket = |entry: &Entry| (entry[word] >> shift & mask) as usize;

    // Positions of small partitions live on the stack; a large one has eight entries for each that is allocated.
    let (mut few, mut many) = ([0u32; 257], Vec::new());
    let positions = if bits <= 8 {
        &mut few[..]
    } else {
        many.resize((1 << bits) + 1, 0u32);
        &mut many[..]
    };
    for entry in entries.iter() {
        positions[bucket(entry) + 1] += 1;
    }
    for i in 1..=1 << bits {
        positions[i] += positions[i - 1];
    }
    let scratch = &mut scratch[..entries.len()];
    for entry in entries.iter() {
        let position = &mut positions[bucket(entry)];
        scratch[*position as usize] = *entry;
        *position += 1;
    }
    // Each position is now the end of its bucket.
    let mut start = 0;
    for &end in &positions[..1 << bits] {
        let end = end as usize;
        let (from, to) = (&mut scratch[start..end], &mut entries[start..end]);
        if from.len() <= SMALL {
            insert_from(from, to);
        } else {
            to.copy_from_slice(from);
            distribute(to, from);
        }
        start = end;
    }
}

/// Insertion sort from one slice into another of the same length.
#[inline]
fn insert_from(from: &[Entry], to: &mut [Entry]) {
    for (i, entry) in from.iter().enumerate() {
        sink(to, i, *entry);
    }
}

fn insert(entries: &mut [Entry]) {
    for i in 1..entries.len() {
        sink(entries, i, entries[i]);
    }
}

/// Puts `entry` where it belongs among the first `sorted` entries, which move up to make room.
#[inline]
fn sink(entries: &mut [Entry], sorted: usize, entry: Entry) {
    let key = prefix(&entry);
    let mut hole = sorted;
    while hole > 0 && prefix(&entries[hole - 1]) > key {
        entries[hole] = entries[hole - 1];
        hole -= 1;
    }
    entries[hole] = entry;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = (u64, u64)> {
        prop_oneof![
            any::<(u64, u64)>(),
            (0u64..4, 0u64..4),
            (Just(7), any::<u64>()),
            (Just(7), 0u64..300),
            (0u64..2, Just(u64::MAX)),
        ]
    }

    proptest! {
        #[test]
        fn equals_the_stable_sort(
            mut keys in prop::collection::vec(key(), 0..3000),
            order in 0..3,
        ) {
            match order {
                0 => {}
                1 => keys.sort(),
                _ => { keys.sort(); keys.dedup(); keys.reverse(); }
            }
            let mut entries: Vec<Entry> = keys.iter().enumerate().map(|(i, k)| [k.0, k.1, i as u64]).collect();
            let mut expected = entries.clone();
            expected.sort_by_key(prefix);
            sort(&mut entries, &mut vec![[0; 3]; keys.len()]);
            prop_assert_eq!(entries, expected);
        }

        #[test]
        fn one_kind_of_key_recurses(keys in prop::collection::vec(prop_oneof![50 => Just(5u64), 1 => any::<u64>()], 0..5000)) {
            let mut entries: Vec<Entry> = keys.iter().enumerate().map(|(i, &k)| [k, k, i as u64]).collect();
            let mut expected = entries.clone();
            expected.sort_by_key(prefix);
            sort(&mut entries, &mut vec![[0; 3]; keys.len()]);
            prop_assert_eq!(entries, expected);
        }
    }
}

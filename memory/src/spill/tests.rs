//! Rows through spill files and back; damage, full disks and little memory.

use super::*;
use crate::{Error, MemoryManager, Progress, Reservation, RowShape, SEGMENT_SIZE};
use proptest::prelude::*;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn manager(compression: Compression) -> (SpillManager, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let config = SpillConfig { directory: directory.path().to_owned(), compression, ..SpillConfig::default() };
    (SpillManager::new(config).unwrap(), directory)
}

fn reservation(segments: usize) -> Reservation {
    MemoryManager::new(segments * SEGMENT_SIZE).unwrap().reserve("test", segments.min(2)).unwrap()
}

/// Bytes that compress a little.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 60) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn read_all(run: &Run, blocks: std::ops::Range<usize>, reservation: &Reservation) -> Vec<Vec<u8>> {
    let mut reader = run.reader(blocks, reservation, None).unwrap();
    let mut rows = Vec::new();
    while reader.advance().unwrap() == Step::Row {
        rows.push(reader.row().to_vec());
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_roundtrip(
        lengths in prop::collection::vec(prop_oneof![8 => 0usize..300, 2 => 0usize..20_000, 1 => 200_000usize..600_000], 0..300),
        compressed in any::<bool>(),
        segments in prop_oneof![Just(20usize), Just(64), Just(4096)],
    ) {
        let (spill, _directory) = manager(if compressed { Compression::Lz4 } else { Compression::None });
        let reservation = reservation(segments);
        let rows: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| bytes(i, n)).collect();
        let mut writer = spill.writer("test", RowShape::VARIABLE, "", &reservation, None).unwrap();
        for row in &rows {
            let (front, back) = row.split_at(row.len() / 3);
            writer.push_parts(front, back).unwrap();
        }
        let run = writer.finish().unwrap();
        prop_assert_eq!(reservation.used(), 0);
        prop_assert_eq!(run.rows(), rows.len() as u64);
        prop_assert_eq!(run.bytes(), lengths.iter().sum::<usize>() as u64);
        prop_assert_eq!(run.max_row(), lengths.iter().copied().max().unwrap_or(0));
        let count = run.blocks().len();
        prop_assert_eq!(&read_all(&run, 0..count, &reservation), &rows);
        let middle = count / 2;
        let from = run.blocks().get(middle).map_or(rows.len(), |b| b.first_row as usize);
        prop_assert_eq!(&read_all(&run, middle..count, &reservation), &rows[from..]);
        prop_assert_eq!(reservation.used(), 0);
        drop(run);
        prop_assert_eq!(spill.stats().open_files, 0);
    }

    #[test]
    fn fixed_rows_roundtrip(width in 1usize..2000, count in 0usize..2000, compressed in any::<bool>()) {
        let (spill, _directory) = manager(if compressed { Compression::Lz4 } else { Compression::None });
        let reservation = reservation(64);
        let mut writer = spill.writer("test", RowShape::fixed(1, width - 1), "", &reservation, None).unwrap();
        for i in 0..count {
            writer.push(&bytes(i, width)).unwrap();
        }
        let run = writer.finish().unwrap();
        let payload: u64 = run.blocks().iter().map(|b| u64::from(b.bytes)).sum();
        prop_assert_eq!(payload, (width * count) as u64);
        let rows = read_all(&run, 0..run.blocks().len(), &reservation);
        prop_assert!(rows.iter().enumerate().all(|(i, row)| *row == bytes(i, width)));
        prop_assert_eq!(rows.len(), count);
    }
}

#[test]
fn rows_of_ten_megabytes() {
    for compression in [Compression::None, Compression::Lz4] {
        let (spill, _directory) = manager(compression);
        let reservation = reservation(640);
        let mut writer = spill.writer("test", RowShape::VARIABLE, "", &reservation, None).unwrap();
        let rows: Vec<_> = (0..5).map(|i| bytes(i, 10_000_000 + i)).collect();
        rows.iter().for_each(|row| {
            writer.push(b"short").unwrap();
            writer.push(row).unwrap();
        });
        let run = writer.finish().unwrap();
        let read = read_all(&run, 0..run.blocks().len(), &reservation);
        assert!(read.iter().skip(1).step_by(2).eq(&rows));
        assert_eq!(read.len(), 10);
    }
}

#[test]
fn one_segment_is_enough_to_write_and_to_read() {
    let (spill, _directory) = manager(Compression::None);
    let reservation = reservation(1);
    let mut writer = spill.writer("test", RowShape::VARIABLE, "", &reservation, None).unwrap();
    assert!(matches!(
        spill.writer("test", RowShape::VARIABLE, "", &reservation, None),
        Err(Error::BudgetTooSmall { needed: SEGMENT_SIZE, .. })
    ));
    (0..10_000).for_each(|i| writer.push(&bytes(i, 100)).unwrap());
    let run = writer.finish().unwrap();
    let rows = read_all(&run, 0..run.blocks().len(), &reservation);
    assert!(rows.len() == 10_000 && rows.iter().enumerate().all(|(i, row)| *row == bytes(i, 100)));
}

#[test]
fn a_row_without_memory_to_read_it_is_an_error() {
    let (spill, _directory) = manager(Compression::None);
    let reservation = reservation(4);
    let mut writer = spill.writer("test", RowShape::VARIABLE, "", &reservation, None).unwrap();
    writer.push(&bytes(0, 1_000_000)).unwrap();
    let run = writer.finish().unwrap();
    let error = run.reader(0..1, &reservation, None).unwrap_err();
    assert!(matches!(error, Error::RecordTooLarge { record: 1_000_000, .. }), "{error}");
}

#[test]
fn with_a_waker_nothing_waits() {
    let (spill, _directory) = manager(Compression::None);
    let reservation = reservation(64);
    let (sender, woken) = crossbeam_channel::unbounded();
    let waker: crate::Waker = Arc::new(move || sender.send(()).unwrap_or(()));
    let mut writer = spill.writer("test", RowShape::VARIABLE, "", &reservation, Some(waker.clone())).unwrap();
    for i in 0..5000 {
        while !writer.ready() {
            woken.recv().unwrap();
        }
        writer.push(&bytes(i, 200)).unwrap();
    }
    while writer.flush().unwrap() == Progress::Waiting {
        woken.recv().unwrap();
    }
    let run = writer.finish().unwrap();
    let mut reader = run.reader(0..run.blocks().len(), &reservation, Some(waker)).unwrap();
    let mut rows = 0;
    loop {
        match reader.advance().unwrap() {
            Step::Row => {
                assert_eq!(reader.row(), bytes(rows, 200));
                rows += 1;
            }
            Step::Waiting => woken.recv().unwrap(),
            Step::End => break,
        }
    }
    assert_eq!(rows, 5000);
}

#[test]
fn damage_is_found_and_named() {
    for compression in [Compression::None, Compression::Lz4] {
        let (spill, _directory) = manager(compression);
        let reservation = reservation(64);
        let mut writer = spill.writer("test", RowShape::VARIABLE, "", &reservation, None).unwrap();
        (0..2000).for_each(|i| writer.push(&bytes(i, 100)).unwrap());
        let run = writer.finish().unwrap();
        let (file, block) = (run.shared.file.handle(), run.blocks()[2]);
        // The writer's blocks are small under this budget, so the file is an ordinary one and takes single bytes.
        for at in [0, 5, 9, 17, 40, 1000] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, block.offset + at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], block.offset + at).unwrap();
            let mut reader = run.reader(0..run.blocks().len(), &reservation, None).unwrap();
            let error = std::iter::repeat_with(|| reader.advance()).find_map(Result::err).unwrap();
            assert!(matches!(error, Error::Corrupt { offset, .. } if offset == block.offset), "{at}: {error}");
            file.write_all_at(&byte, block.offset + at).unwrap();
        }
        file.set_len(block.offset + 10).unwrap();
        let mut reader = run.reader(2..3, &reservation, None).unwrap();
        assert!(matches!(reader.advance().unwrap_err(), Error::Spill { action: "read", .. }));
    }
}

#[test]
fn a_full_disk_is_one_clear_error() {
    let (spill, _directory) = manager(Compression::None);
    let reservation = reservation(64);
    let open = Arc::new(AtomicUsize::new(0));
    let full = std::fs::File::options().read(true).write(true).open("/dev/full").unwrap();
    let file = file::SpillFile::adopt(full, "/dev/full".into(), &open, Vec::new());
    let buffer = reservation.alloc().unwrap();
    let mut writer = writer::RunWriter::new(spill.shared().clone(), file, RowShape::VARIABLE, &reservation, vec![buffer], None);
    let error = std::iter::repeat_with(|| writer.push(&[7; 1000])).find_map(Result::err).unwrap();
    let text = error.to_string();
    assert!(text.contains("/dev/full") && text.contains("write failed") && text.contains("No space left"), "{text}");
    drop(writer);
    assert_eq!(open.load(SeqCst), 0);
}

#[test]
fn a_view_counts_what_is_spilled_through_it() {
    let (spill, _directory) = manager(Compression::None);
    let reservation = reservation(64);
    let (one, other) = (spill.counted(), spill.counted());
    for (view, rows) in [(&spill, 1), (&one, 2), (&other, 3)] {
        let mut writer = view.writer("test", RowShape::VARIABLE, "", &reservation, None).unwrap();
        (0..rows).for_each(|_| writer.push(&[1; 96]).unwrap());
        let run = writer.finish().unwrap();
        assert_eq!(read_all(&run, 0..1, &reservation).len(), rows);
    }
    for (view, files, bytes) in [(one, 1, 200), (other, 1, 300), (spill, 3, 600)] {
        let stats = view.stats();
        assert_eq!((stats.files, stats.bytes_written, stats.bytes_read), (files, bytes, bytes));
    }
}

#[test]
fn nothing_is_left_behind() {
    let (spill, directory) = manager(Compression::None);
    let reservation = reservation(64);
    let mut writer = spill.writer("a/b c", RowShape::VARIABLE, "", &reservation, None).unwrap();
    writer.push(b"row").unwrap();
    let run = writer.finish().unwrap();
    assert_eq!(std::fs::read_dir(spill.folder()).unwrap().count(), 1, "the lock alone: files are unlinked");
    assert_eq!(read_all(&run, 0..1, &reservation), [b"row"]);
    drop(spill);
    assert_eq!(read_all(&run, 0..1, &reservation), [b"row"], "a run keeps what it needs");
    drop(run);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

//! The bytes of one block: a head of 32 bytes and a payload.

use super::Compression;
use super::file::{ALIGNMENT, AlignedBuffer, SpillFile};
use super::run::Block;
use crate::Result;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Bytes before the payload.
pub(super) const HEAD: usize = 32;

/// Payloads above this are stored as they are: scratch memory stays bounded.
const COMPRESS_AT_MOST: usize = 1 << 20;

/// Appends the block in `buffer` (head space, then `bytes` of payload, in whole pages) to `file`; gives offset and stored
/// length.
pub(super) fn write(
    file: &SpillFile,
    buffer: &mut [u8],
    bytes: usize,
    rows: u32,
    compression: Compression,
    scratch: &mut AlignedBuffer,
) -> Result<(u64, u32)> {
    if compression == Compression::Lz4 && bytes <= COMPRESS_AT_MOST {
        let scratch = scratch.room(HEAD + lz4_flex::block::get_maximum_output_size(bytes));
        // Fails only for lack of room, and there is enough; were it to fail, the block would be stored as it is.
        if let Ok(stored) = lz4_flex::block::compress_into(&buffer[HEAD..HEAD + bytes], &mut scratch[HEAD..])
            && stored < bytes - bytes / 8
        {
            seal(&mut scratch[..HEAD + stored], bytes, rows, 1);
            return Ok((append(file, scratch, HEAD + stored)?, stored as u32));
        }
    }
    seal(&mut buffer[..HEAD + bytes], bytes, rows, 0);
    Ok((append(file, buffer, HEAD + bytes)?, bytes as u32))
}

/// Appends the first `length` bytes, and zeros up to the next page.
fn append(file: &SpillFile, buffer: &mut [u8], length: usize) -> Result<u64> {
    let whole = length.next_multiple_of(ALIGNMENT);
    buffer[length..whole].fill(0);
    let offset = file.claim(length);
    file.write(&buffer[..whole], offset)?;
    Ok(offset)
}

/// Writes a file's header; it takes whole pages as blocks do.
pub(super) fn write_header(file: &SpillFile, header: &[u8]) -> Result<()> {
    let mut pages = AlignedBuffer::default();
    let room = pages.room(header.len());
    room[..header.len()].copy_from_slice(header);
    append(file, room, header.len()).map(drop)
}

/// Writes one long row, given in two parts, from where it lies, as a block of its own; gives its offset.
pub(super) fn write_row(file: &SpillFile, prefix: &[u8], front: &[u8], back: &[u8]) -> Result<u64> {
    const PIECE: usize = 256 * 1024;
    let bytes = prefix.len() + front.len() + back.len();
    let mut head = [0; HEAD];
    fields(&mut head, bytes, bytes, 1, 0);
    let mut sum = Xxh3::with_seed(crate::hash::hash_bytes(&head[..16]));
    [prefix, front, back].into_iter().for_each(|part| sum.update(part));
    head[16..24].copy_from_slice(&sum.digest().to_le_bytes());

    let start = file.claim(HEAD + bytes);
    let (mut pages, mut filled, mut offset) = (AlignedBuffer::default(), 0, start);
    let room = &mut pages.room(PIECE)[..PIECE];
    for mut part in [&head[..], prefix, front, back] {
        while !part.is_empty() {
            let (now, rest) = part.split_at(part.len().min(PIECE - filled));
            room[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            part = rest;
            if filled == PIECE {
                file.write(room, offset)?;
                offset += PIECE as u64;
                filled = 0;
            }
        }
    }
    let whole = filled.next_multiple_of(ALIGNMENT);
    room[filled..whole].fill(0);
    file.write(&room[..whole], offset)?;
    Ok(start)
}

/// Reads a block into `buffer`, payload from [`HEAD`] on, and verifies it.
pub(super) fn read(file: &SpillFile, block: &Block, buffer: &mut [u8], scratch: &mut AlignedBuffer) -> Result<()> {
    let (stored, bytes) = (block.stored as usize, block.bytes as usize);
    let whole = (HEAD + stored).next_multiple_of(ALIGNMENT);
    if !block.compressed {
        file.read(&mut buffer[..whole], block.offset)?;
        return check(&buffer[..HEAD + stored], block).map_err(|what| file.corrupt(block.offset, what));
    }
    let scratch = &mut scratch.room(whole)[..whole];
    file.read(scratch, block.offset)?;
    let scratch = &scratch[..HEAD + stored];
    check(scratch, block).map_err(|what| file.corrupt(block.offset, what))?;
    match lz4_flex::block::decompress_into(&scratch[HEAD..], &mut buffer[HEAD..HEAD + bytes]) {
        Ok(n) if n == bytes => Ok(()),
        Ok(n) => Err(file.corrupt(block.offset, format!("expected {bytes} bytes after decompression, found {n}"))),
        Err(error) => Err(file.corrupt(block.offset, format!("LZ4: {error}"))),
    }
}

/// Fills in the head of a block whose payload follows it.
fn seal(block: &mut [u8], bytes: usize, rows: u32, compression: u32) {
    let (head, payload) = block.split_at_mut(HEAD);
    fields(head, payload.len(), bytes, rows, compression);
    let sum = checksum(head, payload);
    head[16..24].copy_from_slice(&sum.to_le_bytes());
}

fn fields(head: &mut [u8], stored: usize, bytes: usize, rows: u32, compression: u32) {
    head[0..4].copy_from_slice(&(stored as u32).to_le_bytes());
    head[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
    head[8..12].copy_from_slice(&rows.to_le_bytes());
    head[12..16].copy_from_slice(&compression.to_le_bytes());
    head[16..HEAD].fill(0);
}

fn checksum(head: &[u8], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, crate::hash::hash_bytes(&head[..16]))
}

fn check(block: &[u8], expected: &Block) -> std::result::Result<(), String> {
    let (head, payload) = block.split_at(HEAD);
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let found = [word(0), word(4), word(8)];
    let wanted = [expected.stored, expected.bytes, expected.rows];
    if found != wanted {
        return Err(format!("expected a block of [stored, bytes, rows] {wanted:?}, found {found:?}"));
    }
    if head[16..24] != checksum(head, payload).to_le_bytes() {
        return Err(format!("checksum of the block of {} bytes does not match", expected.stored));
    }
    Ok(())
}

//! Space that is given up for a checkpoint when the disk is full.

use std::io;

use crate::journal::disk::names::RESERVE;
use crate::journal::store::Store;

/// The least reserve: a segment and a small checkpoint.
pub const LEAST: u64 = 1 << 20;

/// The largest reserve, but for the quarter: a larger one would itself be a burden.
const MOST: u64 = 64 << 20;

const CHUNK: usize = 256 << 10;

/// The size of the reserve: on a full disk the next checkpoint needs about the space of the last one, and frees more than
/// that only when it is durable.
pub fn wanted(checkpoint: u64, least: u64) -> u64 {
    checkpoint.saturating_add(least).min(MOST)
}

/// Sees to it that there is a reserve of `wanted` bytes or more. A new one is larger by a quarter, so that it need not grow
/// with each checkpoint, and is only made where `spare` bytes are left: the next record must not find the disk full again.
///
/// # Errors
///
/// There is no space for it, or the system refused it; there is no reserve then.
pub fn fill(store: &dyn Store, wanted: u64, spare: u64) -> io::Result<()> {
    let has = store.list()?.iter().find(|(name, _)| name == RESERVE).map_or(0, |(_, bytes)| *bytes);
    if has >= wanted && has <= wanted.saturating_mul(4) {
        return Ok(());
    }
    give_up(store);
    let size = wanted + wanted / 4;
    if store.free()? < size + spare {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let filled = write(store, size);
    if filled.is_err() {
        give_up(store);
    }
    filled
}

/// Writes bytes that no file system can make smaller, since a hole or zeros would keep no space.
fn write(store: &dyn Store, wanted: u64) -> io::Result<()> {
    let file = store.create(RESERVE)?;
    let mut chunk = vec![0; CHUNK];
    let mut left = wanted;
    while left > 0 {
        fastrand::fill(&mut chunk);
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        file.append(&chunk[..length])?;
        left -= length as u64;
    }
    file.sync()?;
    store.sync_names()
}

/// Gives the space back; false if there was none.
pub fn give_up(store: &dyn Store) -> bool {
    store.remove(RESERVE).and_then(|()| store.sync_names()).is_ok()
}

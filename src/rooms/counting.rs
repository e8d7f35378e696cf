//! Counting: a reader's share in the counts of all rooms.

use std::sync::Arc;

use crate::model::count::{CountChange, Prefix};
use crate::model::name::Name;
use crate::rooms::directory::Directory;
use crate::rooms::tally::Serial;

/// The counts of all rooms, and their changes, which are noted until the last such value is dropped.
#[derive(Debug)]
pub struct Counting(Arc<Directory>);

impl Counting {
    pub(super) fn begin(directory: Arc<Directory>) -> Self {
        directory.registers().tally.enter();
        Counting(directory)
    }

    /// The place behind which changes follow the counts that are read from now on.
    pub fn start(&self) -> Serial {
        self.0.registers().tally.start()
    }

    /// The milliseconds as in [`Taken::fresh_for`](crate::model::moment::Taken::fresh_for).
    pub fn fresh_for(&self) -> Option<u64> {
        self.0.registers().taken().fresh_for
    }

    /// As [`Directory::counts`].
    pub fn counts(&self, prefix: &Prefix, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        self.0.counts(prefix, after, limit)
    }

    /// As [`Tally::after`](crate::rooms::tally::Tally::after).
    pub fn after(&self, place: Serial, prefix: &Prefix, most: usize) -> Option<(Vec<CountChange>, Serial)> {
        self.0.registers().tally.after(place, prefix, most)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.registers().tally.leave();
    }
}

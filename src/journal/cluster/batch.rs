//! Batches: what a node appends at once.

use crate::journal::bytes::{Input, Keep, Unreadable};
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::timing::BATCH;
use crate::journal::values::fields;
use crate::model::moment::Moment;

/// The latest format. A batch is written in the earliest one that has its records, since nodes of two versions share a log.
const FORMAT: u8 = 2;

/// The number of later formats that are taken for such: versions further ahead share no log with this one.
const LATER: u8 = 4;

/// The fewest bytes of a batch: the format, who, and at least one for each of six numbers, the flag and the count.
const HEAD: usize = 1 + 16 + 8;

/// What a node has read of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The position of the last entry.
    pub position: u64,
    /// The number of entries.
    pub entries: u64,
    /// The running hash of them.
    pub hash: u64,
}

/// What one node appends at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Who appends.
    pub incarnation: Incarnation,
    /// 1, 2, 3 … of this incarnation: what comes again, or too early, does not count.
    pub number: u64,
    /// When the batch was made, on the clocks of the node.
    pub moment: Moment,
    /// What the node had read of the log.
    pub seen: Seen,
    /// Whether the node is so short of memory that nobody may add members.
    pub full: bool,
    /// The facts.
    pub records: Vec<Record>,
}

/// The records of a batch that is being made.
#[derive(Debug, Default)]
pub struct Load {
    bytes: Vec<u8>,
    count: usize,
    format: u8,
}

impl Load {
    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of records.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether another record may come.
    pub fn has_space(&self) -> bool {
        self.bytes.len() < BATCH
    }

    /// Adds a record, and returns its index.
    pub fn put(&mut self, record: &Record) -> usize {
        record.put(&mut self.bytes);
        self.format = self.format.max(record.format());
        self.count += 1;
        self.count - 1
    }
}

fields! {
    Seen { position, entries, hash }
}

impl Batch {
    /// The batch's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut load = Load::default();
        for record in &self.records {
            load.put(record);
        }
        self.encode_with(&load)
    }

    /// The bytes of the batch with other records, which are encoded already.
    pub fn encode_with(&self, load: &Load) -> Vec<u8> {
        let Batch { incarnation, number, moment, seen, full, records: _ } = self;
        let mut bytes = Vec::with_capacity(load.bytes.len() + 64);
        bytes.push(load.format.max(1));
        incarnation.put(&mut bytes);
        number.put(&mut bytes);
        moment.put(&mut bytes);
        seen.put(&mut bytes);
        full.put(&mut bytes);
        load.count.put(&mut bytes);
        bytes.extend_from_slice(&load.bytes);
        bytes
    }

    /// Whether bytes of a later format may be a batch: others are nobody's, such as a line of text, or a message that was meant for
    /// another stream.
    pub fn may_be_newer(bytes: &[u8]) -> bool {
        bytes.len() >= HEAD && (FORMAT + 1..=FORMAT + LATER).contains(&bytes[0])
    }

    /// Reads a batch.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] unless `bytes` are one batch of this format or an earlier one.
    pub fn decode(bytes: &[u8]) -> Result<Batch, Unreadable> {
        let mut input = Input::of(bytes);
        input.format(FORMAT)?;
        let ((incarnation, number), (moment, (seen, (full, records)))) = Keep::take(&mut input)?;
        input.end()?;
        Ok(Batch { incarnation, number, moment, seen, full, records })
    }
}

//! Reads a directory's journal in order: the newest checkpoint, then the records of the segments from there on.

use crate::journal::disk::frames::{Frames, Next};
use crate::journal::disk::names::{self, Listing};
use crate::journal::error::OpenError;
use crate::journal::frame::{HEADER, Kind, Note};
use crate::journal::log::{End, Read, Record};
use crate::journal::store::Store;
use crate::model::cursor::Position;
use crate::model::identity::Identity;

/// Takes what is read, in order, or refuses it with a reason.
pub type Each<'a> = &'a mut dyn FnMut(Read<'_>) -> Result<(), String>;

/// A checkpoint or a snapshot, read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The segment that begins with it, or the snapshot's number.
    pub sequence: u64,
    /// The journal's name then.
    pub identity: Identity,
    /// The entries before this position are in it; of a snapshot, also that entry.
    pub at: Position,
    /// What may be in it at most.
    pub end: End,
    /// The number of its parts.
    pub parts: u64,
    /// The file's bytes.
    pub bytes: u64,
}

/// The place where a write was torn: what follows was never flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tear {
    /// The segment.
    pub sequence: u64,
    /// Its bytes that are whole.
    pub offset: u64,
    /// The bytes that follow.
    pub bytes: u64,
}

/// What a directory contains, as far as it counts.
#[derive(Debug, Default)]
pub struct Walked {
    /// The checkpoint at the beginning.
    pub checkpoint: Option<Checkpoint>,
    /// Checkpoints that are damaged, with the reasons, where an older one does as well.
    pub damaged: Vec<(u64, OpenError)>,
    /// The segments in order, with their bytes that are whole.
    pub segments: Vec<(u64, u64)>,
    /// Where a write was torn.
    pub tear: Option<Tear>,
    /// Segments of which nothing counts: behind a tear or a gap. None of it was flushed or acknowledged.
    pub void: Vec<u64>,
    /// The journal's name in the last segment.
    pub identity: Identity,
    /// The last position of the records.
    pub last: Position,
    /// Where the journal ends.
    pub end: End,
    /// The number of entries after the checkpoint.
    pub entries: u64,
}

/// Reads the journal of `listing` in `store`.
///
/// # Errors
///
/// Something is damaged, missing, of a later version, or was refused.
pub fn walk(store: &dyn Store, listing: &Listing, each: Each<'_>) -> Result<Walked, OpenError> {
    let mut walked = Walked::default();
    walked.choose(store, listing)?;
    if let Some(checkpoint) = walked.checkpoint {
        read_whole(store, Kind::Checkpoint, checkpoint.sequence, each)?;
        (walked.identity, walked.end) = (checkpoint.identity, checkpoint.end);
    }
    let start = walked.checkpoint.map_or(0, |checkpoint| checkpoint.sequence);
    let segments: Vec<_> = listing.segments.iter().copied().filter(|sequence| *sequence >= start).collect();
    match walked.read_segments(store, &segments, each) {
        // An older checkpoint does not do after all.
        Err(_) if !walked.damaged.is_empty() => Err(walked.damaged.swap_remove(0).1),
        Err(error) => Err(error),
        Ok(()) => Ok(walked),
    }
}

/// Reads a checkpoint or a snapshot to its end.
///
/// # Errors
///
/// It can't be read, or is not whole.
pub fn read_whole(store: &dyn Store, kind: Kind, sequence: u64, each: Each<'_>) -> Result<Checkpoint, OpenError> {
    let name = names::name(kind, sequence);
    let damaged = |offset, what: &str| Err(OpenError::damaged(&name, offset, what));
    let Some(mut frames) = Frames::open(store, &name, kind, sequence)? else {
        return damaged(0, "it is empty");
    };
    let (identity, mut parts, mut complete) = (frames.header.identity, 0, None);
    loop {
        let (offset, bytes) = (frames.offset, frames.size);
        let record = match frames.step()? {
            Next::Tear => return damaged(offset, "this is no part as it was written"),
            Next::Record(record) => record,
            Next::End => match complete {
                Some((at, end)) => return Ok(Checkpoint { sequence, identity, at, end, parts, bytes }),
                None => return damaged(offset, "its end is missing"),
            },
        };
        match (record.takes, Note::decode(record.payload)) {
            _ if complete.is_some() => return damaged(offset, "there is more behind its end"),
            (1, _) if record.position.0 == parts + 1 => {
                parts += 1;
                each(Read::Part(record.payload)).map_err(|reason| OpenError::damaged(&name, offset, &reason))?;
            }
            (0, Some(Note::Complete { parts: all, at, last })) if all == parts => {
                complete = Some((at, End { last, moment: record.moment }));
            }
            _ => return damaged(offset, "this is not the part that comes next"),
        }
    }
}

impl Walked {
    /// Whether anything was ever written.
    pub fn has_any(&self) -> bool {
        self.checkpoint.is_some() || !self.segments.is_empty()
    }

    /// Finds the newest checkpoint that is whole, before anything of it is given on.
    fn choose(&mut self, store: &dyn Store, listing: &Listing) -> Result<(), OpenError> {
        for sequence in &listing.checkpoints {
            match read_whole(store, Kind::Checkpoint, *sequence, &mut |_| Ok(())) {
                Ok(checkpoint) => {
                    self.checkpoint = Some(checkpoint);
                    return Ok(());
                }
                Err(error @ OpenError::Damaged { .. }) => self.damaged.push((*sequence, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_segments(&mut self, store: &dyn Store, segments: &[u64], each: Each<'_>) -> Result<(), OpenError> {
        for (index, sequence) in segments.iter().enumerate() {
            let name = names::segment(*sequence);
            let Some(mut frames) = Frames::open(store, &name, Kind::Segment, *sequence)? else { continue };
            let later = &segments[index + 1..];
            let begins = match frames.step()? {
                Next::End => continue,
                Next::Record(record) => (record.takes == 0).then(|| Note::decode(record.payload)).flatten(),
                Next::Tear => return self.ends_in(store, frames, later),
            };
            let Some(begins @ Note::Begins { .. }) = begins else {
                return Err(OpenError::damaged(&name, HEADER as u64, "it does not begin as segments do"));
            };
            if !self.joins(&frames, &begins)? {
                return self.ends_before(store, &segments[index..], &begins);
            }
            self.segments.push((*sequence, frames.offset));
            if !self.read_records(&mut frames, each)? {
                return self.ends_in(store, frames, later);
            }
        }
        match self.checkpoint {
            Some(checkpoint) if self.segments.is_empty() => Err(missing(&names::segment(checkpoint.sequence))),
            _ => Ok(()),
        }
    }

    /// Whether the segment goes on where the one before it, or the checkpoint, ended.
    fn joins(&mut self, frames: &Frames, begins: &Note) -> Result<bool, OpenError> {
        let Note::Begins { after_gap, previous, last, identity, .. } = *begins else { return Ok(false) };
        let header = &frames.header;
        let before = self.segments.last().map(|(sequence, _)| *sequence);
        let is_known = [header.identity, identity].contains(&self.identity);
        match (before, &self.checkpoint) {
            (None, Some(checkpoint)) if header.sequence != checkpoint.sequence => {
                return Err(missing(&names::segment(checkpoint.sequence)));
            }
            (None, None) if previous != 0 => return Err(missing(&names::checkpoint(header.sequence))),
            (Some(before), _) if previous != before => return Ok(false),
            (None, None) => {}
            _ if !is_known => return Err(OpenError::Foreign { file: frames.name.clone() }),
            _ => {}
        }
        if before.is_some() && (after_gap || last != self.last) {
            return Ok(false);
        }
        (self.identity, self.last) = (header.identity, last);
        Ok(true)
    }

    /// Reads the records of a segment; false if a tear ends it.
    fn read_records(&mut self, frames: &mut Frames, each: Each<'_>) -> Result<bool, OpenError> {
        let name = frames.name.clone();
        loop {
            let offset = frames.offset;
            let (is_whole, record) = match frames.step()? {
                Next::Record(record) => (true, Some(record)),
                Next::End => (true, None),
                Next::Tear => (false, None),
            };
            let Some(record) = record else { return Ok(is_whole) };
            let read = match record.takes {
                0 => flushed(&record),
                _ => self.read_record(&record, each),
            };
            read.map_err(|reason| OpenError::damaged(&name, offset, &reason))?;
            if let Some((_, bytes)) = self.segments.last_mut() {
                *bytes = frames.offset;
            }
        }
    }

    fn read_record(&mut self, record: &Record<'_>, each: Each<'_>) -> Result<(), String> {
        if record.position <= self.last {
            return Err(format!("position {} comes after {}", record.position, self.last));
        }
        each(Read::Record(*record))?;
        self.last = record.last();
        self.entries += 1;
        self.end.last = self.end.last.max(self.last);
        if record.moment.tick >= self.end.moment.tick {
            self.end.moment = record.moment;
        }
        Ok(())
    }

    /// The journal ends at a tear, unless what is behind it was flushed.
    fn ends_in(&mut self, store: &dyn Store, mut frames: Frames, later: &[u64]) -> Result<(), OpenError> {
        let (sequence, offset) = (frames.header.sequence, frames.offset);
        if frames.says_flushed(sequence, offset)? || later_says_flushed(store, later, sequence, offset)? {
            return Err(OpenError::damaged(&frames.name, offset, "this is no record as it was written"));
        }
        self.tear = Some(Tear { sequence, offset, bytes: frames.size - offset });
        self.void.extend(later);
        Ok(())
    }

    /// The journal ends with the segment before `later`, unless `later` was flushed.
    fn ends_before(&mut self, store: &dyn Store, later: &[u64], begins: &Note) -> Result<(), OpenError> {
        let (before, offset) = self.segments.last().copied().unwrap_or_default();
        if !later_says_flushed(store, later, before, offset)? {
            self.void.extend(later);
            return Ok(());
        }
        match *begins {
            Note::Begins { previous, .. } if previous != before => Err(missing(&names::segment(previous))),
            Note::Begins { after_gap: false, .. } => {
                Err(OpenError::damaged(&names::segment(before), offset, "records are missing at its end"))
            }
            Note::Begins { .. } | Note::Flushed { .. } | Note::Complete { .. } => {
                let name = names::segment(later.first().copied().unwrap_or_default());
                let what = "entries are missing before it, and the checkpoint that has them is missing or damaged";
                Err(OpenError::damaged(&name, HEADER as u64, what))
            }
        }
    }
}

/// A note among the records, which says what was flushed.
fn flushed(record: &Record<'_>) -> Result<(), String> {
    match Note::decode(record.payload) {
        Some(Note::Flushed { .. }) => Ok(()),
        Some(Note::Begins { .. } | Note::Complete { .. }) | None => {
            Err("this is no record that belongs here".to_owned())
        }
    }
}

fn later_says_flushed(store: &dyn Store, later: &[u64], sequence: u64, offset: u64) -> Result<bool, OpenError> {
    for number in later {
        let name = names::segment(*number);
        if let Some(mut frames) = Frames::open(store, &name, Kind::Segment, *number)?
            && frames.says_flushed(sequence, offset)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn missing(file: &str) -> OpenError {
    OpenError::damaged(file, 0, "it is missing")
}

//! What is in a journal's directory, for people. Reads only, also while a process writes.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::journal::disk::frames::{Frames, Next};
use crate::journal::disk::names::{self, Listing};
use crate::journal::disk::walk::{read_whole, walk};
use crate::journal::error::OpenError;
use crate::journal::frame::{Kind, Note};
use crate::journal::log::Record;
use crate::journal::repair::Judge;
use crate::journal::store::Store;
use crate::journal::store::directory::Directory;
use crate::model::identity::Identity;
use crate::model::moment::Timestamp;

/// What is in a journal's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// For people: a line for each file, and what a start would say.
    pub text: String,
    /// Whether a gateway could start with it.
    pub opens: bool,
}

/// Describes the journal in `directory`. `judge` refuses entries that can't be decoded.
///
/// # Errors
///
/// The directory can't be read.
pub fn inspect(directory: &Path, mut judge: Judge) -> Result<Inspected, OpenError> {
    let directory = Directory::open(directory).map_err(OpenError::io("opening the directory"))?;
    let mut inspected = inspect_store(&directory, &mut judge)?;
    if directory.is_in_use() {
        inspected.text.push_str("A process uses it.\n");
    }
    Ok(inspected)
}

fn inspect_store(store: &dyn Store, judge: &mut Judge) -> Result<Inspected, OpenError> {
    let files = store.list().map_err(OpenError::io("reading the directory"))?;
    let listing = Listing::of(&files);
    let mut text = String::new();
    for (name, bytes) in &files {
        let said = describe(store, &listing, name);
        let _ = writeln!(text, "{name}  {bytes} bytes  {said}");
    }
    if listing.is_of_node() && !listing.is_unfinished {
        return Ok(conclude(store, &listing, text));
    }
    let walked = match listing.is_unfinished {
        true => Err(OpenError::Unfinished),
        false => walk(store, &listing, judge),
    };
    let opens = walked.is_ok();
    let _ = match walked {
        Err(error) => writeln!(text, "It can't be opened: {error}."),
        Ok(_) if listing.is_fresh() => writeln!(text, "It is empty."),
        Ok(walked) => {
            let from = walked.checkpoint.map_or("the beginning".to_owned(), |from| names::checkpoint(from.sequence));
            for (_, error) in &walked.damaged {
                let _ = writeln!(text, "An older checkpoint is used: {error}.");
            }
            if let Some(tear) = walked.tear {
                let file = names::segment(tear.sequence);
                let _ = writeln!(
                    text,
                    "{file} ends in a write that was interrupted: {} bytes from byte {} on.",
                    tear.bytes, tear.offset
                );
            }
            let (last, time) = (walked.end.last, time(walked.end.moment.time));
            writeln!(text, "It opens: from {from}, {} entries after it, to position {last}, {time}.", walked.entries)
        }
    };
    Ok(Inspected { text, opens })
}

/// What a start in a cluster would do with the snapshots.
fn conclude(store: &dyn Store, listing: &Listing, mut text: String) -> Inspected {
    let is_whole = |sequence: &&u64| read_whole(store, Kind::Snapshot, **sequence, &mut |_| Ok(())).is_ok();
    let newest = listing.snapshots.iter().find(is_whole).map(|sequence| names::snapshot(*sequence));
    let opens = newest.is_some();
    let _ = match newest {
        Some(newest) => writeln!(text, "It is that of a gateway with --cluster, which starts from {newest}."),
        None => writeln!(text, "It is that of a gateway with --cluster, and no snapshot can be used."),
    };
    Inspected { text, opens }
}

fn describe(store: &dyn Store, listing: &Listing, name: &str) -> String {
    let of = |numbers: &[u64], kind| numbers.iter().copied().find(|number| names::name(kind, *number) == name);
    let described = if let Some(sequence) = of(&listing.segments, Kind::Segment) {
        describe_segment(store, name, sequence)
    } else if let Some(sequence) = of(&listing.checkpoints, Kind::Checkpoint) {
        describe_whole(store, Kind::Checkpoint, sequence, "before position")
    } else if let Some(sequence) = of(&listing.snapshots, Kind::Snapshot) {
        describe_whole(store, Kind::Snapshot, sequence, "up to entry")
    } else {
        return other(name).to_owned();
    };
    described.unwrap_or_else(|error| error.to_string())
}

fn other(name: &str) -> &'static str {
    match name {
        names::RESERVE => "space for a checkpoint on a full disk",
        names::BACKUP => "this is a backup that was not started yet",
        names::UNFINISHED => "this is a backup that was not written to its end",
        crate::journal::store::directory::LOCK => "locked by the process that uses the directory",
        _ if name.contains(".lost") => "out of use, after damage or as of another log",
        _ if name.ends_with(".new") => "a checkpoint or a snapshot while it is written",
        _ => "not of the journal",
    }
}

fn describe_whole(store: &dyn Store, kind: Kind, sequence: u64, until: &str) -> Result<String, OpenError> {
    let whole = read_whole(store, kind, sequence, &mut |_| Ok(()))?;
    let (time, name) = (time(whole.end.moment.time), journal(whole.identity));
    Ok(format!("{} parts, all {until} {}, {time}, {name}", whole.parts, whole.at))
}

/// What a segment has, record by record.
#[derive(Default)]
struct Tally {
    entries: u64,
    first: Option<(u64, Timestamp)>,
    last: (u64, Timestamp),
    after_gap: bool,
}

impl Tally {
    fn add(&mut self, record: &Record<'_>) {
        if record.takes == 0 {
            self.after_gap |= matches!(Note::decode(record.payload), Some(Note::Begins { after_gap: true, .. }));
            return;
        }
        self.entries += 1;
        self.first.get_or_insert((record.position.0, record.moment.time));
        self.last = (record.last().0, record.moment.time);
    }
}

fn describe_segment(store: &dyn Store, name: &str, sequence: u64) -> Result<String, OpenError> {
    let Some(mut frames) = Frames::open(store, name, Kind::Segment, sequence)? else {
        return Ok("never used".to_owned());
    };
    let mut tally = Tally::default();
    let torn = loop {
        let offset = frames.offset;
        match frames.step()? {
            Next::Record(record) => tally.add(&record),
            Next::End => break None,
            Next::Tear => break Some(offset),
        }
    };
    let mut text = format!("{} entries", tally.entries);
    if let Some((first, from)) = tally.first {
        let (last, to) = tally.last;
        let _ = write!(text, ", positions {first} to {last}, {} to {}", time(from), time(to));
    }
    let _ = write!(text, ", {}", journal(frames.header.identity));
    if tally.after_gap {
        text.push_str(", entries are missing before it");
    }
    if let Some(offset) = torn {
        let what = match frames.says_flushed(sequence, offset)? {
            true => "damaged",
            false => "no records",
        };
        let _ = write!(text, ", {what} from byte {offset} on");
    }
    Ok(text)
}

fn journal(identity: Identity) -> String {
    format!("journal {}, generation {}", identity.journal, identity.generation)
}

fn time(time: Timestamp) -> String {
    // Later years than 9999 can't be written.
    const LAST: u64 = 253_402_300_799_000;
    let time = UNIX_EPOCH + Duration::from_millis(time.0.min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}

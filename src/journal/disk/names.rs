//! The names of the journal's files. Pure.

use crate::journal::frame::Kind;

/// Space for a checkpoint on a full disk.
pub const RESERVE: &str = "reserve";

/// Marks a backup that was not started yet.
pub const BACKUP: &str = "backup";

/// Marks a backup that is not written to its end.
pub const UNFINISHED: &str = "backup-unfinished";

/// The name of a segment.
pub fn segment(sequence: u64) -> String {
    format!("segment-{sequence:010}")
}

/// The name of a checkpoint: that of the segment that begins with it.
pub fn checkpoint(sequence: u64) -> String {
    format!("checkpoint-{sequence:010}")
}

/// The name of a node's own snapshot.
pub fn snapshot(sequence: u64) -> String {
    format!("snapshot-{sequence:010}")
}

/// The name of a file.
pub fn name(kind: Kind, sequence: u64) -> String {
    match kind {
        Kind::Segment => segment(sequence),
        Kind::Checkpoint => checkpoint(sequence),
        Kind::Snapshot => snapshot(sequence),
    }
}

/// The file of this name while it is written.
pub fn unfinished(name: &str) -> String {
    format!("{name}.new")
}

/// What was taken out of use for damage, and is kept for whoever wants to look at it.
pub fn lost(name: &str) -> String {
    format!("{name}.lost")
}

/// What a directory has of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The segments, the oldest first.
    pub segments: Vec<u64>,
    /// The checkpoints, the newest first.
    pub checkpoints: Vec<u64>,
    /// A node's own snapshots, the newest first.
    pub snapshots: Vec<u64>,
    /// Checkpoints and snapshots that were not written to their end.
    pub leftovers: Vec<String>,
    /// The highest number of any file, also of those out of use.
    pub highest: u64,
    /// The bytes of segments, checkpoints and snapshots.
    pub bytes: u64,
    /// It is a backup that was not started yet.
    pub is_backup: bool,
    /// It is a backup that was not written to its end.
    pub is_unfinished: bool,
}

impl Listing {
    /// Sorts the files of a directory.
    pub fn of(files: &[(String, u64)]) -> Listing {
        let mut listing = Listing::default();
        for (name, bytes) in files {
            listing.add(name, *bytes);
        }
        listing.segments.sort_unstable();
        listing.checkpoints.sort_unstable_by(|a, b| b.cmp(a));
        listing.snapshots.sort_unstable_by(|a, b| b.cmp(a));
        listing
    }

    fn add(&mut self, name: &str, bytes: u64) {
        self.is_backup |= name == BACKUP;
        self.is_unfinished |= name == UNFINISHED;
        let Some((kind, rest)) = name.split_once('-') else { return };
        let (number, ending) = rest.split_once('.').unwrap_or((rest, ""));
        let Ok(sequence) = number.parse::<u64>() else { return };
        let files = match kind {
            "segment" => &mut self.segments,
            "checkpoint" => &mut self.checkpoints,
            "snapshot" => &mut self.snapshots,
            _ => return,
        };
        self.highest = self.highest.max(sequence);
        let whole = format!("{kind}-{sequence:010}");
        if name == whole {
            files.push(sequence);
            self.bytes += bytes;
        } else if kind != "segment" && ending == "new" {
            self.leftovers.push(name.to_owned());
        }
    }

    /// Whether it is the directory of a node of a cluster.
    pub fn is_of_node(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// Whether there is nothing of a journal, but perhaps what was taken out of use.
    pub fn is_fresh(&self) -> bool {
        self.segments.is_empty() && self.checkpoints.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_by_their_names() {
        let names = ["segment-0000000010", "segment-0000000009", "checkpoint-0000000009", "checkpoint-0000000010"];
        let others =
            ["checkpoint-0000000011.new", "segment-0000000012.lost", "segment-13", "lock", "reserve", "backup", "x-1"];
        let files: Vec<_> = names.iter().chain(&others).map(|name| (name.to_string(), 10)).collect();
        let listing = Listing::of(&files);
        assert_eq!((listing.segments.as_slice(), listing.checkpoints.as_slice()), (&[9, 10][..], &[10, 9][..]));
        assert_eq!(listing.leftovers, ["checkpoint-0000000011.new"]);
        assert_eq!((listing.highest, listing.bytes, listing.is_backup, listing.is_unfinished), (13, 40, true, false));
        assert!(!listing.is_fresh() && Listing::of(&[("lock".to_owned(), 0), ("lost+found".to_owned(), 0)]).is_fresh());
        let lost = Listing::of(&[("segment-0000000001.lost".to_owned(), 0)]);
        assert!(lost.is_fresh() && lost.highest == 1 && !lost.is_of_node());
    }

    #[test]
    fn snapshots_are_those_of_a_node() {
        let names =
            ["snapshot-0000000002", "snapshot-0000000003", "snapshot-0000000004.new", "snapshot-0000000001.lost"];
        let listing = Listing::of(&names.map(|name| (name.to_owned(), 10)));
        assert_eq!((listing.snapshots.as_slice(), listing.highest, listing.bytes), (&[3, 2][..], 4, 20));
        assert_eq!(listing.leftovers, ["snapshot-0000000004.new"]);
        assert!(listing.is_of_node() && listing.is_fresh());
        assert!(!Listing::of(&[("snapshot-0000000004.new".to_owned(), 0)]).is_of_node());
    }
}

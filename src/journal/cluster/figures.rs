//! What a node counts for its operators. Each node counts for itself: none of it is in the log.

use std::collections::BTreeMap;

use crate::journal::cluster::batch::Batch;
use crate::journal::cluster::incarnation::Incarnation;

/// Upper bounds of the classes of echo times, in milliseconds; what takes longer is in one more class.
pub const ECHO_BOUNDS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// The counts of one node. All but `behind` only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Batches made.
    pub batches: u64,
    /// Echoes by the time since the batch was made, one number for each bound of [`ECHO_BOUNDS`], and those above.
    pub echoes: [u64; ECHO_BOUNDS.len() + 1],
    /// The time of all echoes, in milliseconds.
    pub echo_time: u64,
    /// Incarnations that were taken for lost.
    pub lost: u64,
    /// Times at which the log was read anew, for each of [`Figures::WHY`].
    pub rereads: [u64; Figures::WHY.len()],
    /// For each incarnation: the entries by which its last batch was behind.
    behind: BTreeMap<Incarnation, u64>,
}

impl Figures {
    /// Why a log is read anew.
    pub const WHY: [&str; 4] = ["differs", "lost", "behind", "newer"];

    /// An own batch came back after so many milliseconds.
    pub(super) fn echoed(&mut self, after: u64) {
        let class = ECHO_BOUNDS.partition_point(|bound| *bound < after);
        if let Some(count) = self.echoes.get_mut(class) {
            *count += 1;
        }
        self.echo_time += after;
    }

    /// A batch at `position` counts.
    pub(super) fn heard(&mut self, batch: &Batch, position: u64) {
        let between = position.saturating_sub(batch.seen.position).saturating_sub(1);
        self.behind.insert(batch.incarnation, between);
    }

    /// An incarnation is no more.
    pub(super) fn gone(&mut self, who: Incarnation, lost: bool) {
        self.behind.remove(&who);
        self.lost += u64::from(lost);
    }

    /// The log was read anew, with these incarnations.
    pub(super) fn reread(&mut self, why: &str, lives: impl Fn(&Incarnation) -> bool) {
        self.behind.retain(|who, _| lives(who));
        let of = Figures::WHY.iter().zip(&mut self.rereads).find(|(word, _)| **word == why);
        of.into_iter().for_each(|(_, count)| *count += 1);
    }

    /// The entries by which the last batch of an incarnation was behind; `None` before its first one.
    pub fn behind(&self, who: Incarnation) -> Option<u64> {
        self.behind.get(&who).copied()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::journal::cluster::batch::Seen;
    use crate::model::moment::Moment;

    #[test]
    fn echoes_are_counted_by_their_time() {
        let mut figures = Figures::default();
        [0, 1, 2, 3, 5_000, 5_001].into_iter().for_each(|after| figures.echoed(after));
        assert_eq!(figures.echoes, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(figures.echo_time, 10_007);
    }

    #[test]
    fn a_batch_is_behind_by_the_entries_that_its_writer_had_not_read() {
        let mut figures = Figures::default();
        let who = Incarnation(Uuid::from_u128(7));
        let batch = |position| Batch {
            incarnation: who,
            number: 1,
            moment: Moment::default(),
            seen: Seen { position, ..Seen::default() },
            full: false,
            records: Vec::new(),
        };
        assert_eq!(figures.behind(who), None);
        figures.heard(&batch(9), 10);
        assert_eq!(figures.behind(who), Some(0));
        figures.heard(&batch(10), 14);
        assert_eq!(figures.behind(who), Some(3));
        figures.reread("differs", |_| true);
        assert_eq!((figures.behind(who), figures.rereads), (Some(3), [1, 0, 0, 0]));
        figures.gone(who, true);
        assert_eq!((figures.behind(who), figures.lost), (None, 1));
    }
}

//! What an empty log is to be told, until it has all of it.

use crate::journal::cluster::batch::Load;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::origin::Origin;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::roll::Roll;

/// The lasting facts of a log that is gone, for an empty one. Any node may have them, and one at a time tells them: if that one leaves
/// halfway, another tells all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Restoration {
    origin: Origin,
    /// Whether all who were in the log that is gone can read the name of it.
    is_named: bool,
    facts: Vec<Record>,
    told: Option<Told>,
}

/// A claim that was made, and what was told behind it.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// The number of the batch with the claim.
    claim: u64,
    facts: usize,
    /// Whether the word that this is all was told, too.
    all: bool,
}

/// What is to be done for a restoration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Tell more.
    Tell,
    /// Wait for the echo, or for another node.
    Wait,
    /// The log has all, or takes nothing.
    Forget,
}

impl Restoration {
    /// These facts of the state at `origin`.
    pub fn of(origin: Origin, is_named: bool, facts: Vec<Record>) -> Self {
        Restoration { origin, is_named, facts, told: None }
    }

    /// The same, with what an earlier one has, which did not come to its end.
    pub fn with(mut self, earlier: Option<Restoration>) -> Self {
        self.facts.extend(earlier.into_iter().flat_map(|earlier| earlier.facts));
        self
    }

    /// Another life begins, of which nothing is told yet.
    pub fn untell(&mut self) {
        self.told = None;
    }

    /// What is to be done in the life `me`, whose batches from the number `first` on did not come back yet.
    pub fn next(&mut self, roll: &Roll, me: Incarnation, first: u64) -> Next {
        let is_under_way = self.told.is_some_and(|told| told.claim >= first);
        if roll.is_restorer(me) || is_under_way {
            return if self.told.is_some_and(|told| told.all) { Next::Wait } else { Next::Tell };
        }
        // Not claimed yet, or for nothing; or all is there.
        self.told = None;
        match roll.may_claim(self.claim(roll)) {
            true => Next::Tell,
            false if roll.is_restored_by_another(me) => Next::Wait,
            false => Next::Forget,
        }
    }

    /// The state from which the log is restored, named if all can read that.
    fn claim(&self, roll: &Roll) -> Origin {
        let is_read = self.is_named && roll.all_read(Record::Claim(self.origin).format());
        if is_read { self.origin } else { Origin::unnamed(self.origin.entries) }
    }

    /// Adds to a batch of this number what is not told yet.
    pub fn tell(&mut self, roll: &Roll, number: u64, load: &mut Load) {
        let claim = Record::Claim(self.claim(roll));
        let told = self.told.get_or_insert_with(|| {
            load.put(&claim);
            Told { claim: number, facts: 0, all: false }
        });
        while load.has_space()
            && let Some(fact) = self.facts.get(told.facts)
        {
            load.put(fact);
            told.facts += 1;
        }
        if told.facts == self.facts.len() && !told.all {
            load.put(&Record::Restored);
            told.all = true;
        }
    }
}

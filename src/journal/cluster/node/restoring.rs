//! What an empty log is to be told, until it has all of it.

use crate::journal::cluster::node::Node;
use crate::journal::cluster::node::filling::Load;
use crate::journal::cluster::origin::Origin;
use crate::journal::cluster::record::Record;

/// The lasting facts of a log that is gone, for an empty one. Any node may have them, and one at a time tells them: if that one leaves
/// halfway, another tells all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Restoration {
    origin: Origin,
    /// Whether all who were in the log that is gone can read the name of it.
    is_named: bool,
    facts: Vec<Record>,
    /// How far they were told since the last claim.
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

impl Restoration {
    pub fn of(origin: Origin, is_named: bool, facts: Vec<Record>) -> Self {
        Restoration { origin, is_named, facts, told: None }
    }

    /// The same, with what an earlier one has, which did not come to its end.
    pub fn with(mut self, earlier: Option<Restoration>) -> Self {
        self.facts.extend(earlier.into_iter().flat_map(|earlier| earlier.facts));
        self
    }

    /// Another life, or another state of the log: nothing is told yet.
    pub fn untell(&mut self) {
        self.told = None;
    }

    fn waits(&self) -> bool {
        self.told.is_none_or(|told| !told.all)
    }

    /// Adds to a batch of this number what is not told yet.
    fn tell(&mut self, claim: Record, number: u64, load: &mut Load) {
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

impl Node {
    /// Whether something of the restoration is to be told now. Forgets it once the log has it, or takes it no more.
    pub(super) fn restores(&mut self) -> bool {
        let claim = self.claim();
        let Some(restoration) = &mut self.restoration else { return false };
        let roll = &self.shared.roll;
        if roll.is_restorer(self.id) || restoration.told.is_some_and(|told| told.claim >= self.window.first()) {
            return restoration.waits();
        }
        // Not claimed yet, or for nothing; or all is there.
        restoration.untell();
        let may_claim = roll.may_claim(claim);
        if !may_claim && !roll.is_restored_by_another(self.id) {
            self.restoration = None;
        }
        may_claim
    }

    /// Whether the log is to be told something for its restoration, now or once another node has left.
    pub fn is_restoring(&mut self) -> bool {
        self.restores() || self.restoration.is_some()
    }

    /// The state from which this node would restore the log, named if all can read that.
    fn claim(&self) -> Origin {
        let Some(Restoration { origin, is_named, .. }) = &self.restoration else { return Origin::default() };
        let is_read = *is_named && self.shared.roll.all_read(Record::Claim(*origin).format());
        if is_read { *origin } else { Origin::unnamed(origin.entries) }
    }

    /// Adds to a batch of this number what the log is to be told for its restoration.
    pub(super) fn load_restoration(&mut self, number: u64, load: &mut Load) {
        if self.restores() {
            let claim = Record::Claim(self.claim());
            self.restoration.iter_mut().for_each(|restoration| restoration.tell(claim.clone(), number, load));
        }
    }
}

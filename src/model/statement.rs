//! Statements: what is said of a member through a hold, or for the member as a whole.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::meta::Meta;
use crate::model::refusal::{Code, Refusal};

/// How much a statement counts beside those of other holds: -9 to 9. An idle tab says `away` at -1, so that readers see it
/// only while nothing is said at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Rank(i8);

impl Rank {
    /// The highest rank; the lowest is its negative.
    const MAX: i8 = 9;

    /// Reads a client's text.
    ///
    /// # Errors
    ///
    /// `bad_rank` unless the text is a whole number from -9 to 9.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let rank = text.parse().ok().filter(|rank| (-Rank::MAX..=Rank::MAX).contains(rank));
        rank.map(Rank).ok_or_else(|| {
            let message = format!("rank is not a whole number from -{0} to {0}", Rank::MAX);
            Refusal::new(Code::BadRank, message).of("rank")
        })
    }

    /// A rank that was taken before and kept, within whatever bounds: never for what a client sends.
    pub fn kept(number: i8) -> Self {
        Rank(number)
    }

    /// The rank as a number.
    pub fn number(self) -> i8 {
        self.0
    }
}

impl TryFrom<&RawValue> for Rank {
    type Error = Refusal;

    fn try_from(value: &RawValue) -> Result<Self, Refusal> {
        Rank::read(value.get())
    }
}

/// A `meta` and the rank at which it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The `meta`.
    pub meta: Meta,
    /// The rank.
    pub rank: Rank,
}

impl Statement {
    /// The statement of a `meta` at a rank, by default 0; `None` where nothing is said.
    ///
    /// # Errors
    ///
    /// `bad_rank` for a rank without a `meta`.
    pub fn of(meta: Option<Meta>, rank: Option<Rank>) -> Result<Option<Self>, Refusal> {
        match (meta, rank) {
            (Some(meta), rank) => Ok(Some(Statement { meta, rank: rank.unwrap_or_default() })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Refusal::new(Code::BadRank, "rank is of a meta, and that is missing").of("rank")),
        }
    }
}

/// The place of a statement in the order in which a member's statements were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(pub u64);

impl Order {
    /// The place behind this one.
    pub fn next(self) -> Order {
        Order(self.0 + 1)
    }
}

/// A statement as kept with a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The statement.
    pub statement: Statement,
    /// Its place among those of the member.
    pub order: Order,
}

impl Said {
    /// A statement at its place, shared with the copies that snapshots keep.
    pub fn new(statement: Statement, order: Order) -> Arc<Self> {
        Arc::new(Said { statement, order })
    }

    /// What decides which of a member's statements is shown: the highest rank, and there the last.
    pub fn weight(&self) -> (Rank, Order) {
        (self.statement.rank, self.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_whole_numbers_within_their_bounds() {
        for (text, rank) in [("-9", -9), ("0", 0), ("9", 9)] {
            assert_eq!(Rank::read(text), Ok(Rank(rank)));
        }
        for text in ["10", "-10", "1.0", "1e0", "\"1\"", "", "null", "99999999999999999999"] {
            let refusal = Rank::read(text).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_deref()), (Code::BadRank, Some("rank")), "{text}");
        }
        assert_eq!(Statement::of(None, Some(Rank(1))).unwrap_err().code, Code::BadRank);
    }
}

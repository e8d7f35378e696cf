//! Passbooks: passes under secrets, for tickets and cookies.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::access::pass::Pass;
use crate::model::moment::Tick;
use crate::model::refusal::{Code, Refusal};

/// The time in which a ticket is to be used: a page asks for it just before it opens a stream.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Passes, each under a keyed hash of a secret and with an end. The book has no secrets, and the time of a search tells
/// nothing about them.
#[derive(Debug)]
pub struct Passbook {
    entries: HashMap<u128, (Tick, Arc<Pass>)>,
    ends: BTreeSet<(Tick, u128)>,
    keys: [RandomState; 2],
    most: usize,
}

impl Passbook {
    /// A book of at most `most` passes.
    pub fn new(most: usize) -> Self {
        Passbook { entries: HashMap::new(), ends: BTreeSet::new(), keys: Default::default(), most }
    }

    /// Keeps `pass` under `secret` until `end`.
    ///
    /// # Errors
    ///
    /// `too_many_passes` at the bound.
    pub fn keep(&mut self, secret: &str, pass: Arc<Pass>, end: Tick, now: Tick) -> Result<(), Refusal> {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, key)) = self.ends.pop_first() {
                self.entries.remove(&key);
            }
        }
        if self.entries.len() >= self.most {
            let message = format!("the gateway keeps {} such passes, the maximum; try again later", self.most);
            return Err(Refusal::new(Code::TooManyPasses, message));
        }
        let key = self.key(secret);
        self.entries.insert(key, (end, pass));
        self.ends.insert((end, key));
        Ok(())
    }

    /// The pass under `secret`, unless its end is over.
    pub fn find(&self, secret: &str, now: Tick) -> Option<Arc<Pass>> {
        let (_, pass) = self.entries.get(&self.key(secret)).filter(|(end, _)| *end > now)?;
        Some(pass.clone())
    }

    /// Removes and returns the pass under `secret`.
    pub fn take(&mut self, secret: &str, now: Tick) -> Option<Arc<Pass>> {
        let key = self.key(secret);
        let (end, pass) = self.entries.remove(&key)?;
        self.ends.remove(&(end, key));
        (end > now).then_some(pass)
    }

    fn key(&self, secret: &str) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(secret)));
        high << 64 | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_kept_until_its_end_or_taken_once() {
        let (mut book, pass) = (Passbook::new(2), Arc::new(Pass::open()));
        book.keep("a", pass.clone(), Tick(10), Tick(0)).unwrap();
        book.keep("b", pass.clone(), Tick(20), Tick(0)).unwrap();
        assert_eq!(book.keep("c", pass.clone(), Tick(20), Tick(9)).unwrap_err().code, Code::TooManyPasses);
        assert!(book.find("a", Tick(9)).is_some() && book.find("a", Tick(10)).is_none());
        assert!(book.find("A", Tick(0)).is_none());
        book.keep("c", pass, Tick(20), Tick(10)).unwrap();
        assert!(book.take("b", Tick(10)).is_some() && book.take("b", Tick(10)).is_none());
        assert!(book.take("c", Tick(20)).is_none(), "over");
        assert!(book.entries.is_empty() && book.ends.is_empty());
    }
}

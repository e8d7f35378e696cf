//! Passbooks: passes under secrets, for tickets and cookies.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::access::pass::Pass;
use crate::model::moment::Tick;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};

/// The time in which a ticket is to be used: a page asks for it just before it opens a stream.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// The most passes of one user: more than anyone has browsers, and one user cannot take all places.
const MAX_OF_EACH: usize = 100;

/// Passes, each under a keyed hash of a secret and with an end. The book has no secrets, and the time of a search tells
/// nothing about them.
#[derive(Debug)]
pub struct Passbook {
    entries: HashMap<u128, (Tick, Arc<Pass>)>,
    ends: BTreeSet<(Tick, u128)>,
    /// The entries of each user, the oldest first.
    of_each: HashMap<Name, VecDeque<u128>>,
    keys: [RandomState; 2],
    most: usize,
}

impl Passbook {
    /// A book of at most `most` passes.
    pub fn new(most: usize) -> Self {
        Passbook {
            entries: HashMap::new(),
            ends: BTreeSet::new(),
            of_each: HashMap::new(),
            keys: Default::default(),
            most,
        }
    }

    /// Keeps `pass` under `secret` until `end`. A user's oldest pass gives way to one too many of that user.
    ///
    /// # Errors
    ///
    /// `too_many_passes` at the bound.
    pub fn keep(&mut self, secret: &str, pass: Arc<Pass>, end: Tick, now: Tick) -> Result<(), Refusal> {
        while let Some((_, key)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.remove(key);
        }
        let of_user = pass.sub.as_ref().and_then(|sub| self.of_each.get(sub));
        if let Some(oldest) =
            of_user.filter(|of_user| of_user.len() >= MAX_OF_EACH).and_then(|all| all.front().copied())
        {
            self.remove(oldest);
        }
        if self.entries.len() >= self.most {
            let message = format!("the gateway keeps {} such passes, the maximum; try again later", self.most);
            return Err(Refusal::new(Code::TooManyPasses, message));
        }
        let key = self.key(secret);
        if let Some(sub) = &pass.sub {
            self.of_each.entry(sub.clone()).or_default().push_back(key);
        }
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
        let (end, pass) = self.remove(self.key(secret))?;
        (end > now).then_some(pass)
    }

    fn remove(&mut self, key: u128) -> Option<(Tick, Arc<Pass>)> {
        let (end, pass) = self.entries.remove(&key)?;
        self.ends.remove(&(end, key));
        if let Some(sub) = &pass.sub
            && let Some(of_user) = self.of_each.get_mut(sub)
        {
            of_user.retain(|other| *other != key);
            if of_user.is_empty() {
                self.of_each.remove(sub);
            }
        }
        Some((end, pass))
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

    #[test]
    fn a_users_oldest_pass_gives_way() {
        let mut book = Passbook::new(10 * MAX_OF_EACH);
        let of = |sub: &str| Arc::new(Pass { sub: sub.parse().ok(), ..Pass::open() });
        book.keep("bob", of("bob"), Tick(10), Tick(0)).unwrap();
        for n in 0..=MAX_OF_EACH {
            book.keep(&n.to_string(), of("ann"), Tick(10), Tick(0)).unwrap();
        }
        assert!(book.find("0", Tick(0)).is_none() && book.find("1", Tick(0)).is_some());
        assert!(book.find("bob", Tick(0)).is_some());
        book.keep("last", of("cyd"), Tick(20), Tick(10)).unwrap();
        assert_eq!((book.entries.len(), book.ends.len(), book.of_each.len()), (1, 1, 1));
    }
}

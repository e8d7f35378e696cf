//! Passbooks: passes under secrets, for tickets and cookies.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::access::pass::Pass;
use crate::model::moment::Tick;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};

/// The time in which a ticket is to be used: a page asks for it just before it opens a stream.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// The most passes of one user: more than anyone has browsers, and one user cannot take all places.
const MAX_OF_EACH: usize = 100;

/// Identifies a secret: SHA-256 of it, the same in each process. A secret of 244 random bits cannot be found from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub [u8; 32]);

/// Passes, each under the digest of a secret and with an end. The book has no secrets, and the time of a search tells
/// nothing about them.
#[derive(Debug)]
pub struct Passbook {
    entries: HashMap<SecretId, (Tick, Arc<Pass>)>,
    ends: BTreeSet<(Tick, SecretId)>,
    /// The entries of each user, the oldest first.
    of_each: HashMap<Name, VecDeque<SecretId>>,
    most: usize,
}

impl SecretId {
    /// The id of `secret`.
    pub fn of(secret: &str) -> Self {
        let mut id = [0; 32];
        id.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
        SecretId(id)
    }
}

impl Passbook {
    /// A book of at most `most` passes.
    pub fn new(most: usize) -> Self {
        Passbook { entries: HashMap::new(), ends: BTreeSet::new(), of_each: HashMap::new(), most }
    }

    /// Keeps `pass` under the secret of `id` until `end`. A user's oldest pass gives way to one too many of that user.
    ///
    /// # Errors
    ///
    /// `too_many_passes` at the bound.
    pub fn keep(&mut self, id: SecretId, pass: Arc<Pass>, end: Tick, now: Tick) -> Result<(), Refusal> {
        self.make_place(&pass, now);
        if self.entries.len() >= self.most {
            let message = format!("the gateway keeps {} such passes, the maximum; try again later", self.most);
            return Err(Refusal::new(Code::TooManyPasses, message));
        }
        self.put(id, pass, end);
        Ok(())
    }

    /// The same for a pass that was kept before: never refused, and nothing for one that is here.
    pub fn keep_again(&mut self, id: SecretId, pass: Arc<Pass>, end: Tick, now: Tick) {
        if !self.entries.contains_key(&id) {
            self.make_place(&pass, now);
            self.put(id, pass, end);
        }
    }

    /// Removes the passes that are over, and the oldest pass of a user who has as many as one may have.
    fn make_place(&mut self, pass: &Pass, now: Tick) {
        while let Some((_, id)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.remove(id);
        }
        let of_user = pass.sub.as_ref().and_then(|sub| self.of_each.get(sub));
        let full = of_user.filter(|of_user| of_user.len() >= MAX_OF_EACH);
        if let Some(oldest) = full.and_then(|all| all.front().copied()) {
            self.remove(oldest);
        }
    }

    /// Puts a pass back that was kept, behind those of the same user.
    pub fn put(&mut self, id: SecretId, pass: Arc<Pass>, end: Tick) {
        self.remove(id);
        if let Some(sub) = &pass.sub {
            self.of_each.entry(sub.clone()).or_default().push_back(id);
        }
        self.entries.insert(id, (end, pass));
        self.ends.insert((end, id));
    }

    /// All passes, those of each user in the order in which they were kept.
    pub fn all(&self) -> impl Iterator<Item = (SecretId, &Arc<Pass>, Tick)> {
        let nobodys = self.entries.iter().filter(|(_, (_, pass))| pass.sub.is_none()).map(|(id, _)| id);
        let ids = self.of_each.values().flatten().chain(nobodys);
        ids.filter_map(|id| self.entries.get(id).map(|(end, pass)| (*id, pass, *end)))
    }

    /// The pass of `id`, unless its end is over.
    pub fn find(&self, id: SecretId, now: Tick) -> Option<Arc<Pass>> {
        let (_, pass) = self.entries.get(&id).filter(|(end, _)| *end > now)?;
        Some(pass.clone())
    }

    /// Removes and returns the pass of `id`.
    pub fn take(&mut self, id: SecretId, now: Tick) -> Option<Arc<Pass>> {
        let (end, pass) = self.remove(id)?;
        (end > now).then_some(pass)
    }

    fn remove(&mut self, id: SecretId) -> Option<(Tick, Arc<Pass>)> {
        let (end, pass) = self.entries.remove(&id)?;
        self.ends.remove(&(end, id));
        if let Some(sub) = &pass.sub
            && let Some(of_user) = self.of_each.get_mut(sub)
        {
            of_user.retain(|other| *other != id);
            if of_user.is_empty() {
                self.of_each.remove(sub);
            }
        }
        Some((end, pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_kept_until_its_end_or_taken_once() {
        let (mut book, pass) = (Passbook::new(2), Arc::new(Pass::open()));
        let id = SecretId::of;
        book.keep(id("a"), pass.clone(), Tick(10), Tick(0)).unwrap();
        book.keep(id("b"), pass.clone(), Tick(20), Tick(0)).unwrap();
        assert_eq!(book.keep(id("c"), pass.clone(), Tick(20), Tick(9)).unwrap_err().code, Code::TooManyPasses);
        assert!(book.find(id("a"), Tick(9)).is_some() && book.find(id("a"), Tick(10)).is_none());
        assert!(book.find(id("A"), Tick(0)).is_none());
        book.keep(id("c"), pass, Tick(20), Tick(10)).unwrap();
        assert!(book.take(id("b"), Tick(10)).is_some() && book.take(id("b"), Tick(10)).is_none());
        assert!(book.take(id("c"), Tick(20)).is_none(), "over");
        assert!(book.entries.is_empty() && book.ends.is_empty());
    }

    #[test]
    fn a_users_oldest_pass_gives_way() {
        let mut book = Passbook::new(10 * MAX_OF_EACH);
        let of = |sub: &str| Arc::new(Pass { sub: sub.parse().ok(), ..Pass::open() });
        book.keep(SecretId::of("bob"), of("bob"), Tick(10), Tick(0)).unwrap();
        for n in 0..=MAX_OF_EACH {
            book.keep(SecretId::of(&n.to_string()), of("ann"), Tick(10), Tick(0)).unwrap();
        }
        assert!(book.find(SecretId::of("0"), Tick(0)).is_none() && book.find(SecretId::of("1"), Tick(0)).is_some());
        assert!(book.find(SecretId::of("bob"), Tick(0)).is_some());
        book.keep(SecretId::of("last"), of("cyd"), Tick(20), Tick(10)).unwrap();
        assert_eq!((book.entries.len(), book.ends.len(), book.of_each.len()), (1, 1, 1));
    }

    #[test]
    fn a_book_that_is_put_back_forgets_the_same_pass_next() {
        let mut book = Passbook::new(10 * MAX_OF_EACH);
        let of = |sub: &str| Arc::new(Pass { sub: sub.parse().ok(), ..Pass::open() });
        let id = |n: usize| SecretId::of(&n.to_string());
        (0..MAX_OF_EACH).for_each(|n| book.keep(id(n), of("ann"), Tick(10), Tick(0)).unwrap());
        book.keep(SecretId::of("nobody"), Arc::new(Pass::open()), Tick(10), Tick(0)).unwrap();
        let mut again = Passbook::new(1);
        book.all().for_each(|(id, pass, end)| again.put(id, pass.clone(), end));
        again.put(id(MAX_OF_EACH - 1), of("ann"), Tick(10));
        assert_eq!(again.entries, book.entries);
        for book in [&mut book, &mut again] {
            book.keep_again(SecretId::of("last"), of("ann"), Tick(10), Tick(0));
            assert!(book.find(id(0), Tick(0)).is_none() && book.find(id(1), Tick(0)).is_some());
            book.take(id(1), Tick(0));
            assert_eq!((book.entries.len(), book.of_each["ann"].len()), (MAX_OF_EACH, MAX_OF_EACH - 1));
        }
    }
}

//! Revocations: tokens that count no more, although they are not over yet.

use std::collections::{BTreeSet, HashMap};

use crate::access::pass::{Pass, UnixTime};
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};

/// The longest life of a token, in seconds.
pub const LONGEST_LIFE: u64 = 86_400;

/// The difference between two clocks that is forgiven, in seconds.
pub const LEEWAY: u64 = 30;

/// How long a revocation is kept: a token that was issued before is over by then. One second more, because times are whole
/// seconds.
const KEPT: u64 = LONGEST_LIFE + 2 * LEEWAY + 1;

/// The most revocations: some 20 MB. One more is refused, because a forgotten one would let somebody in.
pub const MAX_ENTRIES: usize = 100_000;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revoked {
    /// The token with this `jti`.
    Token(Box<str>),
    /// The tokens of this `sub`.
    Subject(Name),
}

/// All revocations.
#[derive(Debug, Default)]
pub struct Revocations {
    /// Tokens issued until the time are revoked; and when the entry may go.
    entries: HashMap<Revoked, (UnixTime, UnixTime)>,
    ends: BTreeSet<(UnixTime, Revoked)>,
}

impl Revocations {
    /// Revokes what was issued until `before`, at the time `now`. An earlier revocation is only extended.
    ///
    /// # Errors
    ///
    /// `too_many_passes` at the bound.
    pub fn add(&mut self, revoked: Revoked, before: UnixTime, now: UnixTime) -> Result<(), Refusal> {
        self.forget(now);
        if !self.entries.contains_key(&revoked) && self.entries.len() >= MAX_ENTRIES {
            let message = format!("there are {MAX_ENTRIES} revocations, the maximum");
            return Err(Refusal::new(Code::TooManyPasses, message));
        }
        self.extend(revoked, before, now);
        Ok(())
    }

    /// The same for a revocation that was added before: never refused.
    pub fn extend(&mut self, revoked: Revoked, before: UnixTime, now: UnixTime) {
        // A token of a clock that is ahead, or issued until a `before` in the future, is over later.
        let before = self.entries.get(&revoked).map_or(before, |(old, _)| before.max(*old));
        self.put(revoked, before, now.max(before).saturating_add(KEPT));
    }

    /// Puts back a revocation that was kept, of what was issued until `before`, and kept until `until`.
    pub fn put(&mut self, revoked: Revoked, before: UnixTime, until: UnixTime) {
        let (old_before, old_until) = self.entries.get(&revoked).copied().unwrap_or_default();
        self.ends.remove(&(old_until, revoked.clone()));
        let (before, until) = (before.max(old_before), until.max(old_until));
        self.ends.insert((until, revoked.clone()));
        self.entries.insert(revoked, (before, until));
    }

    /// All revocations in the order of their ends: what is revoked, until when issued, and kept until when.
    pub fn all(&self) -> impl Iterator<Item = (&Revoked, UnixTime, UnixTime)> {
        self.ends.iter().filter_map(|(until, revoked)| Some((revoked, self.entries.get(revoked)?.0, *until)))
    }

    /// Whether the token of `pass` is revoked.
    pub fn revokes(&self, pass: &Pass) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let Some(token) = &pass.token else {
            return false;
        };
        let by = |revoked: &Revoked| self.entries.get(revoked).is_some_and(|(before, _)| token.issued <= *before);
        let by_token = || token.jti.clone().is_some_and(|jti| self.entries.contains_key(&Revoked::Token(jti)));
        pass.sub.clone().is_some_and(|sub| by(&Revoked::Subject(sub))) || by_token()
    }

    /// At most `limit` revocations after `after`, in order, each with the time until which issued tokens are revoked.
    pub fn list(&self, after: Option<&Revoked>, limit: usize) -> Vec<(Revoked, UnixTime)> {
        let mut all: Vec<_> =
            self.entries.iter().filter(|(revoked, _)| after.is_none_or(|after| *revoked > after)).collect();
        all.sort_unstable();
        all.into_iter().take(limit).map(|(revoked, (before, _))| (revoked.clone(), *before)).collect()
    }

    /// The number of revocations.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the revocations of tokens that are over.
    pub fn forget(&mut self, now: UnixTime) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, revoked)) = self.ends.pop_first() {
                self.entries.remove(&revoked);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::pass::{Kind, TokenId};

    fn pass(sub: &str, jti: Option<&str>, issued: UnixTime) -> Pass {
        let token = Some(TokenId { jti: jti.map(Into::into), issued });
        Pass { sub: Some(sub.parse().unwrap()), token, ..Pass::of(Kind::Token) }
    }

    #[test]
    fn tokens_are_revoked_by_id_or_by_subject_and_time() {
        let mut list = Revocations::default();
        assert!(!list.revokes(&pass("ann", Some("a"), 0)));
        list.add(Revoked::Token("a".into()), 100, 100).unwrap();
        list.add(Revoked::Subject("bob".parse().unwrap()), 100, 100).unwrap();
        for (sub, jti, issued, is) in [
            ("ann", Some("a"), 1_000, true),
            ("ann", Some("b"), 0, false),
            ("ann", None, 0, false),
            ("bob", None, 0, true),
            ("bob", Some("b"), 100, true),
            ("bob", Some("b"), 101, false),
        ] {
            assert_eq!(list.revokes(&pass(sub, jti, issued)), is, "{sub} {jti:?} {issued}");
        }
        list.add(Revoked::Subject("bob".parse().unwrap()), 50, 110).unwrap();
        assert!(list.revokes(&pass("bob", None, 100)), "an earlier time takes nothing back");
        assert!(!list.revokes(&Pass { token: None, ..pass("bob", None, 0) }), "an API key has no token");
        assert_eq!(list.list(None, 9).len(), 2);
        assert_eq!(list.list(Some(&Revoked::Token("a".into())), 9).len(), 1);
    }

    #[test]
    fn a_revocation_is_kept_for_as_long_as_a_token_from_before_may_count() {
        let mut list = Revocations::default();
        let bob = Revoked::Subject("bob".parse().unwrap());
        list.add(bob.clone(), 100, 100).unwrap();
        list.add(bob, 200, 200).unwrap();
        list.forget(200 + LONGEST_LIFE + LEEWAY);
        assert!(list.revokes(&pass("bob", None, 200)));
        list.forget(200 + KEPT);
        assert!(list.is_empty() && list.ends.is_empty());
    }

    #[test]
    fn one_revocation_too_many_is_refused_and_none_is_forgotten() {
        let mut list = Revocations::default();
        (0..MAX_ENTRIES).for_each(|n| list.add(Revoked::Token(n.to_string().into()), 0, 0).unwrap());
        let refused = list.add(Revoked::Token("more".into()), 0, 0).unwrap_err();
        assert_eq!((refused.code, list.len()), (Code::TooManyPasses, MAX_ENTRIES));
        list.add(Revoked::Token("0".into()), 5, 5).unwrap();
        assert!(list.revokes(&pass("ann", Some("0"), 0)));
    }
}

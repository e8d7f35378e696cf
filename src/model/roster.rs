//! The roster: a room's members and their holds, in byte order of the users' names.

use std::sync::Arc;

use crate::model::hold::{Hold, HoldId, Holds};
use crate::model::info::Info;
use crate::model::meta::Meta;
use crate::model::moment::{Tick, Timestamp};
use crate::model::name::Name;

/// A user as present in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user's name.
    pub user: Name,
    /// What was said last among the member's holds, at the highest rank.
    pub meta: Meta,
    /// What a backend says of the member.
    pub info: Info,
    /// When the user became a member.
    pub joined: Timestamp,
}

/// The most members of one chunk: a change copies at most one chunk of pointers (2 KiB) while a snapshot still reads
/// it, and a million members are some ten thousand chunks to clone.
const CHUNK: usize = 128;

type Chunk = Arc<Vec<Entry>>;

/// A member and its holds.
#[derive(Clone, Debug)]
struct Entry {
    member: Arc<Member>,
    /// `None` for plain holds, which the member's `meta` tells.
    holds: Option<Holds>,
}

/// The effect of an edit of a member's holds.
#[derive(Debug)]
pub enum Edited {
    /// Readers see no difference.
    Same,
    /// Readers see this member instead.
    Changed(Arc<Member>),
    /// The member is suspect, or was: readers who ask see that.
    Suspect(Suspect),
    /// No hold is left. The member is still in the set.
    Left,
}

/// A member who is suspect, or no longer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The member.
    pub member: Arc<Member>,
    /// Whether the member is suspect now.
    pub is: bool,
    /// Whether readers who do not ask see a difference, too.
    pub changed: bool,
}

/// An ordered set of members that is cheap to copy: a clone shares all chunks, and a later change
/// copies only the chunk that it touches. So a snapshot is taken under the room's lock in microseconds and encoded
/// outside of it.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// No chunk is empty; the last name of a chunk is less than the first name of the next.
    chunks: Vec<Chunk>,
    count: usize,
}

/// A place in one roster, between two members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    chunk: usize,
    at: usize,
}

impl Entry {
    fn holds(&self) -> Holds {
        self.holds.clone().unwrap_or_else(|| Holds::plain(&self.member.meta))
    }
}

impl Roster {
    /// The number of members.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The member named `user`.
    pub fn get(&self, user: &str) -> Option<&Arc<Member>> {
        self.entry(user).map(|entry| &entry.member)
    }

    /// Whether `user` is a suspect member.
    pub fn is_suspect(&self, user: &str) -> bool {
        self.entry(user).and_then(|entry| entry.holds.as_ref()).is_some_and(Holds::are_silent)
    }

    /// The holds of `user`; `None` when absent.
    pub fn holds(&self, user: &str) -> Option<Holds> {
        self.entry(user).map(Entry::holds)
    }

    /// The members with sign-ins that were made with tokens of `sub`, issued until `before`.
    pub fn made_by(&self, sub: &Name, before: u64) -> impl Iterator<Item = &Name> {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter());
        let made =
            move |entry: &&Entry| entry.holds.as_ref().is_some_and(|holds| holds.made_by(sub, before).next().is_some());
        entries.filter(made).map(|entry| &entry.member.user)
    }

    fn entry(&self, user: &str) -> Option<&Entry> {
        let (mark, found) = self.find(user);
        found.then(|| &self.chunks[mark.chunk][mark.at])
    }

    /// Changes the holds of `user` by `change`, and the `info` if one is given; `None` when absent.
    pub fn edit(&mut self, user: &str, info: Option<&Info>, change: impl FnOnce(&mut Holds)) -> Option<Edited> {
        let (mark, found) = self.find(user);
        if !found {
            return None;
        }
        let entry = &mut Arc::make_mut(&mut self.chunks[mark.chunk])[mark.at];
        let mut holds = entry.holds.take().unwrap_or_else(|| Holds::plain(&entry.member.meta));
        let was_suspect = holds.are_silent();
        change(&mut holds);
        if holds.is_empty() {
            entry.holds = Some(holds);
            return Some(Edited::Left);
        }
        let Member { user, meta, info: old, joined } = &*entry.member;
        let (shown, info) = (holds.shown(), info.unwrap_or(old));
        let changed = shown != *meta || info != old;
        if changed {
            let (user, info) = (user.clone(), info.clone());
            entry.member = Arc::new(Member { user, meta: shown, info, joined: *joined });
        }
        let (is, member) = (holds.are_silent(), &entry.member);
        entry.holds = (!holds.are_plain()).then_some(holds);
        Some(match (is || was_suspect, changed) {
            (true, _) if changed || is != was_suspect => {
                Edited::Suspect(Suspect { member: member.clone(), is, changed })
            }
            (false, true) => Edited::Changed(member.clone()),
            (_, _) => Edited::Same,
        })
    }

    /// Changes the holds of all members by `change`, in a way that readers do not see.
    pub fn edit_all(&mut self, mut change: impl FnMut(&Name, &mut Holds)) {
        for chunk in &mut self.chunks {
            // Plain holds are of sign-ins without a deadline.
            if chunk.iter().any(|entry| entry.holds.is_some()) {
                let entries = Arc::make_mut(chunk).iter_mut();
                entries
                    .for_each(|Entry { member, holds }| holds.iter_mut().for_each(|holds| change(&member.user, holds)));
            }
        }
    }

    /// Adds `member` with its holds, or replaces the member of that name.
    pub fn put(&mut self, member: Arc<Member>, holds: Holds) {
        let (mark, found) = self.find(&member.user);
        let entry = Entry { member, holds: (!holds.are_plain()).then_some(holds) };
        if found {
            Arc::make_mut(&mut self.chunks[mark.chunk])[mark.at] = entry;
            return;
        }
        self.count += 1;
        let mark = self.space_at(mark);
        Arc::make_mut(&mut self.chunks[mark.chunk]).insert(mark.at, entry);
    }

    /// Adds a member whose name is greater than all others, with its holds or plain ones: without a search. False, and nothing
    /// is done, for another name.
    pub fn append(&mut self, member: Arc<Member>, holds: Option<Holds>) -> bool {
        let last = self.chunks.last_mut();
        if last.as_ref().and_then(|chunk| chunk.last()).is_some_and(|entry| entry.member.user >= member.user) {
            return false;
        }
        let entry = Entry { member, holds: holds.filter(|holds| !holds.are_plain()) };
        self.count += 1;
        match last.filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => Arc::make_mut(chunk).push(entry),
            None => self.chunks.push(Arc::new(vec![entry])),
        }
        true
    }

    /// Removes and returns the member named `user`.
    pub fn remove(&mut self, user: &str) -> Option<Arc<Member>> {
        let (mark, found) = self.find(user);
        if !found {
            return None;
        }
        self.count -= 1;
        let chunk = Arc::make_mut(&mut self.chunks[mark.chunk]);
        let entry = chunk.remove(mark.at);
        if chunk.is_empty() {
            self.chunks.remove(mark.chunk);
        } else if chunk.len() < CHUNK / 4 {
            self.merge(mark.chunk);
        }
        Some(entry.member)
    }

    /// The members from `mark` on, in order.
    pub fn iter_from(&self, mark: Mark) -> impl Iterator<Item = &Arc<Member>> {
        let chunks = self.chunks.get(mark.chunk..).unwrap_or_default().iter();
        chunks.flat_map(|chunk| chunk.iter()).skip(mark.at).map(|entry| &entry.member)
    }

    /// The same with the members' holds, where these are not plain.
    pub fn held_from(&self, mark: Mark) -> impl Iterator<Item = (&Arc<Member>, Option<&Holds>)> {
        let chunks = self.chunks.get(mark.chunk..).unwrap_or_default().iter();
        chunks.flat_map(|chunk| chunk.iter()).skip(mark.at).map(|entry| (&entry.member, entry.holds.as_ref()))
    }

    /// The deadlines of all holds.
    pub fn deadlines(&self) -> impl Iterator<Item = (Tick, Name, HoldId)> {
        self.held_from(Mark::default()).flat_map(|(member, holds)| {
            let ends = |hold: &Hold| Some((hold.kind.deadline()?, member.user.clone(), hold.kind.id()));
            holds.into_iter().flat_map(Holds::iter).filter_map(ends)
        })
    }

    /// The place just behind the name `user`, present or not.
    pub fn mark_after(&self, user: &str) -> Mark {
        let (mark, found) = self.find(user);
        Mark { at: mark.at + usize::from(found), ..mark }
    }

    /// The place `members` behind `mark`.
    pub fn advance(&self, mark: Mark, members: usize) -> Mark {
        let mut to = Mark { at: mark.at + members, ..mark };
        while let Some(chunk) = self.chunks.get(to.chunk).filter(|chunk| to.at >= chunk.len()) {
            to = Mark { chunk: to.chunk + 1, at: to.at - chunk.len() };
        }
        to
    }

    /// The place of `user` and true, or the place where `user` would be inserted and false.
    fn find(&self, user: &str) -> (Mark, bool) {
        let after = self.chunks.partition_point(|chunk| &*chunk[0].member.user <= user);
        let chunk = after.saturating_sub(1);
        let Some(entries) = self.chunks.get(chunk) else {
            return (Mark::default(), false);
        };
        match entries.binary_search_by(|entry| (*entry.member.user).cmp(user)) {
            Ok(at) => (Mark { chunk, at }, true),
            Err(at) => (Mark { chunk, at }, false),
        }
    }

    /// Makes space for one more entry at `mark`; splits a full chunk.
    fn space_at(&mut self, mark: Mark) -> Mark {
        let Some(chunk) = self.chunks.get_mut(mark.chunk) else {
            // Most rooms are small: their one chunk takes no more than it needs.
            self.chunks = vec![Chunk::default()];
            return mark;
        };
        if chunk.len() < CHUNK {
            return mark;
        }
        // Names often come in rising order (imports, counters): then chunks stay full.
        let cut = if mark.at == CHUNK { CHUNK } else { CHUNK / 2 };
        let right = Arc::make_mut(chunk).split_off(cut);
        self.chunks.insert(mark.chunk + 1, Arc::new(right));
        if mark.at < cut { mark } else { Mark { chunk: mark.chunk + 1, at: mark.at - cut } }
    }

    /// Merges a small chunk with its neighbour, if both together leave space to grow.
    fn merge(&mut self, chunk: usize) {
        let left = if chunk + 1 < self.chunks.len() { chunk } else { chunk.saturating_sub(1) };
        let fits = |right: &Chunk| self.chunks[left].len() + right.len() <= CHUNK / 2;
        if self.chunks.get(left + 1).is_some_and(fits) {
            let right = self.chunks.remove(left + 1);
            Arc::make_mut(&mut self.chunks[left]).extend(right.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn by() -> Holds {
        Holds::plain(&Meta::default())
    }

    fn member(user: &str, joined: u64) -> Arc<Member> {
        Arc::new(Member {
            user: user.parse().unwrap(),
            meta: Meta::default(),
            info: Info::default(),
            joined: Timestamp(joined),
        })
    }

    fn content(roster: &Roster) -> Vec<(String, u64)> {
        roster.iter_from(Mark::default()).map(|m| (m.user.to_string(), m.joined.0)).collect()
    }

    /// Seeded: puts and removes at random against a `BTreeMap`, with clones that must not change.
    #[test]
    fn is_an_ordered_map_whose_clones_stay_as_they_were() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut roster, mut model) = (Roster::default(), BTreeMap::new());
            let mut clones = Vec::new();
            for step in 0..4_000u64 {
                let user = format!("u{}", rng.u32(..1_000));
                // Phases that grow and phases that shrink, so that chunks split and merge.
                if rng.u8(..10) < if (step / 1_000) % 2 == 0 { 8 } else { 2 } {
                    roster.put(member(&user, step), by());
                    model.insert(user.clone(), step);
                } else {
                    assert_eq!(roster.remove(&user).map(|m| m.joined.0), model.remove(&user));
                }
                assert_eq!(roster.get(&user).map(|m| m.joined.0), model.get(&user).copied());
                if step % 500 == 0 {
                    clones.push((roster.clone(), content(&roster)));
                }
            }
            let expected: Vec<_> = model.into_iter().collect();
            assert_eq!((content(&roster), roster.len()), (expected.clone(), expected.len()), "seed {seed}");
            for (clone, then) in clones {
                assert_eq!(content(&clone), then, "seed {seed}");
            }
        }
    }

    #[test]
    fn plain_holds_take_no_memory_of_their_own() {
        let mut roster = Roster::default();
        roster.put(member("ann", 1), by());
        assert_eq!((size_of::<Entry>(), roster.entry("ann").unwrap().holds.is_none()), (16, true));
        // With the counts of its `Arc`, a member without `info` fits into 64 bytes.
        assert!(size_of::<Member>() <= 48);
    }

    #[test]
    fn pages_on_from_any_name_and_by_any_length() {
        let mut roster = Roster::default();
        (100..1_000).for_each(|n| roster.put(member(&n.to_string(), n), by()));
        for (after, first) in [("", 100), ("100", 101), ("1005", 101), ("550", 551), ("98", 980)] {
            let mark = roster.mark_after(after);
            assert_eq!(roster.iter_from(mark).next().unwrap().joined.0, first, "after {after:?}");
        }
        assert!(roster.iter_from(roster.mark_after("999")).next().is_none());
        let (mut mark, mut seen) = (Mark::default(), 0);
        while let Some(member) = roster.iter_from(mark).next() {
            assert_eq!(member.joined.0, 100 + seen);
            mark = roster.advance(mark, 7);
            seen += 7;
        }
        assert_eq!(seen, 903);
    }
}

//! The members of a room as readers see them, in byte order of their names.

use std::sync::Arc;

use crate::model::hold::Holds;
use crate::model::meta::Meta;
use crate::model::name::Name;

/// A user as present in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: Name,
    /// What the application says of them.
    pub meta: Meta,
    /// When they came, in seconds since 1970 (UTC).
    pub joined: u64,
}

/// The most members of one page: a change copies at most one page of pointers (2 KiB) while a
/// snapshot still reads it, and a million members are some ten thousand pages to clone.
const PAGE: usize = 128;

type Page = Arc<Vec<Slot>>;

/// A member's place in the roster, and what holds them there.
#[derive(Clone, Debug)]
struct Slot {
    member: Arc<Member>,
    holds: Holds,
}

/// An ordered set of members that is cheap to copy: a clone shares all pages, and a later change
/// copies only the page it touches. So a snapshot is taken under the room's lock in microseconds
/// and encoded outside of it.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// None is empty; the last name of one is less than the first of the next.
    pages: Vec<Page>,
    count: usize,
}

/// A place in one roster, between two members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    page: usize,
    at: usize,
}

impl Roster {
    /// How many members.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The member named `user`.
    pub fn get(&self, user: &str) -> Option<&Arc<Member>> {
        self.slot(user).map(|slot| &slot.member)
    }

    /// What holds `user`; `None` when absent.
    pub fn holds(&self, user: &str) -> Option<&Holds> {
        self.slot(user).map(|slot| &slot.holds)
    }

    fn slot(&self, user: &str) -> Option<&Slot> {
        let (mark, found) = self.find(user);
        found.then(|| &self.pages[mark.page][mark.at])
    }

    /// What holds `user`, to be changed.
    pub fn holds_mut(&mut self, user: &str) -> Option<&mut Holds> {
        let (mark, found) = self.find(user);
        found.then(|| &mut Arc::make_mut(&mut self.pages[mark.page])[mark.at].holds)
    }

    /// Puts `member` in, who is here by `holds`; one who was here already is replaced.
    pub fn put(&mut self, member: Member, holds: Holds) {
        let (mark, found) = self.find(&member.user);
        let slot = Slot { member: Arc::new(member), holds };
        if found {
            Arc::make_mut(&mut self.pages[mark.page])[mark.at] = slot;
            return;
        }
        self.count += 1;
        let mark = self.room_at(mark);
        Arc::make_mut(&mut self.pages[mark.page]).insert(mark.at, slot);
    }

    /// Says something else of the member named `user`.
    pub fn set_meta(&mut self, user: &str, meta: Meta) {
        let (mark, found) = self.find(user);
        if found {
            let slot = &mut Arc::make_mut(&mut self.pages[mark.page])[mark.at];
            slot.member = Arc::new(Member { meta, ..slot.member.as_ref().clone() });
        }
    }

    /// Takes the member named `user` out.
    pub fn remove(&mut self, user: &str) -> Option<Arc<Member>> {
        let (mark, found) = self.find(user);
        if !found {
            return None;
        }
        self.count -= 1;
        let page = Arc::make_mut(&mut self.pages[mark.page]);
        let slot = page.remove(mark.at);
        if page.is_empty() {
            self.pages.remove(mark.page);
        } else if page.len() < PAGE / 4 {
            self.merge(mark.page);
        }
        Some(slot.member)
    }

    /// The members from `mark` on, in order.
    pub fn iter_from(&self, mark: Mark) -> impl Iterator<Item = &Arc<Member>> {
        let pages = self.pages.get(mark.page..).unwrap_or_default().iter();
        pages.flat_map(|page| page.iter()).skip(mark.at).map(|slot| &slot.member)
    }

    /// The place just behind the name `user`, whether it is here or not.
    pub fn mark_after(&self, user: &str) -> Mark {
        let (mark, found) = self.find(user);
        Mark { at: mark.at + usize::from(found), ..mark }
    }

    /// The place `members` further on than `mark`.
    pub fn advance(&self, mark: Mark, members: usize) -> Mark {
        let mut to = Mark { at: mark.at + members, ..mark };
        while let Some(page) = self.pages.get(to.page).filter(|page| to.at >= page.len()) {
            to = Mark { page: to.page + 1, at: to.at - page.len() };
        }
        to
    }

    /// Where `user` is, or where it would go.
    fn find(&self, user: &str) -> (Mark, bool) {
        let after = self.pages.partition_point(|page| &*page[0].member.user <= user);
        let page = after.saturating_sub(1);
        let Some(slots) = self.pages.get(page) else {
            return (Mark::default(), false);
        };
        match slots.binary_search_by(|slot| (*slot.member.user).cmp(user)) {
            Ok(at) => (Mark { page, at }, true),
            Err(at) => (Mark { page, at }, false),
        }
    }

    /// Makes room for one more at `mark`, splitting a full page.
    fn room_at(&mut self, mark: Mark) -> Mark {
        let Some(page) = self.pages.get_mut(mark.page) else {
            // Most rooms are small: their one page takes no more than it needs.
            self.pages = vec![Page::default()];
            return mark;
        };
        if page.len() < PAGE {
            return mark;
        }
        // Names often come in rising order (imports, counters): then pages stay full.
        let cut = if mark.at == PAGE { PAGE } else { PAGE / 2 };
        let right = Arc::make_mut(page).split_off(cut);
        self.pages.insert(mark.page + 1, Arc::new(right));
        if mark.at < cut { mark } else { Mark { page: mark.page + 1, at: mark.at - cut } }
    }

    /// Joins a small page with a neighbour, if both together leave room to grow.
    fn merge(&mut self, page: usize) {
        let left = if page + 1 < self.pages.len() { page } else { page.saturating_sub(1) };
        let fits = |right: &Page| self.pages[left].len() + right.len() <= PAGE / 2;
        if self.pages.get(left + 1).is_some_and(fits) {
            let right = self.pages.remove(left + 1);
            Arc::make_mut(&mut self.pages[left]).extend(right.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::hold::Hold;

    fn by() -> Holds {
        Holds::of(Hold::SignIn(None))
    }

    fn member(user: &str, joined: u64) -> Member {
        Member { user: user.parse().unwrap(), meta: Meta::default(), joined }
    }

    fn content(roster: &Roster) -> Vec<(String, u64)> {
        roster.iter_from(Mark::default()).map(|m| (m.user.to_string(), m.joined)).collect()
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
                // Phases that grow and phases that shrink, so that pages split and merge.
                if rng.u8(..10) < if (step / 1_000) % 2 == 0 { 8 } else { 2 } {
                    roster.put(member(&user, step), by());
                    model.insert(user.clone(), step);
                } else {
                    assert_eq!(roster.remove(&user).map(|m| m.joined), model.remove(&user));
                }
                assert_eq!(roster.get(&user).map(|m| m.joined), model.get(&user).copied());
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
    fn pages_on_from_any_name_and_by_any_length() {
        let mut roster = Roster::default();
        (100..1_000).for_each(|n| roster.put(member(&n.to_string(), n), by()));
        for (after, first) in [("", 100), ("100", 101), ("1005", 101), ("550", 551), ("98", 980)] {
            let mark = roster.mark_after(after);
            assert_eq!(roster.iter_from(mark).next().unwrap().joined, first, "after {after:?}");
        }
        assert!(roster.iter_from(roster.mark_after("999")).next().is_none());
        let (mut mark, mut seen) = (Mark::default(), 0);
        while let Some(member) = roster.iter_from(mark).next() {
            assert_eq!(member.joined, 100 + seen);
            mark = roster.advance(mark, 7);
            seen += 7;
        }
        assert_eq!(seen, 903);
    }
}

//! Rights: the verbs that a caller has in each room, and outside of rooms.

use std::sync::Arc;

use crate::access::pattern::Pattern;
use crate::access::verb::{Verb, Verbs};
use crate::model::count::Prefix;
use crate::model::name::Name;

/// Verbs in the rooms of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rooms.
    pub rooms: Pattern,
    /// The verbs there.
    pub can: Verbs,
}

impl Grant {
    /// Reads `lobby:watch,count`: a pattern, and verbs behind the last colon.
    ///
    /// # Errors
    ///
    /// A sentence about the mistake.
    pub fn read(text: &str) -> Result<Self, String> {
        let (rooms, verbs) = text.rsplit_once(':').ok_or("write rooms and verbs, such as lobby:watch")?;
        let can = verbs.split(',').map(str::trim).map(str::parse).collect::<Result<Verbs, _>>()?;
        Ok(Grant { rooms: Pattern::read(rooms, None)?, can })
    }
}

/// What a caller may do outside of rooms: list all rooms, see all holds, read the gateway's numbers, revoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admin {
    /// Nothing.
    #[default]
    No,
    /// Reading.
    Reads,
    /// All of it.
    Full,
}

/// What a caller may do. Nothing named is nothing allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    grants: Arc<[Grant]>,
    admin: Admin,
}

impl Rights {
    /// The rights of `grants`, and those outside of rooms.
    pub fn new(grants: impl Into<Arc<[Grant]>>, admin: Admin) -> Self {
        Rights { grants: grants.into(), admin }
    }

    /// The right to do everything.
    pub fn all() -> Self {
        Rights::new([Grant { rooms: Pattern::all(), can: Verbs::ALL }], Admin::Full)
    }

    /// The right to read everything.
    pub fn reading() -> Self {
        Rights::new([Grant { rooms: Pattern::all(), can: Verbs::from_iter([Verb::Watch]) }], Admin::Reads)
    }

    /// The grants, as they were given.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The rights outside of rooms.
    pub fn admin(&self) -> Admin {
        self.admin
    }

    /// Whether there are no rights at all.
    pub fn are_none(&self) -> bool {
        self.grants.is_empty() && self.admin == Admin::No
    }

    /// The verbs in `room`.
    pub fn in_room(&self, room: &str) -> Verbs {
        let here = self.grants.iter().filter(|grant| grant.rooms.selects(room));
        here.fold(Verbs::default(), |verbs, grant| verbs.and(grant.can))
    }

    /// Whether `verb` is among those in `room`.
    pub fn may(&self, verb: Verb, room: &str) -> bool {
        self.grants.iter().any(|grant| grant.can.have(verb) && grant.rooms.selects(room))
    }

    /// The same rights, as far as `verbs` and `room` go.
    pub fn narrowed(&self, verbs: Verbs, room: &Name) -> Self {
        let own = self.in_room(room);
        let can = verbs.iter().filter(|verb| own.have(*verb)).collect();
        Rights::new([Grant { rooms: Pattern::Exact(room.clone()), can }], Admin::No)
    }

    /// The rooms whose members may be counted: all of them with a right outside of rooms.
    pub fn counted(&self) -> Selection {
        match self.admin {
            Admin::No => Selection::of(self.grants.iter().filter(|grant| grant.can.have(Verb::Count))),
            Admin::Reads | Admin::Full => Selection(vec![Pattern::all()]),
        }
    }
}

/// Some rooms: disjoint patterns, in the order of the rooms' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<Pattern>);

impl Selection {
    fn of<'a>(grants: impl Iterator<Item = &'a Grant>) -> Self {
        let mut patterns: Vec<_> = grants.map(|grant| grant.rooms.clone()).collect();
        // A pattern that covers another begins with the same bytes or fewer, and so comes first; of the same bytes, the
        // prefix does.
        patterns.sort_by(|a, b| a.start().cmp(b.start()).then(a.covers(b).cmp(&b.covers(a)).reverse()));
        let mut disjoint = Vec::<Pattern>::new();
        for pattern in patterns {
            if !disjoint.last().is_some_and(|last| last.covers(&pattern)) {
                disjoint.push(pattern);
            }
        }
        Selection(disjoint)
    }

    /// Whether `room` is among the rooms.
    pub fn selects(&self, room: &str) -> bool {
        let after = self.0.partition_point(|pattern| pattern.start() <= room);
        after.checked_sub(1).is_some_and(|at| self.0[at].selects(room))
    }

    /// Whether all rooms that `prefix` selects are among the rooms.
    pub fn covers(&self, prefix: &Prefix) -> bool {
        self.0.iter().any(|pattern| pattern.covers(&Pattern::Prefix(prefix.clone())))
    }

    /// The part that `prefix` selects, in order.
    pub fn within(&self, prefix: &Prefix) -> impl Iterator<Item = Pattern> {
        self.0.iter().filter_map(|pattern| pattern.within(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(grants: &[(&str, &[Verb])]) -> Rights {
        let grant = |(rooms, can): &(&str, &[Verb])| Grant {
            rooms: Pattern::read(rooms, None).unwrap(),
            can: can.iter().copied().collect(),
        };
        Rights::new(grants.iter().map(grant).collect::<Vec<_>>(), Admin::No)
    }

    #[test]
    fn grants_for_one_room_add_up_and_nothing_named_is_nothing_allowed() {
        let rights = rights(&[("team-*", &[Verb::Watch]), ("team-7", &[Verb::Join])]);
        assert!(rights.may(Verb::Watch, "team-7") && rights.may(Verb::Join, "team-7"));
        assert!(!rights.may(Verb::Join, "team-8") && !rights.may(Verb::SignIn, "team-7"));
        assert!(!rights.may(Verb::Count, "lobby") && Rights::default().are_none());
        let narrowed = rights.narrowed([Verb::Watch, Verb::SignIn].into_iter().collect(), &"team-7".parse().unwrap());
        assert!(narrowed.may(Verb::Watch, "team-7") && narrowed.may(Verb::Join, "team-7"));
        assert!(!narrowed.may(Verb::Watch, "team-8") && !narrowed.may(Verb::SignIn, "team-7"));
    }

    /// Seeded: against asking each pattern.
    #[test]
    fn a_selection_is_disjoint_ordered_and_selects_what_its_patterns_select() {
        let mut rng = fastrand::Rng::with_seed(15);
        for _ in 0..2_000 {
            let mut text = |most: usize| (0..rng.usize(..=most)).map(|_| rng.char('a'..='c')).collect::<String>();
            let patterns: Vec<_> = (0..6).map(|n| text(3) + if n % 2 == 0 { "*" } else { "x" }).collect();
            let grants: Vec<(&str, &[Verb])> =
                patterns.iter().map(|text| (text.as_str(), &[Verb::Watch][..])).collect();
            let (rights, room) = (rights(&grants), text(4) + "x");
            let selection = rights.counted();
            assert_eq!(selection.selects(&room), rights.may(Verb::Count, &room), "{patterns:?} {room}");
            for (at, pattern) in selection.0.iter().enumerate() {
                let rest = &selection.0[at + 1..];
                assert!(rest.iter().all(|later| pattern.start() < later.start() && !pattern.covers(later)));
            }
        }
    }
}

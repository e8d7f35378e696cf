//! Listings: all rooms with their counts at about one moment, for what cannot be read from the index.

use std::sync::OnceLock;

use tokio::task::yield_now;

use crate::model::count::Prefix;
use crate::model::name::Name;
use crate::rooms::directory::Directory;

/// Rooms read before other tasks get their turn: less than a millisecond.
const SLICE: usize = 1_024;

/// All rooms in byte order of their names.
#[derive(Debug, Default)]
pub struct Listing {
    rooms: Vec<Listed>,
    /// Positions in `rooms`, the largest room first, and rooms of the same size in byte order. Made when needed.
    by_count: OnceLock<Vec<u32>>,
}

#[derive(Debug)]
struct Listed {
    room: Name,
    count: u32,
    /// The members of all rooms before.
    before: u64,
}

/// Some rooms, and the members in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// The number of rooms.
    pub rooms: usize,
    /// The number of members; a user counts once in each room.
    pub members: u64,
}

impl Total {
    /// Both together.
    pub fn and(self, other: Total) -> Total {
        Total { rooms: self.rooms + other.rooms, members: self.members + other.members }
    }
}

impl Listing {
    fn push(&mut self, room: Name, count: usize) {
        let before = self.members_before(self.rooms.len());
        self.rooms.push(Listed { room, count: u32::try_from(count).unwrap_or(u32::MAX), before });
    }

    fn members_before(&self, at: usize) -> u64 {
        let last = at.checked_sub(1).map(|last| &self.rooms[last]);
        last.map_or(0, |last| last.before + u64::from(last.count))
    }

    /// The total of the rooms that `prefix` selects.
    pub fn total(&self, prefix: &Prefix) -> Total {
        let (start, end) = self.range(prefix);
        Total { rooms: end - start, members: self.members_before(end) - self.members_before(start) }
    }

    /// The total of `room` alone.
    pub fn one(&self, room: &Name) -> Total {
        let found = self.rooms.binary_search_by(|listed| listed.room.cmp(room)).ok();
        found.map(|at| Total { rooms: 1, members: u64::from(self.rooms[at].count) }).unwrap_or_default()
    }

    /// At most `limit` of the rooms that `prefix` and `selects` select, the largest first. They come after the room `after`,
    /// given with its count then.
    pub fn largest(
        &self,
        prefix: &Prefix,
        after: Option<(usize, &str)>,
        limit: usize,
        selects: impl Fn(&str) -> bool,
    ) -> Vec<(Name, usize)> {
        let (start, end) = self.range(prefix);
        let by_count = self.by_count.get_or_init(|| self.sorted());
        let is_before = |at: u32| {
            let Listed { room, count, .. } = &self.rooms[at as usize];
            after.is_some_and(|(size, name)| (*count as usize) > size || (*count as usize == size && &**room <= name))
        };
        let rest = &by_count[by_count.partition_point(|at| is_before(*at))..];
        let selected = rest.iter().map(|at| *at as usize).filter(|at| (start..end).contains(at));
        let selected = selected.filter(|at| selects(&self.rooms[*at].room));
        selected.take(limit).map(|at| (self.rooms[at].room.clone(), self.rooms[at].count as usize)).collect()
    }

    /// The positions of the rooms that `prefix` selects.
    fn range(&self, prefix: &Prefix) -> (usize, usize) {
        let start = self.rooms.partition_point(|listed| *listed.room < **prefix);
        (start, start + self.rooms[start..].partition_point(|listed| prefix.selects(&listed.room)))
    }

    fn sorted(&self) -> Vec<u32> {
        // A count and a position in one number, so that sorting needs no other memory.
        let key = |(at, listed): (usize, &Listed)| (u64::from(u32::MAX - listed.count) << 32) | at as u64;
        let mut keys: Vec<_> = self.rooms.iter().enumerate().map(key).collect();
        keys.sort_unstable();
        keys.into_iter().map(|key| key as u32).collect()
    }
}

/// Reads all rooms.
pub async fn read(directory: &Directory) -> Listing {
    let mut listing = Listing::default();
    let all = Prefix::all();
    loop {
        let after = listing.rooms.last().map(|listed| listed.room.clone());
        let rooms = directory.counts(&all, after.as_deref(), SLICE);
        let is_last = rooms.len() < SLICE;
        rooms.into_iter().for_each(|(room, count)| listing.push(room, count));
        if is_last {
            return listing;
        }
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(rooms: &[(&str, usize)]) -> Listing {
        let mut listing = Listing::default();
        rooms.iter().for_each(|(room, count)| listing.push(room.parse().unwrap(), *count));
        listing
    }

    fn prefix(text: &str) -> Prefix {
        Prefix::new("prefix", text).unwrap()
    }

    #[test]
    fn totals_are_of_the_rooms_that_a_prefix_selects() {
        let listing = listing(&[("a", 1), ("ab", 20), ("abc", 300), ("b", 4_000)]);
        for (text, rooms, members) in [("", 4, 4_321), ("a", 3, 321), ("ab", 2, 320), ("b", 1, 4_000), ("c", 0, 0)] {
            assert_eq!(listing.total(&prefix(text)), Total { rooms, members }, "{text}");
        }
        for (room, rooms, members) in [("ab", 1, 20), ("c", 0, 0)] {
            assert_eq!(listing.one(&room.parse().unwrap()), Total { rooms, members }, "{room}");
        }
        assert_eq!(Listing::default().total(&prefix("")), Total { rooms: 0, members: 0 });
    }

    #[test]
    fn the_largest_come_first_in_pages_that_overlap_nowhere() {
        let mut rng = fastrand::Rng::with_seed(14);
        let mut rooms: Vec<_> = (0..500).map(|n| (format!("{}-{n:03}", n % 2), rng.usize(..20))).collect();
        rooms.sort();
        let listing = listing(&rooms.iter().map(|(room, count)| (room.as_str(), *count)).collect::<Vec<_>>());
        rooms.sort_by_key(|(room, count)| (usize::MAX - count, room.clone()));
        for text in ["", "1-", "nobody"] {
            let (prefix, mut found) = (prefix(text), Vec::<(String, usize)>::new());
            loop {
                let after = found.last().map(|(room, count)| (*count, room.as_str()));
                let page = listing.largest(&prefix, after, 7, |room| !room.ends_with('7'));
                let is_last = page.len() < 7;
                found.extend(page.into_iter().map(|(room, count)| (room.to_string(), count)));
                if is_last {
                    break;
                }
            }
            let selected = rooms.iter().filter(|(room, _)| room.starts_with(text) && !room.ends_with('7'));
            assert!(found.iter().eq(selected), "{text}");
        }
    }
}

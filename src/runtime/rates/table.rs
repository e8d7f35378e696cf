//! The table: the buckets of all addresses, in a fixed amount of memory.

use std::sync::Arc;

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

/// Groups of buckets: 1.1 MiB with [`SLOTS`] buckets each.
const GROUPS: usize = 8_192;

/// The buckets of a group.
const SLOTS: usize = 8;

/// A bucket's key: a hash of the address and the kind of work, by a random function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub u64);

/// A bucket: the key, and the time at which the bucket is full again. A time of 0 is free.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    full_at: u64,
}

/// The buckets. A new one takes the place of the bucket in its group that is full first: a full bucket is as good as none,
/// and a client that is held to its rate has the least full one, so that no crowd of new addresses pushes it out.
#[derive(Clone, Debug)]
pub struct Table(Arc<[Mutex<[Slot; SLOTS]>]>);

impl Table {
    /// A table without buckets: each is full.
    pub fn new() -> Self {
        Table((0..GROUPS).map(|_| Mutex::default()).collect())
    }
}

impl StateStore for Table {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // The remainder is below the number of groups.
        let mut group = self.0[(key.0 % GROUPS as u64) as usize].lock();
        let found = group.iter_mut().find(|slot| slot.key == key.0 && slot.full_at != 0);
        let (measured, full_at) = measure(found.as_ref().map(|slot| slot.full_at.into()))?;
        let slot = match found {
            Some(slot) => Some(slot),
            None => group.iter_mut().min_by_key(|slot| slot.full_at),
        };
        if let Some(slot) = slot {
            *slot = Slot { key: key.0, full_at: full_at.as_u64() };
        }
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &Table, key: u64, full_at: u64) -> Option<u64> {
        let put = |old: Option<Nanos>| Ok::<_, ()>((old.map(Nanos::as_u64), full_at.into()));
        table.measure_and_replace(&Key(key), put).unwrap()
    }

    #[test]
    fn the_bucket_that_is_full_first_gives_way() {
        let (table, groups) = (Table::new(), GROUPS as u64);
        (1..=8).for_each(|n| assert_eq!(put(&table, n * groups, 100 * n), None));
        assert_eq!(put(&table, groups, 850), Some(100), "the first bucket is used again");
        assert_eq!(put(&table, 9 * groups, 900), None);
        assert_eq!(put(&table, groups, 850), Some(850), "the second bucket gave way");
        assert_eq!(put(&table, 2 * groups, 950), None);
        assert_eq!(put(&table, 8 * groups, 800), Some(800));
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let table = Table::new();
        put(&table, 7, 100);
        assert_eq!(table.measure_and_replace(&Key(7), |_| Err::<((), Nanos), _>("refused")), Err("refused"));
        assert_eq!(put(&table, 7, 200), Some(100));
    }
}

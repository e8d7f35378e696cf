use super::*;

/// A made-up resident set.
#[derive(Clone, Debug, Default)]
pub struct MadeUp(pub Arc<AtomicU64>);

impl Resident for MadeUp {
    fn bytes(&self) -> Option<u64> {
        Some(self.0.load(Relaxed))
    }
}

#[test]
fn the_level_follows_the_resident_set_up_and_down() {
    let resident = MadeUp::default();
    let memory = Memory::new(1_000, Box::new(resident.clone()));
    for (used, level) in [
        (0, Level::Normal),
        (699, Level::Normal),
        (700, Level::History),
        (800, Level::Snapshots),
        (899, Level::Snapshots),
        (900, Level::Refuse),
        (999, Level::Refuse),
        (1_000, Level::Full),
        (90_000, Level::Full),
        (10, Level::Normal),
    ] {
        resident.0.store(used, Relaxed);
        assert_eq!((memory.look(), memory.level()), (level, level), "{used}");
        assert_eq!(memory.refuses_at(Level::Refuse).is_err(), used >= 900, "{used}");
    }
}

#[test]
fn much_growth_is_noticed_between_two_readings() {
    let resident = MadeUp::default();
    let memory = Memory::new(64_000, Box::new(resident.clone()));
    resident.0.store(60_000, Relaxed);
    memory.grew(999);
    assert_eq!(memory.level(), Level::Normal);
    memory.grew(2);
    assert_eq!(memory.level(), Level::Refuse);
}

#[test]
fn history_is_too_much_beyond_its_share_or_when_the_process_takes_too_much() {
    let resident = MadeUp::default();
    let memory = Memory::new(1_000, Box::new(resident.clone()));
    memory.recount(Kind::Histories, 0, 200);
    assert_eq!(memory.too_much_history(), 0);
    memory.recount(Kind::Histories, 200, 300);
    assert_eq!(memory.too_much_history(), 50);
    resident.0.store(790, Relaxed);
    assert_eq!(memory.too_much_history(), 90);
    resident.0.store(5_000, Relaxed);
    assert_eq!(memory.too_much_history(), 300, "all there is");
}

#[test]
fn held_bytes_are_counted_until_they_are_dropped() {
    const MIB: u64 = 1 << 20;
    let memory = Arc::new(Memory::new(128 * MIB, Box::new(MadeUp::default())));
    let most = MIB as usize;
    assert_eq!(memory.list_bytes(most, 1), Ok(most));
    let mut held = memory.hold(Kind::Messages, 3 * MIB);
    held.grow(5 * MIB);
    assert_eq!((memory.held(Kind::Messages), memory.list_bytes(most, 1)), (8 * MIB, Ok(most / 2)));
    held.grow(8 * MIB);
    assert_eq!(memory.list_bytes(most, 1).unwrap_err().code, Code::TooMuchMemory);
    held.shrink(16 * MIB);
    assert_eq!(memory.held(Kind::Messages), 0);
    held.grow(MIB);
    drop(held);
    assert_eq!((memory.held(Kind::Messages), memory.held(Kind::Snapshots)), (0, 0));
}

#[test]
fn large_messages_are_fewer_and_shorter_the_more_there_are_and_the_shorter_memory_is() {
    const MIB: usize = 1 << 20;
    let resident = MadeUp::default();
    let memory = Arc::new(Memory::new(64 << 20, Box::new(resident.clone())));
    assert_eq!((memory.body_bytes(), memory.list_bytes(MIB, MIB / 32)), (2 * MIB, Ok(MIB / 2)));
    assert_eq!(memory.connections().most, 1_024);
    let half = memory.hold(Kind::Messages, 4 << 20);
    assert_eq!((memory.body_bytes(), memory.list_bytes(MIB, MIB / 32)), (MIB, Ok(MIB / 4)));
    let all = memory.hold(Kind::Messages, 8 << 20);
    assert_eq!((memory.body_bytes(), memory.list_bytes(MIB, MIB / 32).is_err()), (SMALL_BODY, true));
    drop((half, all));
    resident.0.store(58 << 20, Relaxed);
    memory.look();
    assert_eq!((memory.body_bytes(), memory.list_bytes(MIB, MIB / 32)), (MIB / 2, Ok(MIB / 32)));
    assert_eq!(memory.connections().most, 512);
}

#[test]
fn amounts_are_bytes_or_shares() {
    let of = |text: &str| text.parse::<Amount>().map(|amount| amount.of(1_000));
    assert_eq!(of("128MiB"), Ok(128 << 20));
    assert_eq!(of("2 GiB"), Ok(2 << 30));
    assert_eq!(of("60%"), Ok(600));
    for bad in ["", "128", "MiB", "128MB", "0%", "101%", "-1GiB", "99999999999TiB", "1.5GiB"] {
        assert!(of(bad).is_err(), "{bad:?}");
    }
}

use fastrand::Rng;

use super::*;
use crate::journal::fold::Memory;
use crate::journal::fold::restore::Restore;
use crate::journal::made_up;
use crate::model::history::Bound;
use crate::model::identity::Identity;
use crate::model::info::Info;
use crate::model::meta::Meta;
use crate::model::moment::Timestamp;
use crate::mutants::Mutants;

const MEMORY: Memory = Memory { history: Bound { events: 20, bytes: usize::MAX }, bytes: usize::MAX };

/// A room of some plain members.
fn room(name: &str, members: u64) -> Piece {
    let mut roster = Roster::default();
    for n in 0..members {
        let user = format!("user-{n:07}").parse().unwrap();
        let (meta, info) = (Meta::default(), Info::default());
        assert!(roster.append(Arc::new(Member { user, meta, info, joined: Timestamp(n) }), None));
    }
    let place = Place { restart: Some(Offset(8)), time: Some(Tick(5)) };
    Piece::Room(Captured { room: name.parse().unwrap(), last: Offset(7), place, applied: Position(9), roster })
}

fn restore(parts: &[Vec<u8>]) -> Result<Vec<(Name, usize)>, Unreadable> {
    let mut restore = Restore::new(Identity::default(), MEMORY);
    parts.iter().try_for_each(|part| restore.part(part))?;
    let rooms = restore.done()?.into_state().rooms;
    let mut counts: Vec<_> = rooms.into_iter().map(|(name, room)| (name, room.roster().len())).collect();
    counts.sort();
    Ok(counts)
}

#[test]
fn parts_have_a_bound_and_a_large_room_spans_several() {
    let pieces = [room("a", 3), room("b", 50_000), room("c", 0), room("d", 30_000)];
    let parts: Vec<_> = Parts::of(Header::default(), pieces).collect();
    let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
    assert!(sizes.len() > 5 && sizes.iter().rev().skip(1).all(|size| (PART..PART + 100).contains(size)), "{sizes:?}");
    let counts: Vec<_> = restore(&parts).unwrap().into_iter().map(|(name, count)| (name.to_string(), count)).collect();
    assert_eq!(counts, [("a", 3), ("b", 50_000), ("c", 0), ("d", 30_000)].map(|(name, count)| (name.into(), count)));
}

/// Checksums find damage; parts that are whole and do not belong together are found here.
#[test]
fn parts_that_are_missing_or_out_of_place_are_told() {
    let parts: Vec<_> = Parts::of(Header::default(), [room("a", 60_000), room("b", 3)]).collect();
    let told = |parts: &[Vec<u8>]| restore(parts).unwrap_err().to_string();
    assert!(parts.len() > 3);
    assert_eq!(told(&[]), "the checkpoint has no end");
    assert_eq!(told(&parts[..parts.len() - 1]), "the checkpoint has no end");
    assert_eq!(told(&parts[1..]), "the checkpoint does not begin with its header and end with its counts");
    let twice = [&parts[..], &parts[parts.len() - 1..]].concat();
    assert_eq!(told(&twice), "the checkpoint does not begin with its header and end with its counts");
    let hole = [&parts[..1], &parts[2..]].concat();
    assert_eq!(told(&hole), "the checkpoint has other numbers of rooms and members than it says");
    let mut swapped = parts;
    swapped.swap(1, 2);
    assert_eq!(told(&swapped), "the checkpoint has members out of order");
    let twice = Parts::of(Header::default(), [room("a", 1), room("a", 1)]).collect::<Vec<_>>();
    assert_eq!(told(&twice), "the checkpoint has a room twice");
}

#[test]
fn mutants_of_parts_are_read_or_unreadable() {
    let mut rng = Rng::with_seed(19);
    let mut items = |n: usize| {
        let header = Header { at: Position(5), ..Header::default() };
        let cookies =
            (0..n).map(|_| (made_up::secret(&mut rng), made_up::pass(&mut rng), Tick(rng.u64(..9)))).collect();
        let revoked = (0..n).map(|_| (made_up::revoked(&mut rng), rng.u64(..9), rng.u64(..))).collect();
        let until = Position(rng.u64(..));
        let absent = Piece::Absent { room: made_up::room(&mut rng), until };
        let pieces = [room("a", 3), Piece::Cookies { until, all: cookies }, Piece::Revocations { until, all: revoked }];
        Parts::of(header, pieces.into_iter().chain([absent])).collect::<Vec<_>>().concat()
    };
    let parts: Vec<_> = (0..20).map(&mut items).collect();
    assert!(parts.iter().all(|part| restore(std::slice::from_ref(part)).is_ok()));
    for mutant in Mutants::of(parts, 50_000) {
        let _ = restore(&[mutant]);
    }
}

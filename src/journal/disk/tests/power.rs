//! The power goes at any operation.

use super::*;

/// A random step of a journal's life.
fn step(life: &mut Life, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..20) {
        0..10 => life.append(rng.u64(1..4), rng.u32(1..4)),
        10..15 => life.flush(),
        15..17 => life.note(),
        17 => life.turn(),
        18 => life.begin_anew(rng.u64(..3)),
        _ => life.checkpoint(rng.u64(..3)),
    }
}

/// Lives until the power goes at operation `cut`, if it ever does. What was flushed, and what was made at all.
fn live(store: &Pretended, rng: &mut Rng, cut: u64, steps: usize) -> (usize, u64, Option<Identity>, bool) {
    store.power_ends_at(cut);
    let begun = open(store).map(|(_, state, _)| state.numbers.len());
    let before = begun.unwrap_or_else(|error| panic!("after a power cut: {error}"));
    let Ok(mut life) = Life::begin(store) else { return (before, before as u64, None, true) };
    let went = (0..steps).any(|_| step(&mut life, rng).is_err());
    (life.flushed, life.state.numbers.len() as u64, Some(life.identity), went)
}

#[test]
fn a_power_cut_loses_nothing_that_was_flushed_and_leaves_no_gap() {
    for seed in 0..4 {
        for cut in 0.. {
            let mut rng = Rng::with_seed(seed);
            let mut fate = Rng::with_seed(seed << 32 | cut);
            let (mut store, mut identity, mut ran) = (Pretended::default(), None, false);
            for life in 0..3 {
                let at = if life == 0 { cut } else { fate.u64(..200) };
                let (flushed, made, named, went) = live(&store, &mut rng, at, 40);
                assert!(identity.is_none() || named.is_none() || identity == named, "seed {seed} cut {cut}");
                // A name counts from the first life on that was started.
                identity = identity.or(named);
                ran |= went && life == 0;
                store = store.after_power_cut(&mut fate);
                let read = open(&store).map(|(_, state, _)| state);
                let state = read.unwrap_or_else(|error| panic!("seed {seed} cut {cut} life {life}: {error}"));
                let numbers = state.numbers.len();
                assert!(in_order(&state.numbers), "seed {seed} cut {cut} life {life}: {:?}", state.numbers);
                assert!(
                    numbers >= flushed,
                    "seed {seed} cut {cut} life {life}: {numbers} of {flushed} that were flushed"
                );
                assert!(numbers as u64 <= made, "seed {seed} cut {cut} life {life}");
            }
            if !ran {
                break;
            }
        }
    }
}

#[test]
fn a_kill_loses_nothing_that_was_handed_over() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let store = Pretended::default();
        let mut before = 0;
        for _ in 0..4 {
            let mut life = Life::begin(&store).unwrap();
            assert_eq!(life.state.numbers.len(), before, "seed {seed}");
            (0..rng.usize(..30)).for_each(|_| step(&mut life, &mut rng).unwrap());
            before = life.state.numbers.len();
        }
    }
}

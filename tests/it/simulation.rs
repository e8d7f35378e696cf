//! Many machines fold one log: worlds of nodes, clients and readers, and all that goes wrong, from seeds.
//!
//! `PRESENTLY_SEEDS=4000 cargo test --release --test it simulation` runs as many seeds of each mode, `PRESENTLY_SEEDS=17..18` one.

mod clients;
mod engine;
mod readers;
mod truth;
pub mod world;

use std::ops::Range;

use presently::cluster::node::Faults;

/// What goes wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Calm,
    /// Nodes crash, sleep and are cut off; the log is away now and then.
    Chaos,
    /// The log is away, for half a minute at most.
    Outage,
    /// One node sleeps or is cut off at a time, for less than a node may be silent.
    Blip,
    /// The log forgets its last entries.
    Failover,
    /// As in chaos, and the log forgets its last entries, or all.
    Loss,
}

impl Mode {
    /// Whether no node may be taken for lost, since none is.
    fn is_strict(self) -> bool {
        match self {
            Mode::Calm | Mode::Outage | Mode::Blip | Mode::Failover => true,
            Mode::Chaos | Mode::Loss => false,
        }
    }

    /// Whether nodes are silent for long enough to be suspect.
    fn silences(self) -> bool {
        match self {
            Mode::Chaos | Mode::Outage | Mode::Blip | Mode::Loss => true,
            Mode::Calm | Mode::Failover => false,
        }
    }

    /// Whether the log forgets.
    fn forgets(self) -> bool {
        match self {
            Mode::Failover | Mode::Loss => true,
            Mode::Calm | Mode::Chaos | Mode::Outage | Mode::Blip => false,
        }
    }
}

/// The seeds of one mode.
fn seeds(few: u64) -> Range<u64> {
    let text = std::env::var("PRESENTLY_SEEDS").unwrap_or_default();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("PRESENTLY_SEEDS is {text:?}, no number"));
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None if text.is_empty() => 0..few,
        None => 0..number(&text),
    }
}

/// Runs the worlds of one mode.
fn run(mode: Mode) {
    let (mut failed, mut suspects) = (Vec::new(), 0);
    for seed in seeds(30) {
        match world::run(seed, mode, Faults::default()) {
            Ok(tally) => suspects += tally.suspects,
            Err(what) => failed.push(what),
        }
    }
    assert!(failed.is_empty(), "{} worlds went wrong:\n{}", failed.len(), failed.join("\n"));
    assert!(suspects > 0 || !mode.silences(), "no event tells readers who is suspect");
}

#[test]
fn a_calm_cluster_is_one_gateway() {
    run(Mode::Calm);
}

#[test]
fn nodes_crash_and_are_cut_off_and_all_ends_well() {
    run(Mode::Chaos);
}

#[test]
fn nobody_leaves_while_the_log_is_away() {
    run(Mode::Outage);
}

#[test]
fn nobody_leaves_while_a_node_sleeps_for_a_little() {
    run(Mode::Blip);
}

#[test]
fn a_log_that_forgets_its_last_entries_loses_no_answered_sign_in() {
    run(Mode::Failover);
}

#[test]
fn a_log_that_forgets_everything_is_filled_again() {
    run(Mode::Loss);
}

/// A simulation that no mistake fails would show nothing.
#[test]
fn mistakes_in_the_protocol_are_found() {
    let none = Faults::default();
    // Each with a seed just before one that finds it, to save time.
    for (faults, mode, first) in [
        (Faults { local_time: true, ..none }, Mode::Outage, 30),
        (Faults { any_number: true, ..none }, Mode::Blip, 0),
        (Faults { no_hash: true, ..none }, Mode::Failover, 100),
        (Faults { no_reconcile: true, ..none }, Mode::Loss, 95),
    ] {
        let found = (first..first + 60).any(|seed| world::run(seed, mode, faults).is_err());
        assert!(found, "no world went wrong with {faults:?}");
    }
}

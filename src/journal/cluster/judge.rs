//! Judging others: who is silent, and who is lost, by the time of the log.
//!
//! The time of the log goes on with each own batch that comes back, by a little more than a beat at most. So time in which the log
//! is away, or this node is paused, counts against nobody.

use std::collections::BTreeMap;

use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::roll::{Roll, Standing};
use crate::journal::cluster::timing::{BEAT, PER_ECHO, SILENT};

/// What one node knows of the silence of others.
#[derive(Debug, Default)]
pub struct Judge {
    /// The time of the log, in milliseconds, as this node counts it.
    clock: u64,
    /// When each incarnation was heard last, or noticed first.
    heard: BTreeMap<Incarnation, u64>,
    /// For each silent incarnation: the position since which, and when that was noticed, or told last.
    silent: BTreeMap<Incarnation, (u64, u64)>,
}

impl Judge {
    /// The time of the log, in milliseconds.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// An own batch came back, `since` milliseconds after the one before. `by_local_time` is a fault.
    pub fn echoed(&mut self, since: u64, by_local_time: bool) {
        self.clock += if by_local_time { since } else { since.min(PER_ECHO) };
    }

    /// A batch of `who` counted.
    pub fn hear(&mut self, who: Incarnation) {
        self.heard.insert(who, self.clock);
    }

    /// Begins anew, as all others are unknown to a new incarnation.
    pub fn clear(&mut self) {
        self.heard.clear();
        self.silent.clear();
    }

    /// What is to be told of others: a suspect that is not heard for `grace` milliseconds is lost. Told again now and then, since a
    /// record may have come too late.
    pub fn judge(&mut self, roll: &Roll, grace: u64, me: Incarnation) -> Vec<Record> {
        let mut records = Vec::new();
        for (who, life) in roll.lives.iter().filter(|(who, _)| **who != me) {
            let heard = *self.heard.entry(*who).or_insert(self.clock);
            match life.standing {
                Standing::Live => {
                    self.silent.remove(who);
                    if self.clock - heard > SILENT {
                        self.heard.insert(*who, self.clock - SILENT / 2);
                        records.push(Record::Suspect { who: *who, next: life.next });
                    }
                }
                Standing::Suspect(since) | Standing::Down(since) => {
                    let (position, from) = *self.silent.entry(*who).or_insert((since, self.clock));
                    if position != since {
                        self.silent.insert(*who, (since, self.clock));
                    } else if self.clock - from > grace {
                        self.silent.insert(*who, (since, (self.clock + BEAT).saturating_sub(grace)));
                        records.push(Record::Reap { who: *who, since });
                    }
                }
                // Ends with the later incarnation.
                Standing::Replaced(_) => {}
            }
        }
        self.heard.retain(|who, _| roll.lives.contains_key(who));
        self.silent.retain(|who, _| roll.lives.contains_key(who));
        records
    }
}

//! What all watchers together saw: one order of events.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::crowd::Names;
use super::watcher::Watcher;

/// The events that any watcher saw, by cursor.
pub struct Verdict {
    events: BTreeMap<u64, Value>,
}

/// What was seen of some users.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub add: Vec<String>,
    /// With the reason.
    pub del: Vec<(String, String)>,
}

impl Verdict {
    /// Checks that each event is the same for all watchers, and that none missed an event but by a snapshot or `changes` over it.
    pub fn of(watchers: &[Watcher]) -> Self {
        let mut events: BTreeMap<u64, (Value, &str)> = BTreeMap::new();
        for watcher in watchers {
            for (place, (event, _)) in &watcher.seen.borrow().events {
                let (first, who) = events.entry(*place).or_insert_with(|| (event.clone(), &watcher.name));
                assert_eq!(event, first, "{} and {who}", watcher.name);
                assert!(event.get("suspect").is_none(), "{} did not ask: {event}", watcher.name);
            }
        }
        for watcher in watchers {
            let seen = watcher.seen.borrow();
            let jumped = |place: u64| seen.jumps.iter().any(|(from, to)| *from < place && place <= *to);
            let mut missed = String::new();
            for (place, (event, who)) in events.range(..=seen.place()) {
                if !seen.events.contains_key(place) && !jumped(*place) {
                    let _ = writeln!(missed, "{event}, seen by {who}");
                }
            }
            assert!(missed.is_empty(), "{} missed {missed}", watcher.name);
        }
        Verdict { events: events.into_iter().map(|(place, (event, _))| (place, event)).collect() }
    }

    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// All that was seen of a user, in order.
    pub fn story(&self, user: &str) -> String {
        let own = self.events.values().filter(|event| event["user"] == user);
        own.map(|event| format!("\n  {event}")).collect()
    }

    /// Who of these came and went, in order.
    pub fn moves(&self, names: &Names) -> Moves {
        let mut moves = Moves::default();
        for event in self.events.values() {
            let user = event["user"].as_str().expect("a user").to_owned();
            if !names.contains(&user) {
                continue;
            }
            match event["action"].as_str().expect("an action") {
                "add" => moves.add.push(user),
                "del" => moves.del.push((user, event["reason"].as_str().expect("a reason").to_owned())),
                "update" => {}
                other => panic!("no event: {other}"),
            }
        }
        moves
    }
}

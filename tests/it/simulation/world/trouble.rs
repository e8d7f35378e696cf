//! What people do in a world, and what goes wrong.

use super::*;

impl World {
    pub(super) fn someone_acts(&mut self) {
        let (now, seat) = (self.now, self.rng.usize(..self.seats.len()));
        let moment = self.moment(seat);
        let Some(node) = &mut self.seats[seat].node else { return };
        if node.is_stale(moment) {
            return;
        }
        match self.rng.u8(..14) {
            0..=3 => self.tabs.connect(node, seat, now, &mut self.rng),
            4 | 5 => {
                if self.tabs.open.len() > 20
                    && let Some((id, tab)) = self.tabs.any(&mut self.rng)
                {
                    self.tabs.close(self.seats[tab.seat].node.as_mut(), id, &mut self.rng);
                }
            }
            6 | 7 => {
                if let Some((id, tab)) = self.tabs.any(&mut self.rng)
                    && let Some(node) = &mut self.seats[tab.seat].node
                {
                    self.tabs.say(node, id, &mut self.rng);
                }
            }
            8 => {
                // A client comes back on another node, whose old connection is lost.
                if let Some((id, tab)) = self.tabs.any(&mut self.rng)
                    && tab.client.is_some()
                    && tab.seat != seat
                {
                    self.tabs.open.remove(&id);
                    self.tabs.open(node, seat, tab.key.clone(), tab.client, now, &mut self.rng);
                    if let Some(old) = &mut self.seats[tab.seat].node {
                        old.lose(&tab.key, id, 0);
                    }
                }
            }
            _ => {
                let record = clients::request(node, moment, &mut self.tickets, &mut self.rng);
                let asked = node.ask(record.clone());
                self.truth.asked(now, seat, record, &asked);
            }
        }
    }

    pub(super) fn something_happens(&mut self) {
        match self.mode {
            Mode::Calm => {}
            // In some worlds, the log comes and goes.
            Mode::Outage if self.flickers => self.outage(8, 6_000),
            Mode::Outage => self.outage(200, 30_000),
            Mode::Blip => self.blips(),
            Mode::Failover => {
                if self.now > self.lost_at + 25_000 && self.rng.u32(..100) == 0 {
                    // Sometimes nobody has the time to see that the log is shorter.
                    self.engine.up = self.rng.bool();
                    self.forget_some(if self.engine.up { 4 } else { 12 });
                    self.engine_back = self.now + self.rng.u64(50..8_000);
                }
                self.engine.up |= self.now > self.engine_back;
            }
            Mode::Chaos | Mode::Loss => self.chaos(),
        }
    }

    fn outage(&mut self, rarely: u32, longest: u64) {
        if self.engine.up && self.rng.u32(..rarely) == 0 {
            self.engine.up = false;
            self.engine_back = self.now + self.rng.u64(500..longest);
        }
        self.engine.up |= self.now > self.engine_back;
    }

    fn blips(&mut self) {
        for seat in &mut self.seats {
            if self.now <= seat.back {
                continue;
            }
            (seat.cut, seat.asleep) = (false, false);
            if self.now > seat.back + 4_000 && self.rng.u32(..300) == 0 {
                if self.rng.bool() {
                    seat.cut = true
                } else {
                    seat.asleep = true
                }
                seat.back = self.now + self.rng.u64(500..4_500);
            }
        }
    }

    fn chaos(&mut self) {
        let seat = self.rng.usize(..self.seats.len());
        let loses = self.mode.forgets() && self.now > self.lost_at + 25_000;
        match self.rng.u32(..1_000) {
            0..=2 => {
                self.crash(seat);
                // A node that starts without the log begins with its own snapshot.
                self.engine.up &= self.keeping.u8(..3) > 0;
            }
            3..=7 => self.seats[seat].cut = true,
            8..=18 => self.seats[seat].cut = false,
            19 => self.engine.up = false,
            20..=29 => self.engine.up = true,
            30 | 31 => self.seats[seat].asleep = true,
            32..=45 => self.seats[seat].asleep = false,
            46..=48 if loses => {
                self.forget_some(12);
                if self.rng.bool() {
                    // The machine of the log had a node, too.
                    self.crash(seat);
                }
            }
            49 if loses => {
                self.engine = Engine::new(self.engine.journal.as_u128() + 1);
                self.fly.clear();
                // Who had not read all may restore what it knows before others do.
                self.truth.nothing |= self.seats.iter().any(|seat| seat.troubled + 15_000 > self.now);
                self.lose(true);
            }
            _ => {}
        }
        let (cut, asleep) = (self.seats[seat].cut, self.seats[seat].asleep);
        if cut || asleep {
            self.seats[seat].troubled = self.now;
        }
    }

    fn forget_some(&mut self, most: usize) {
        let entries = self.rng.usize(1..most).min(self.engine.len().saturating_sub(1));
        self.engine.forget(entries);
        self.lose(false);
    }

    fn lose(&mut self, all: bool) {
        (self.lost_at, self.engine_troubled) = (self.now, self.now);
        self.truth.lost(self.now, all, self.engine.last());
        self.tally.losses += 1;
    }

    /// Its clients go, some of them to another node.
    fn crash(&mut self, seat: usize) {
        if self.seats[seat].node.take().is_none() {
            return;
        }
        self.truth.crashed(self.now, seat);
        for reader in self.readers.iter_mut().filter(|reader| reader.seat == seat) {
            *reader = Reader::new(seat, reader.room.clone());
        }
        self.seats[seat].troubled = self.now;
        let gone: Vec<_> = self.tabs.open.iter().filter(|(_, tab)| tab.seat == seat).map(|(id, _)| *id).collect();
        for id in gone {
            let Some(tab) = self.tabs.open.remove(&id) else { continue };
            let (to, now) = (self.rng.usize(..self.seats.len()), self.now);
            let moment = self.moment(to);
            if let Some(node) = &mut self.seats[to].node
                && !node.is_stale(moment)
            {
                self.tabs.open(node, to, tab.key, tab.client, now, &mut self.rng);
            }
        }
    }

    pub(super) fn restart_crashed(&mut self) {
        for seat in 0..self.seats.len() {
            let comes = self.now >= START + TROUBLE || self.rng.u8(..40) == 0;
            if self.seats[seat].node.is_none() && comes {
                self.start(seat);
            }
        }
    }
}

//! Pings: when an answer is due.
//!
//! The system of a stopped process acknowledges bytes, and only a missing answer shows the stop. A slow link looks the same at
//! first. So an answer has more time where the bytes before the ping need time, and where the last answer was late.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::moment::Tick;

/// Stands for the time of a ping while the gateway itself does not read: a client is not lost for that.
const UNREAD: u64 = u64::MAX;

/// The longest lag that counts, in milliseconds.
const MAX_LAG: u32 = 60_000;

/// The unit in which a link keeps its time, in milliseconds. The clock then wraps every 17 minutes, and a keep-alive comes sooner.
const UNIT: u32 = 16;

/// A lag above which an answer shows the speed of a link, in milliseconds.
const TELLING: u32 = 1_000;

/// How many answers, each a multiple sooner than expected, count.
const MAX_SPEED: u8 = 10;

/// The times within which an answer is due.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Behind an idle link.
    pub least: Duration,
    /// In any case.
    pub most: Duration,
}

/// The unanswered ping of one connection.
#[derive(Debug, Default)]
pub struct Pings {
    /// When the first unanswered ping was sent, as a [`Tick`]; 0 when all pings are answered, [`UNREAD`] while no answers are
    /// read.
    sent: AtomicU64,
    /// How long the bytes before that ping may need, in milliseconds.
    lag: AtomicU32,
    /// How long the last answer took, in milliseconds.
    took: AtomicU32,
}

impl Pings {
    /// Notes a ping. An earlier ping without an answer counts in its place.
    pub fn send(&self, now: Tick, link: &mut Link, at: u32) {
        if self.sent.load(Relaxed) == 0 {
            link.learn(self.lag.load(Relaxed), self.took.load(Relaxed), at);
            self.lag.store(link.lag(at), Relaxed);
            let _ = self.sent.compare_exchange(0, now.0.max(1), Relaxed, Relaxed);
        }
    }

    /// Notes bytes of the client, which answer all pings.
    pub fn answered(&self, now: impl FnOnce() -> Tick) {
        let sent = self.sent.load(Relaxed);
        if sent == 0 {
            return;
        }
        self.sent.store(0, Relaxed);
        if sent != UNREAD {
            let took = now().0.saturating_sub(sent);
            self.took.store(u32::try_from(took).unwrap_or(MAX_LAG).min(MAX_LAG), Relaxed);
        }
    }

    /// Excuses the client from an answer, because it takes bytes.
    pub fn excuse(&self) {
        let _ = self.sent.fetch_update(Relaxed, Relaxed, |sent| (sent != UNREAD).then_some(0));
    }

    /// Notes whether answers are read from now on.
    pub fn reads(&self, reads: bool) {
        self.sent.store(if reads { 0 } else { UNREAD }, Relaxed);
    }

    /// Whether answers are read.
    pub fn are_read(&self) -> bool {
        self.sent.load(Relaxed) != UNREAD
    }

    /// When the ping was sent whose answer is overdue at `now`.
    pub fn overdue(&self, now: Tick, terms: Terms) -> Option<Tick> {
        let sent = self.sent.load(Relaxed);
        if [0, UNREAD].contains(&sent) {
            return None;
        }
        let [lag, took] = [&self.lag, &self.took].map(|ms| Duration::from_millis(ms.load(Relaxed).into()));
        let within = (terms.least + lag).max(3 * took).min(terms.most);
        (now >= Tick(sent) + within).then_some(Tick(sent))
    }
}

/// The way to a client, as if it carried 1 KiB a second at first. Where answers come sooner than that allows, it carries more.
///
/// Of three bytes, since each delivery reads and writes them.
#[derive(Debug, Default)]
pub struct Link {
    /// When the bytes so far have arrived, in units of a clock that wraps.
    free_at: [u8; 2],
    /// The power of two by which the link is faster than at first.
    speed: u8,
}

impl Link {
    /// A link without bytes under way at `now`, in milliseconds of a clock that wraps.
    pub fn new(now: u32) -> Self {
        let mut link = Link::default();
        link.set(now, 0);
        link
    }

    /// Notes bytes that were written at `now`.
    pub fn carry(&mut self, now: u32, bytes: usize) {
        // A byte in a millisecond is about 1 KiB in a second. A quarter more, since links have headers and pauses.
        let more = u32::try_from(bytes.saturating_add(bytes / 4) >> self.speed).unwrap_or(MAX_LAG);
        self.set(now, self.lag(now).saturating_add(more).min(MAX_LAG));
    }

    fn set(&mut self, now: u32, lag: u32) {
        self.free_at = ((now / UNIT) as u16).wrapping_add(lag.div_ceil(UNIT) as u16).to_le_bytes();
    }

    /// The time until the bytes so far have arrived, in milliseconds.
    fn lag(&self, now: u32) -> u32 {
        let units = u16::from_le_bytes(self.free_at).wrapping_sub((now / UNIT) as u16);
        Some(u32::from(units) * UNIT).filter(|lag| *lag <= MAX_LAG + UNIT).unwrap_or_default()
    }

    /// Learns at `now` from an answer that took so long to a ping behind bytes with this lag.
    fn learn(&mut self, lag: u32, took: u32, now: u32) {
        if lag > TELLING && took < lag / 4 && self.speed < MAX_SPEED {
            self.speed += 1;
            self.set(now, self.lag(now) / 2);
        } else if took > lag.max(TELLING) {
            self.speed = self.speed.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { least: Duration::from_secs(6), most: Duration::from_secs(15) };

    /// The milliseconds after which the answer to a ping of now is overdue.
    fn wait(pings: &Pings, now: u64) -> u64 {
        (0..).find(|wait| pings.overdue(Tick(now + wait), TERMS).is_some()).unwrap()
    }

    #[test]
    fn an_idle_client_has_the_least_time_and_any_byte_answers() {
        let pings = Pings::default();
        assert_eq!(pings.overdue(Tick(u64::MAX), TERMS), None, "no ping yet");
        pings.send(Tick(1_000), &mut Link::default(), 0);
        pings.send(Tick(2_000), &mut Link::default(), 0);
        assert_eq!(wait(&pings, 1_000), 6_000, "the first ping counts");
        assert_eq!(pings.overdue(Tick(7_000), TERMS), Some(Tick(1_000)));
        pings.answered(|| Tick(1_050));
        assert_eq!(pings.overdue(Tick(u64::MAX), TERMS), None);
    }

    #[test]
    fn while_the_gateway_does_not_read_no_client_is_overdue() {
        let pings = Pings::default();
        pings.reads(false);
        pings.send(Tick(1_000), &mut Link::default(), 0);
        pings.excuse();
        assert!(!pings.are_read() && pings.overdue(Tick(u64::MAX - 1), TERMS).is_none());
        pings.reads(true);
        pings.send(Tick(1_000), &mut Link::default(), 0);
        assert!(pings.overdue(Tick(7_000), TERMS).is_some());
        pings.excuse();
        assert!(pings.overdue(Tick(7_000), TERMS).is_none());
    }

    #[test]
    fn the_bytes_before_a_ping_have_a_second_for_each_kilobyte_and_then_are_gone() {
        // The clock wraps in between.
        let start = UNIT * 65_500;
        let (at, mut link) = (|later: u32| start.wrapping_add(later), Link::new(start));
        for (bytes, later, lag) in [(1_280, 0, 1_600), (640, 800, 1_600), (0, 2_384, 16), (0, 4_000, 0)] {
            link.carry(at(later), bytes);
            assert_eq!(link.lag(at(later)), lag, "{later}");
        }
        link.carry(at(4_000), 2_560);
        let pings = Pings::default();
        pings.send(Tick(1), &mut link, at(4_000));
        assert_eq!(wait(&pings, 1), 9_200);
        link.carry(at(4_000), usize::MAX);
        assert_eq!(link.lag(at(4_000)), MAX_LAG);
    }

    #[test]
    fn a_client_whose_last_answer_was_late_has_three_times_as_long() {
        let (pings, mut link) = (Pings::default(), Link::default());
        for (took, next) in [(100, 6_000), (4_000, 12_000), (5_500, 15_000), (100, 6_000)] {
            pings.send(Tick(1_000), &mut link, 0);
            pings.answered(|| Tick(1_000 + took));
            pings.send(Tick(11_000), &mut link, 0);
            assert_eq!(wait(&pings, 11_000), next, "{took}");
            pings.answered(|| Tick(11_000));
        }
    }

    #[test]
    fn a_busy_link_that_answers_soon_is_known_to_be_fast_and_one_that_slows_down_to_be_slow() {
        let (pings, mut link) = (Pings::default(), Link::default());
        let mut waits = Vec::new();
        for ping in 1..=16 {
            let now = ping * 10_000;
            link.carry(now as u32, 24_000);
            pings.send(Tick(now), &mut link, now as u32);
            waits.push(wait(&pings, now) / 100);
            pings.answered(|| Tick(now + if ping < 8 { 50 } else { 3_000 }));
        }
        assert_eq!(&waits[..7], [150, 150, 150, 122, 78, 69, 69]);
        assert!(waits[15] > 90, "{waits:?}");
    }
}

//! A progress bar on standard error; hidden if that is not a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use crate::bench::scoreboard::Scoreboard;

/// Time between two updates of the bar.
const PERIOD: Duration = Duration::from_millis(100);

/// In place of a number of arrivals: the current phase counts steps.
const STEPS: u64 = u64::MAX;

/// The progress of the current phase: in arrivals, which the bar reads from the scoreboard, or in steps.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    scoreboard: Arc<Scoreboard>,
    /// Arrivals before the current phase, or [`STEPS`].
    base: Arc<AtomicU64>,
    _updates: Option<AbortOnDropHandle<()>>,
}

impl Progress {
    /// Shows a bar.
    pub(super) fn show(scoreboard: Arc<Scoreboard>) -> Self {
        let bar = ProgressBar::new(0);
        // The template is a constant; without it the default bar would do.
        if let Ok(style) = ProgressStyle::with_template("{msg:<24} {wide_bar} {human_pos}/{human_len} {elapsed}") {
            bar.set_style(style);
        }
        let base = Arc::new(AtomicU64::new(STEPS));
        let updates = (!bar.is_hidden()).then(|| {
            let update = update(bar.clone(), scoreboard.clone(), base.clone());
            AbortOnDropHandle::new(tokio::spawn(update))
        });
        Progress { bar, scoreboard, base, _updates: updates }
    }

    /// Begins a phase in which `objects` JSON objects are to arrive.
    pub(super) fn expect_arrivals(&self, phase: &'static str, objects: u64) {
        self.expect_steps(phase, objects);
        self.base.store(self.scoreboard.arrivals(), Relaxed);
    }

    /// Begins a phase of so many steps.
    pub(super) fn expect_steps(&self, phase: &'static str, steps: u64) {
        self.base.store(STEPS, Relaxed);
        self.bar.set_message(phase);
        self.bar.set_length(steps);
        self.bar.set_position(0);
    }

    /// Counts steps that are done.
    pub(super) fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.base.store(STEPS, Relaxed);
        self.bar.finish_and_clear();
    }
}

/// Updates the bar for ever, in phases that count arrivals.
async fn update(bar: ProgressBar, scoreboard: Arc<Scoreboard>, base: Arc<AtomicU64>) {
    let mut ticks = interval(PERIOD);
    loop {
        ticks.tick().await;
        let base = base.load(Relaxed);
        if base != STEPS {
            bar.set_position(scoreboard.arrivals().saturating_sub(base));
        }
    }
}

//! A bar that shows how far a bench is, where somebody looks at a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use crate::bench::board::Board;

/// Often enough to look alive.
const PERIOD: Duration = Duration::from_millis(100);

/// Steps are counted by hand, not by what arrives.
const BY_HAND: u64 = u64::MAX;

/// A bar on standard error, hidden where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    board: Arc<Board>,
    /// Objects that had arrived when this part of the work began.
    base: Arc<AtomicU64>,
    _ticking: Option<AbortOnDropHandle<()>>,
}

impl Progress {
    /// A bar which shows what arrives.
    pub fn show(board: Arc<Board>) -> Self {
        let bar = ProgressBar::new(0);
        // The template is constant; were it wrong, the default bar would do.
        if let Ok(style) = ProgressStyle::with_template("{msg:<24} {wide_bar} {human_pos}/{human_len} {elapsed}") {
            bar.set_style(style);
        }
        let base = Arc::new(AtomicU64::new(BY_HAND));
        let ticking = (!bar.is_hidden()).then(|| {
            let (bar, board, base) = (bar.clone(), board.clone(), base.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut ticks = interval(PERIOD);
                loop {
                    ticks.tick().await;
                    let base = base.load(Relaxed);
                    if base != BY_HAND {
                        bar.set_position(board.objects().saturating_sub(base));
                    }
                }
            }))
        });
        Progress { bar, board, base, _ticking: ticking }
    }

    /// Begins a part of the work in which so many objects are to arrive.
    pub fn arrivals(&self, message: &'static str, objects: u64) {
        self.steps(message, objects);
        self.base.store(self.board.objects(), Relaxed);
    }

    /// Begins a part of the work of so many steps.
    pub fn steps(&self, message: &'static str, steps: u64) {
        self.base.store(BY_HAND, Relaxed);
        self.bar.set_message(message);
        self.bar.set_length(steps);
        self.bar.set_position(0);
    }

    /// So many steps are done.
    pub fn did(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.base.store(BY_HAND, Relaxed);
        self.bar.finish_and_clear();
    }
}

//! Payers: whose rates count for what is asked, and the refusals of those who are too fast.

use crate::model::refusal::{Code, Refusal};
use crate::runtime::rates::{Pace, Rates, Source, TooFast, Work};

/// The entries of a page that count as one snapshot.
const ENTRIES: usize = 1_000;

/// The snapshots that a page of `entries` counts as.
pub fn page_cost(entries: usize) -> usize {
    entries.div_ceil(ENTRIES).max(1)
}

/// Whose rates count.
#[derive(Clone, Copy)]
pub enum Payer<'a> {
    /// Those of an address.
    Address(Source),
    /// Those of a connection, and of its address.
    Connection(&'a Pace),
}

impl Payer<'_> {
    /// Counts `times` of `work`.
    ///
    /// # Errors
    ///
    /// `too_fast` past a rate.
    pub fn pay(self, rates: &Rates, work: Work, times: usize) -> Result<(), Refusal> {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        match self {
            Payer::Address(source) => rates.check(source, work, times).map_err(|it| refusal(source, &it)),
            Payer::Connection(pace) => pace.check(work, times).map_err(|it| refusal(pace.source(), &it)),
        }
    }

    /// Whether any rates count.
    pub fn pays(self) -> bool {
        match self {
            Payer::Address(source) => source.is_counted,
            Payer::Connection(_) => true,
        }
    }

    /// Notes that a hold took the place of the same client's hold of another connection.
    pub fn returned(self) {
        if let Payer::Connection(pace) = self {
            pace.returned();
        }
    }
}

fn refusal(source: Source, TooFast { work, rate, of_connection, wait }: &TooFast) -> Refusal {
    let who = match of_connection {
        true => "this connection".to_owned(),
        false => format!("address {}", source.address),
    };
    // Rounded up, since an earlier try would be in vain.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = format!("{who} is over its rate of {rate} for {}; try again in {seconds} s", work.name());
    Refusal { retry_after: Some(seconds), ..Refusal::new(Code::TooFast, message) }
}

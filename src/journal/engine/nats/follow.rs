//! Reading the stream of the log.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use crate::journal::engine::nats::api::{Api, ApiError};
use crate::journal::engine::nats::pull::Pull;
use crate::journal::engine::nats::streams::{self, Info, Names, number};
use crate::journal::engine::reader::{Break, Feed, Follow, Place, Stop};
use crate::journal::engine::values::LogId;

/// The time of each request. A consumer may be given to a server that is gone, as long as nobody noticed: the next attempt gets
/// another one.
pub(super) const WITHIN: Duration = Duration::from_secs(1);

/// How often bad news must be the same, and the time between.
const LOOKS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(80);

pub(super) struct Following {
    pub api: Api,
    pub names: Names,
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Stop {
        Stop::Again(error.to_string())
    }
}

impl Following {
    async fn try_follow(&self, place: &mut Place, feed: &Feed) -> Result<Infallible, Stop> {
        let info = self.look(place).await?;
        // The last entry once more, if it is there: it must be the same.
        let again = place.last.is_some() && info.extent().first <= place.after;
        let from = if again { place.after } else { place.after + 1 };
        let mut pull = Pull::start(&self.api, &self.names.log, None, from).await?;
        let (mut is_first, mut due) = (true, place.after);
        loop {
            let next = tokio::select! {
                next = pull.next_or_idle() => next?,
                () = feed.dropped() => {
                    pull.end().await;
                    return Err(Stop::Dropped);
                }
            };
            let Some(next) = next else {
                due = self.idle(place, due).await?;
                continue;
            };
            if std::mem::take(&mut is_first) && again && next.place == place.after {
                place.check_last(&next.payload)?;
            } else {
                feed.send(place, (next.place, next.payload)).await?;
            }
        }
    }

    /// Looks at the log after a while without entries. A consumer whose server is behind the others would be idle for ever: what
    /// was `due` at the last look must have come. Gives what is due at the next.
    async fn idle(&self, place: &mut Place, due: u64) -> Result<u64, Stop> {
        match place.after < due {
            true => Err(Stop::Again("the server is behind".to_owned())),
            false => Ok(self.look(place).await?.extent().last),
        }
    }

    /// Looks at the log. Bad news from a server that has just become the leader may be old: it must stay the same for a while.
    async fn look(&self, place: &mut Place) -> Result<Info, Stop> {
        for look in 1.. {
            let looked = match streams::info(&self.api, &self.names.log).await {
                Ok(info) => place.check(info.identity(), info.extent()).map(|()| info),
                Err(error) if error.is(number::NOT_FOUND) => Err(Stop::Break(Break::Other(LogId::NONE))),
                Err(error) => Err(error.into()),
            };
            match looked {
                Err(Stop::Break(_)) if look < LOOKS => sleep(BETWEEN).await,
                looked => return looked,
            }
        }
        Err(Stop::Dropped)
    }
}

impl Follow for Following {
    async fn follow(&self, place: &mut Place, feed: &Feed) -> Stop {
        let Err(stop) = self.try_follow(place, feed).await;
        stop
    }
}

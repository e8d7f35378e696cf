//! Reading the stream of the log.

use std::convert::Infallible;

use crate::journal::engine::nats::api::{Api, ApiError};
use crate::journal::engine::nats::pull::Pull;
use crate::journal::engine::nats::streams::{self, Names};
use crate::journal::engine::reader::{Feed, Follow, Place, Stop};

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
        let info = streams::info(&self.api, &self.names.log).await?;
        place.check(info.identity(), info.extent())?;
        // The last entry once more, if it is there: it must be the same.
        let again = place.last.is_some() && info.extent().first <= place.after;
        let from = if again { place.after } else { place.after + 1 };
        let mut pull = Pull::start(&self.api, &self.names.log, None, from).await?;
        let mut is_first = true;
        loop {
            let next = tokio::select! {
                next = pull.next() => next?,
                () = feed.dropped() => {
                    pull.end().await;
                    return Err(Stop::Dropped);
                }
            };
            if std::mem::take(&mut is_first) && again && next.place == place.after {
                place.check_last(&next.payload)?;
                continue;
            }
            feed.send(place, (next.place, next.payload)).await?;
        }
    }
}

impl Follow for Following {
    async fn follow(&self, place: &mut Place, feed: &Feed) -> Stop {
        let Err(stop) = self.try_follow(place, feed).await;
        stop
    }
}

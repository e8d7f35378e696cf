//! The place of an engine that was not reached yet.

use std::time::Duration;

use bytes::Bytes;

use crate::journal::engine::appends::Appending;
use crate::journal::engine::reader::{Feed, Follow, Place, Reader, Stop};
use crate::journal::engine::seam::{Answer, Engine, Extent, LogId, MOST_BYTES, Snapshot, Trouble, Writing};

/// Takes nothing and has nothing.
#[derive(Debug)]
pub struct Away;

fn away() -> Trouble {
    Trouble::Unknown("the shared log was not reached yet".to_owned())
}

impl Engine for Away {
    fn identity(&self) -> LogId {
        LogId::NONE
    }

    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    fn append(&self, _: Bytes) -> Appending {
        Appending::answered(Err(away()))
    }

    fn read(&self, after: u64) -> Reader {
        Reader::start(Nothing, LogId::NONE, after)
    }

    fn extent(&self) -> Answer<'_, Extent> {
        Box::pin(async { Err(away()) })
    }

    fn put_snapshot(&self, _: u64) -> Answer<'_, Box<dyn Writing>> {
        Box::pin(async { Err(away()) })
    }

    fn snapshot(&self) -> Answer<'_, Option<Snapshot>> {
        Box::pin(async { Err(away()) })
    }

    fn trim(&self, _: u64) -> Answer<'_, ()> {
        Box::pin(async { Err(away()) })
    }

    fn call(&self, _: &str, _: Bytes, _: Duration) -> Answer<'_, Option<Bytes>> {
        Box::pin(async { Err(away()) })
    }
}

/// Waits for entries that never come.
struct Nothing;

impl Follow for Nothing {
    async fn follow(&self, _: &mut Place, feed: &Feed) -> Stop {
        feed.dropped().await;
        Stop::Dropped
    }
}

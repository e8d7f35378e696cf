//! Batches into the stream.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::journal::engine::appends::{IN_FLIGHT, Job};
use crate::journal::engine::nats::api::{Api, ApiError};
use crate::journal::engine::nats::streams::Names;
use crate::journal::engine::seam::Trouble;

/// The acknowledgement of a message, sent when as many servers as need be have it.
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
}

/// Publishes the batches in order, several at once, until nobody hands over any.
pub async fn publish(api: Api, names: Names, mut jobs: mpsc::Receiver<Job>) {
    let mut flying = FuturesUnordered::new();
    loop {
        // A new one is begun before the next is taken: what was begun first is sent first.
        tokio::select! {
            biased;
            Some(()) = flying.next(), if !flying.is_empty() => {}
            job = jobs.recv(), if flying.len() < IN_FLIGHT => match job {
                Some(job) => flying.push(deliver(&api, &names, job)),
                None => return,
            },
        }
    }
}

async fn deliver(api: &Api, names: &Names, job: Job) {
    let answer = put(api, &names.entries, &names.log, &job).await;
    job.answer(answer);
}

async fn put(api: &Api, subject: &str, stream: &str, job: &Job) -> Result<u64, Trouble> {
    store(api, subject, stream, job.batch.clone(), job.deadline).await.map_err(|error| match error {
        ApiError::Unanswered(why) => Trouble::Unknown(why),
        ApiError::Refused { description, .. } => {
            Trouble::Unknown(format!("the stream {stream} refused: {description}"))
        }
    })
}

/// Stores a message, and gives its place in the stream.
///
/// # Errors
///
/// Whether it is stored is not known.
pub async fn store(
    api: &Api,
    subject: &str,
    stream: &str,
    payload: bytes::Bytes,
    deadline: tokio::time::Instant,
) -> Result<u64, ApiError> {
    let ack: Ack = api.request(subject.to_owned(), payload, deadline).await?;
    match ack.stream == stream && ack.seq > 0 {
        true => Ok(ack.seq),
        false => Err(ApiError::Unanswered(format!("the stream {} answered for {stream}", ack.stream))),
    }
}

//! Batches into the stream.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::journal::engine::appends::{IN_FLIGHT, Job};
use crate::journal::engine::redis::connection::{Connection, Fault, Link};
use crate::journal::engine::redis::keys::Keys;
use crate::journal::engine::redis::server::Server;
use crate::journal::engine::seam::{LogId, Trouble};

/// How often the server is asked for its replicas.
const LOOK: Duration = Duration::from_secs(5);

/// The time in which a replica must have a batch, in milliseconds: below that of a request.
const WAIT: u64 = 1_000;

/// A connection for appends alone, because `WAIT` keeps what follows it.
struct Held {
    connection: Connection,
    replicas: usize,
    looked: Instant,
}

/// Writes the batches in order, those that wait in one go, until nobody hands over any.
pub async fn write(link: Arc<Link>, keys: Keys, identity: LogId, mut jobs: mpsc::Receiver<Job>) {
    let mut held = None;
    while let Some(job) = jobs.recv().await {
        let mut group = vec![job];
        while group.len() < IN_FLIGHT
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let deadline = group.iter().map(|job| job.deadline).min().unwrap_or_else(Instant::now);
        let written = timeout_at(deadline, put(&link, &keys, identity, &mut held, &group)).await;
        let written = written.unwrap_or_else(|_| Err(Fault::Away("no answer in time".to_owned())));
        match written {
            Ok(answers) => group.into_iter().zip(answers).for_each(|(job, answer)| job.answer(answer)),
            Err(fault) => {
                held = None;
                group.into_iter().for_each(|job| job.answer(Err(fault.clone().into())));
            }
        }
    }
}

/// Writes a group, and gives the answer of each batch.
async fn put(
    link: &Link,
    keys: &Keys,
    identity: LogId,
    held: &mut Option<Held>,
    group: &[Job],
) -> Result<Vec<Result<u64, Trouble>>, Fault> {
    let mut own = match held.take() {
        Some(own) if own.looked.elapsed() < LOOK => own,
        Some(own) => look(own.connection).await?,
        None => look(link.connect().await?).await?,
    };
    let mut commands = Pipeline::new();
    for job in group {
        commands.add_command(keys.append(identity, &job.batch));
    }
    let waits = own.replicas > 0;
    if waits {
        commands.add_command(cmd("WAIT").arg(1).arg(WAIT).clone());
    }
    let mut answers = own.connection.ask_all(&commands).await?;
    let copies = if waits { answers.pop() } else { None };
    let is_copied = copies.is_none_or(|copies| matches!(copies, Value::Int(1..)));
    if !is_copied || answers.iter().any(|answer| matches!(answer, Value::ServerError(_))) {
        // The replica may be gone, or the server is a replica now: it says so when it is asked.
        own.looked = own.looked.checked_sub(LOOK).unwrap_or(own.looked);
    }
    *held = Some(own);
    Ok(answers.into_iter().map(|answer| position(answer, is_copied)).collect())
}

fn position(answer: Value, is_copied: bool) -> Result<u64, Trouble> {
    if let Value::ServerError(error) = answer {
        return Err(Trouble::Unknown(error.to_string()));
    }
    let position = if let Value::Int(position) = answer { u64::try_from(position).ok() } else { None };
    match position {
        Some(position) if is_copied => Ok(position),
        Some(_) => Err(Trouble::Unknown("no replica has the batch".to_owned())),
        None => Err(Trouble::Unknown("the answer is no position".to_owned())),
    }
}

/// Asks for the replicas.
async fn look(mut connection: Connection) -> Result<Held, Fault> {
    let info: String = connection.ask(cmd("INFO").arg("replication")).await?;
    let server = Server::read(&info);
    match server.is_replica() {
        true => Err(Fault::Away("the server is a replica now".to_owned())),
        false => Ok(Held { connection, replicas: server.replicas(), looked: Instant::now() }),
    }
}

//! The workloads, one module each: the work of the readers and publishers, and the figures of the report.

mod connect;
mod delivery;
mod fanout;
mod idle;
mod join;
mod reconnect;
mod rooms;
mod slow;
mod snapshot;

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::options::Workload;

/// Runs the workload of the options, and puts the figures into the context's report.
///
/// # Errors
///
/// [`BenchError::Gateway`] if the gateway cannot be reached or refuses a request.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    match context.options.workload {
        Workload::Fanout => fanout::run(context).await,
        Workload::Join => join::run(context).await,
        Workload::Reconnect => reconnect::run(context).await,
        Workload::Slow => slow::run(context).await,
        Workload::Snapshot => snapshot::run(context).await,
        Workload::Connect => connect::run(context).await,
        Workload::Idle => idle::run(context).await,
        Workload::Rooms => rooms::run(context).await,
    }
}

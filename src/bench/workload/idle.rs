//! `idle`: memory per connection.

use crate::bench::context::Context;
use crate::bench::error::BenchError;

/// Measures the gateway's memory for a connection without traffic: the growth of its proportional set
/// size from before the first connection to `--settle` (1 s) after the last, divided by the readers.
/// Start the gateway anew before: it reuses memory of earlier connections.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    context.add_readers(0);
    context.connect().await;
    let state = context.wait_until_caught_up().await?;
    context.check_views(&state, 0).await;
    Ok(())
}

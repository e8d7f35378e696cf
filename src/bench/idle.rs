//! Memory per connection.

use std::time::Duration;

use crate::bench::stage::Stage;
use crate::bench::trouble::Trouble;

/// Measures how much memory the gateway takes for a connection over which nothing happens: the growth
/// of its proportional set from before the first reader to `--settle` (1 s) after the last, divided by
/// readers. A gateway that had many connections before reuses what it still holds; a fresh one tells more.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.gather(0);
    stage.connect(Duration::from_secs(1)).await;
    let head = stage.caught_up().await?;
    stage.compare(&head, 0).await;
    Ok(())
}

//! What is read of all rooms when asked for, and not too often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// The greatest age: 100,000 rooms take some 40 ms of CPU, which must not follow the rate of requests.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The last reading, made when asked for.
#[derive(Debug)]
pub struct Recent<T>(Mutex<Option<Arc<Making<T>>>>);

/// A reading since it was begun. Several requests wait for it together; if one of them goes, another goes on.
#[derive(Debug)]
struct Making<T> {
    begun: Instant,
    made: OnceCell<Arc<T>>,
}

impl<T> Recent<T> {
    /// A reading of at most a second ago, by `read` if there is none.
    pub async fn get(&self, read: impl Future<Output = T>) -> Arc<T> {
        let making = self.making();
        making.made.get_or_init(async || Arc::new(read.await)).await.clone()
    }

    fn making(&self) -> Arc<Making<T>> {
        let mut last = self.0.lock();
        let recent = last.as_ref().filter(|making| making.begun.elapsed() < MAX_AGE).cloned();
        let new = || Arc::new(Making { begun: Instant::now(), made: OnceCell::new() });
        last.insert(recent.unwrap_or_else(new)).clone()
    }

    /// Frees a reading that is too old.
    pub fn drop_old(&self) {
        self.0.lock().take_if(|making| making.begun.elapsed() >= MAX_AGE);
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent(Mutex::default())
    }
}

//! The error that ends a bench before it has a report.

/// The reason why a bench cannot run, as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The options ask for more than this machine can give.
    #[error("{0}")]
    Options(String),
    /// The gateway cannot be reached, or does not answer as Presently does.
    #[error("{0}")]
    Gateway(String),
}

impl BenchError {
    /// An error on the gateway's side.
    pub(super) fn gateway(sentence: impl Into<String>) -> Self {
        BenchError::Gateway(sentence.into())
    }
}

//! Why a bench cannot be done.

/// Why a bench cannot be done, as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It asks for what this machine cannot give.
    #[error("{0}")]
    Options(String),
    /// The gateway does not answer, or not as Presently does.
    #[error("{0}")]
    Gateway(String),
}

impl Trouble {
    /// The gateway's fault.
    pub fn gateway(sentence: impl Into<String>) -> Self {
        Trouble::Gateway(sentence.into())
    }
}

//! Secrets for servers, which come from files or the environment, and never from arguments.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The most bytes of a file with a secret: a credentials file of NATS has some 1,500.
const MAX_FILE: u64 = 64 * 1024;

/// A password, or what stands in a credentials file.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The secret itself.
    pub fn new(text: &str) -> Self {
        Secret(text.into())
    }

    /// Reads a file, without the space at its end. Blocks.
    ///
    /// # Errors
    ///
    /// A sentence about the file, without its content.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bad = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let file = File::open(path).map_err(|error| bad(&error))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| bad(&error))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(bad(&format_args!("the file has more than {MAX_FILE} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| bad(&"the file is not text in UTF-8"))?;
        match text.trim_end() {
            "" => Err(bad(&"the file is empty")),
            text => Ok(Secret::new(text)),
        }
    }

    /// The text, for the server alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "open sesame\n").unwrap();
        let secret = Secret::read(&path).unwrap();
        assert_eq!(secret.reveal(), "open sesame");
        assert!(!format!("{secret:?}").contains("sesame"));
        std::fs::write(&path, " \n").unwrap();
        assert!(Secret::read(&path).unwrap_err().ends_with("the file is empty"));
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("more than 65536 bytes"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(Secret::read(&path).unwrap_err().contains("UTF-8"));
        assert!(Secret::read(&folder.path().join("none")).is_err());
    }
}

//! A gateway with keys.

use std::fs;
use std::ops::Deref;

use tempfile::TempDir;

use super::{Binary, Client};

/// The key of tokens, and the API key.
pub const SECRET: &str = "a-secret-of-the-tests-which-is-long-enough";

/// A gateway with a key and an API key, and the files of both.
pub struct Guarded {
    gateway: Binary,
    args: Vec<String>,
    _files: TempDir,
}

impl Guarded {
    /// Starts the gateway, with more arguments.
    pub async fn start(more: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let file = |name: &str| {
            let path = files.path().join(name);
            fs::write(&path, SECRET).expect("a file");
            path.display().to_string()
        };
        let keys = ["--key".to_owned(), file("key"), "--api-key".to_owned(), file("api-key")];
        let args: Vec<String> = keys.into_iter().chain(more.iter().map(ToString::to_string)).collect();
        let gateway = Binary::start(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        Self { gateway, args, _files: files }
    }

    /// Ends the gateway, and starts another at its address.
    pub async fn start_anew(&mut self) {
        self.gateway.signal("KILL").await;
        self.gateway.exit().await;
        let listen = ["--listen".to_owned(), self.gateway.addr.to_string()];
        let args = [&listen[..], &self.args].concat();
        self.gateway = Binary::start_with(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
    }

    /// The gateway's backend.
    pub fn backend(&self) -> Client {
        self.gateway.bearing(SECRET)
    }

    /// A token, made by `presently token` with these arguments.
    pub async fn token(&self, wanted: &[&str]) -> String {
        let made = Binary::run(&[&["--key", &self.args[1], "token"], wanted].concat(), &[]).await;
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        made.stdout.trim().to_owned()
    }
}

impl Deref for Guarded {
    type Target = Binary;

    fn deref(&self) -> &Binary {
        &self.gateway
    }
}

//! Who reaches a gateway without keys: this machine only, unless the operator says otherwise.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::warn;

use crate::runtime::address::Address;
use crate::runtime::config::Config;

/// Judges options that only together are a mistake: an address that others reach without keys, among them the `inherited`
/// ones, and what contradicts keys.
///
/// # Errors
///
/// A sentence that says what to do.
pub async fn judge(config: &Config, inherited: &[Address]) -> Result<(), String> {
    if config.has_keys() {
        return match config.open {
            true => {
                Err("--open lets everybody in and does not go with --key, --jwks or --api-key; leave one out"
                    .to_owned())
            }
            false => Ok(()),
        };
    }
    if !config.anyone.is_empty() {
        let missing = "--anyone needs --key, --jwks or --api-key; without keys, everybody may do everything";
        return Err(missing.to_owned());
    }
    if config.open {
        return Ok(());
    }
    for address in inherited.iter().chain(&config.listen).chain(&config.admin) {
        if is_reached_by_others(address).await {
            let needs = "needs --key, --jwks or --api-key, or --open to let everybody in";
            return Err(format!("listening on {address} {needs}"));
        }
    }
    Ok(())
}

/// Whether more than this machine reaches `address`. A name without an address cannot be listened on, which the listener tells.
async fn is_reached_by_others(address: &Address) -> bool {
    let is_loopback = |socket: &SocketAddr| socket.ip().to_canonical().is_loopback();
    address.sockets().await.is_ok_and(|sockets| !sockets.iter().all(is_loopback))
}

/// The line in the log about a gateway without keys that more than this machine uses, told once.
#[derive(Debug)]
pub struct Warning {
    is_due: AtomicBool,
}

impl Warning {
    /// A warning for the gateway of `config`. With `--open`, it is due at once.
    pub fn of(config: &Config) -> Self {
        let warning = Warning { is_due: AtomicBool::new(!config.has_keys()) };
        if config.open {
            warning.tell();
        }
        warning
    }

    /// Whether the line is still to be told, at the first sign of a proxy: behind it, everybody comes from this machine.
    pub fn is_due(&self) -> bool {
        self.is_due.load(Relaxed)
    }

    /// Logs the line, unless that was done before.
    pub fn tell(&self) {
        if self.is_due.swap(false, Relaxed) {
            warn!(
                "OPEN TO EVERYBODY: whoever reaches this gateway, also through a proxy, may read and change every room; \
                 --key, --jwks or --api-key would ask for tokens"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn judged(change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = Config::default();
        change(&mut config);
        judge(&config, &[]).await
    }

    #[tokio::test]
    async fn only_loopback_and_files_are_served_openly() {
        let listen = async |address: &str| judged(|config| config.listen = vec![address.parse().unwrap()]).await;
        for address in
            ["127.0.0.1:0", "127.8.9.1:4000", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:0", "unix:/run/p.sock"]
        {
            assert_eq!(listen(address).await, Ok(()), "{address}");
        }
        for address in ["0.0.0.0:4000", "[::]:4000", ":4000", "10.0.0.1:4000", "[::ffff:10.0.0.1]:0", "192.0.2.1:0"] {
            let refused = listen(address).await.unwrap_err();
            let sentence = "needs --key, --jwks or --api-key, or --open to let everybody in";
            assert_eq!(refused, format!("listening on {address} {sentence}"));
        }
        // What cannot be listened on is the listener's to tell.
        assert_eq!(listen("no.such.name.invalid:4000").await, Ok(()));
    }

    #[tokio::test]
    async fn one_open_address_among_others_is_enough() {
        let both = |config: &mut Config| config.listen = ["127.0.0.1:0", ":0"].map(|text| text.parse().unwrap()).into();
        assert!(judged(both).await.unwrap_err().starts_with("listening on :0 "));
        let admin = |config: &mut Config| config.admin = Some("0.0.0.0:4001".parse().unwrap());
        assert!(judged(admin).await.unwrap_err().starts_with("listening on 0.0.0.0:4001 "));
        let open = |config: &mut Config| {
            both(config);
            config.open = true;
        };
        assert_eq!(judged(open).await, Ok(()));
        let keys = |config: &mut Config| {
            both(config);
            config.jwks = Some("https://login.example/jwks.json".into());
        };
        assert_eq!(judged(keys).await, Ok(()));
    }

    #[tokio::test]
    async fn contradictions_are_refused() {
        let open = |config: &mut Config| {
            config.open = true;
            config.api_keys = vec!["keys".into()];
        };
        assert!(judged(open).await.unwrap_err().starts_with("--open lets everybody in"));
        let anyone = |config: &mut Config| {
            let args = ["presently", "--anyone", "lobby:watch"];
            config.anyone = <Config as clap::Parser>::try_parse_from(args).unwrap().anyone;
        };
        assert!(judged(anyone).await.unwrap_err().starts_with("--anyone needs --key"));
    }
}

//! Options about several gateways that are one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

/// The other gateways, and the log that all of them share.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Cluster {
    /// Servers of the log that several gateways share, so that all of them have the same rooms: nats://a:4222,b:4222,c:4222 for
    /// NATS with JetStream (tls:// for TLS), or redis://host:6379 for Redis or Valkey (rediss:// for TLS), with a user name as
    /// redis://user@host. No password: a URL is seen by all users of the machine. Without the option, the gateway is alone
    #[arg(
        long = "cluster",
        id = "cluster",
        env = "PRESENTLY_CLUSTER",
        hide_env_values = true,
        value_name = "URL[,URL…]"
    )]
    pub url: Option<String>,

    /// Name of the cluster of --cluster, of 1 to 32 letters, digits, - and _. Gateways with the same name are one; other names let
    /// several clusters share the servers, since streams and keys are named after it
    #[arg(long = "cluster-name", id = "cluster-name", env = "PRESENTLY_CLUSTER_NAME", default_value = Cluster::NAME, value_name = "NAME")]
    pub name: String,

    /// Credentials file of NATS (.creds, with a JWT and the seed of a key), with --cluster. Read again whenever the log is opened
    /// anew. By default none, for servers that ask for none
    #[arg(
        long = "cluster-credentials",
        id = "cluster-credentials",
        env = "PRESENTLY_CLUSTER_CREDENTIALS",
        value_name = "FILE"
    )]
    pub credentials: Option<PathBuf>,

    /// File with the password of Redis, with --cluster; the user's name stands in the URL. Read again whenever the log is opened
    /// anew. Where there are no files, PRESENTLY_CLUSTER_PASSWORD is the password itself. By default none
    #[arg(
        long = "cluster-password-file",
        id = "cluster-password-file",
        env = "PRESENTLY_CLUSTER_PASSWORD_FILE",
        value_name = "FILE"
    )]
    pub password_file: Option<PathBuf>,

    /// File with the certificate, as PEM, of the authority that vouches for the servers of --cluster, beside those that browsers
    /// trust. By default none
    #[arg(long = "cluster-ca", id = "cluster-ca", env = "PRESENTLY_CLUSTER_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Servers of NATS that keep a copy of the log each, 1 to 5, with --cluster; a stream with fewer is refused. By default 3 in
    /// a cluster of NATS, so that one may be lost, and 1 on a single server
    #[arg(
        long = "cluster-replicas",
        id = "cluster-replicas",
        env = "PRESENTLY_CLUSTER_REPLICAS",
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=5)
    )]
    pub replicas: Option<u8>,

    /// The password of Redis, from the environment
    #[arg(skip)]
    pub password: Password,
}

/// A password that is the value of a variable. Not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(Option<Arc<str>>);

impl Cluster {
    /// The name of a cluster without a name.
    pub const NAME: &str = "presently";
}

impl Password {
    /// The variable. It has no option, since all users of a machine see arguments.
    pub const VARIABLE: &str = "PRESENTLY_CLUSTER_PASSWORD";

    /// The password among the variables that `get` gives. An empty one is none.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        Password(get(Password::VARIABLE).filter(|value| !value.is_empty()).map(Arc::from))
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The text, for the server alone.
    pub fn reveal(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.0.as_ref().map(|_| "…")).finish()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            url: None,
            name: Cluster::NAME.to_owned(),
            credentials: None,
            password_file: None,
            ca: None,
            replicas: None,
            password: Password::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_from_its_variable_and_not_shown() {
        let value = |name: &str| (name == "PRESENTLY_CLUSTER_PASSWORD").then(|| "open sesame".to_owned());
        let password = Password::read(value);
        assert_eq!(password.reveal(), Some("open sesame"));
        assert_eq!(format!("{password:?}"), "Password(Some(\"…\"))");
        assert_eq!(Password::read(|_| Some(String::new())), Password::default());
        assert!(!Password::read(|_| None).is_some());
    }
}

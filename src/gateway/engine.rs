//! The engine of the log that the gateways of a cluster share, as the options name it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::journal::disk::own;
use crate::journal::engine::address::{Addresses, ClusterName, Kind};
use crate::journal::engine::open::{Opened, open};
use crate::journal::engine::options::Options;
use crate::journal::engine::seam::Engine;
use crate::journal::engine::secret::Secret;
use crate::journal::participant::Opening;
use crate::runtime::config::Config;
use crate::runtime::config::cluster::{Cluster, Password};
use crate::runtime::config::data::Data;
use crate::runtime::trust;

/// The most sentences of warning that are remembered as logged. An engine has fewer than ten.
const MOST_TOLD: usize = 64;

/// Judges the options of a cluster, and whether they go with others.
///
/// # Errors
///
/// A sentence that names the option.
pub fn judge(config: &Config) -> Result<(), String> {
    let (data, of_node) = (&config.data, config.cluster.url.is_some());
    let defaults = Data::default();
    match () {
        () if of_node && data.takeover => {
            return Err(
                "--cluster does not go with --takeover: the other gateways of the cluster serve its clients meanwhile"
                    .to_owned(),
            );
        }
        () if of_node && data.sync != defaults.sync => return Err(of_journal("--sync")),
        () if of_node && data.journal_queue != defaults.journal_queue => return Err(of_journal("--journal-queue")),
        () => {}
    }
    if let Some(dir) = &data.dir {
        own::judge(dir, of_node).map_err(|error| error.sentence("--data", dir))?;
    }
    opening(&config.cluster).map(drop)
}

fn of_journal(option: &str) -> String {
    format!(
        "--cluster does not go with {option}, which is about the journal of a gateway alone: the servers of --cluster keep each change"
    )
}

/// How the log of `cluster` is opened; `None` for a gateway that is alone. Each opening reads the files with secrets anew, and
/// logs each new warning of the engine. Blocks for as long as files take.
///
/// # Errors
///
/// A sentence that names the option.
pub fn opening(cluster: &Cluster) -> Result<Option<Opening>, String> {
    let Some(url) = &cluster.url else {
        return alone(cluster).map(|()| None);
    };
    let wanted = Arc::new(Wanted::read(url, cluster)?);
    wanted.options()?;
    let told = Arc::<Told>::default();
    Ok(Some(Box::new(move || Box::pin(open_as(wanted.clone(), told.clone())))))
}

/// Opens the log, and logs what an operator should know of it.
async fn open_as(wanted: Arc<Wanted>, told: Arc<Told>) -> Result<Arc<dyn Engine>, String> {
    let options = spawn_blocking(move || wanted.options()).await;
    let options = options.map_err(|panic| format!("--cluster: {panic}")).flatten()?;
    let Opened { engine, warnings } = open(&options).await.map_err(|error| format!("--cluster {error}"))?;
    warnings.iter().filter(|warning| told.is_new(warning)).for_each(|warning| warn!("--cluster: {warning}"));
    Ok(engine)
}

/// Whether no option asks for a cluster without servers.
fn alone(cluster: &Cluster) -> Result<(), String> {
    let given = [
        ("--cluster-name", cluster.name != Cluster::NAME),
        ("--cluster-credentials", cluster.credentials.is_some()),
        ("--cluster-password-file", cluster.password_file.is_some()),
        (Password::VARIABLE, cluster.password.is_some()),
        ("--cluster-ca", cluster.ca.is_some()),
        ("--cluster-replicas", cluster.replicas.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => {
            Err(format!("{option} needs --cluster, the servers of the log that several gateways share"))
        }
        None => Ok(()),
    }
}

/// What is proved to the servers, and by what.
#[derive(Debug)]
enum Proof {
    None,
    Credentials(PathBuf),
    PasswordFile(PathBuf),
    Password(Secret),
}

/// The options of a cluster, all but the secrets in files.
#[derive(Debug)]
struct Wanted {
    addresses: Addresses,
    name: ClusterName,
    proof: Proof,
    ca: Option<PathBuf>,
    replicas: Option<u8>,
}

impl Wanted {
    fn read(url: &str, cluster: &Cluster) -> Result<Self, String> {
        let addresses: Addresses = url.parse().map_err(|why| format!("--cluster: {why}"))?;
        let name = cluster.name.parse().map_err(|why| format!("--cluster-name: {why}"))?;
        let proof = proof(&addresses, cluster)?;
        let is_plain_redis = addresses.kind == Kind::Redis && !addresses.tls;
        if cluster.ca.is_some() && is_plain_redis {
            return Err("--cluster-ca is for encrypted connections: write rediss:// in --cluster".to_owned());
        }
        if cluster.replicas.is_some() && addresses.kind == Kind::Redis {
            return Err("--cluster-replicas is for NATS: Redis itself says how many replicas it has".to_owned());
        }
        Ok(Wanted { addresses, name, proof, ca: cluster.ca.clone(), replicas: cluster.replicas })
    }

    /// The engine's options, with the secrets that the files have now. Blocks.
    fn options(&self) -> Result<Options, String> {
        let mut options = Options::new(self.addresses.clone(), self.name.clone());
        let read = |option: &str, path: &Path| Secret::read(path).map_err(|why| format!("{option}: {why}"));
        match &self.proof {
            Proof::None => {}
            Proof::Credentials(path) => options.credentials = Some(read("--cluster-credentials", path)?),
            Proof::PasswordFile(path) => options.password = Some(read("--cluster-password-file", path)?),
            Proof::Password(password) => options.password = Some(password.clone()),
        }
        if self.ca.is_some() {
            trust::client(self.ca.as_deref(), "--cluster-ca")?;
        }
        options.authorities = self.ca.clone();
        options.replicas = self.replicas;
        Ok(options)
    }
}

/// What the servers are to be proved: to NATS by credentials, to Redis by a password.
fn proof(addresses: &Addresses, cluster: &Cluster) -> Result<Proof, String> {
    let Cluster { credentials, password_file, password, .. } = cluster;
    let variable = Password::VARIABLE;
    match (addresses.kind, credentials, password_file, password.reveal()) {
        (_, None, None, None) => Ok(Proof::None),
        (Kind::Nats, Some(path), None, None) => Ok(Proof::Credentials(path.clone())),
        (Kind::Redis, None, Some(path), None) => Ok(Proof::PasswordFile(path.clone())),
        (Kind::Redis, None, None, Some(password)) => Ok(Proof::Password(Secret::new(password))),
        (Kind::Redis, None, Some(_), Some(_)) => {
            Err(format!("--cluster-password-file and {variable} both give the password; leave one out"))
        }
        (Kind::Redis, Some(_), _, _) => {
            Err(format!("--cluster-credentials is for NATS; Redis takes --cluster-password-file or {variable}"))
        }
        (Kind::Nats, _, Some(_), _) => {
            Err("--cluster-password-file is for Redis; NATS takes --cluster-credentials".to_owned())
        }
        (Kind::Nats, _, None, Some(_)) => Err(format!("{variable} is for Redis; NATS takes --cluster-credentials")),
    }
}

/// The warnings that were logged.
#[derive(Debug, Default)]
struct Told(Mutex<BTreeSet<String>>);

impl Told {
    /// Whether a warning was not logged yet. From now on it counts as logged.
    fn is_new(&self, warning: &str) -> bool {
        let mut told = self.0.lock();
        told.len() < MOST_TOLD && told.insert(warning.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runtime::config::data::Sync;

    fn cluster(url: &str) -> Cluster {
        Cluster { url: Some(url.to_owned()), ..Cluster::default() }
    }

    fn password() -> Password {
        Password::read(|_| Some("open-sesame".to_owned()))
    }

    /// The sentence about a cluster that is a mistake.
    fn refused(cluster: &Cluster) -> String {
        opening(cluster).map(|opening| opening.is_some()).expect_err("a refusal")
    }

    #[test]
    fn a_gateway_without_the_option_is_alone() {
        assert!(opening(&Cluster::default()).unwrap().is_none());
        assert_eq!(ClusterName::default().to_string(), Cluster::NAME);
        for url in ["nats://a:4222,b:4222,c:4222", "tls://a", "redis://u@a/3", "rediss://a", "valkey://a"] {
            assert!(opening(&cluster(url)).unwrap().is_some(), "{url}");
        }
    }

    #[test]
    fn options_of_a_cluster_need_its_servers() {
        let file = || Some("file".into());
        for (option, cluster) in [
            ("--cluster-name", Cluster { name: "shop".to_owned(), ..Cluster::default() }),
            ("--cluster-credentials", Cluster { credentials: file(), ..Cluster::default() }),
            ("--cluster-password-file", Cluster { password_file: file(), ..Cluster::default() }),
            ("PRESENTLY_CLUSTER_PASSWORD", Cluster { password: password(), ..Cluster::default() }),
            ("--cluster-ca", Cluster { ca: file(), ..Cluster::default() }),
            ("--cluster-replicas", Cluster { replicas: Some(3), ..Cluster::default() }),
        ] {
            let wanted = format!("{option} needs --cluster, the servers of the log that several gateways share");
            assert_eq!(refused(&cluster), wanted);
        }
    }

    #[test]
    fn an_address_or_a_name_that_is_none_is_said_with_its_option() {
        for (url, why) in [
            ("a:4222", "an address begins with nats://"),
            ("redis://a,b", "Redis has one address"),
            ("nats://u:open-sesame@a", "use a credentials file"),
            ("redis://u:open-sesame@a", "an address with a password is seen by all users of the machine: use a file"),
        ] {
            let sentence = refused(&cluster(url));
            assert!(sentence.starts_with("--cluster: ") && sentence.contains(why), "{sentence}");
            assert!(!sentence.contains("sesame"), "{sentence}");
        }
        let sentence = refused(&Cluster { name: "a.b".to_owned(), ..cluster("nats://a") });
        assert!(sentence.starts_with("--cluster-name: a name has 1 to 32 letters"), "{sentence}");
    }

    #[test]
    fn options_of_the_other_engine_are_refused() {
        let (nats, redis) = (cluster("nats://a"), cluster("redis://a"));
        let file = || Some("file".into());
        for (wrong, sentence) in [
            (
                Cluster { credentials: file(), ..redis.clone() },
                "--cluster-credentials is for NATS; Redis takes --cluster-password-file or PRESENTLY_CLUSTER_PASSWORD",
            ),
            (
                Cluster { password_file: file(), ..nats.clone() },
                "--cluster-password-file is for Redis; NATS takes --cluster-credentials",
            ),
            (
                Cluster { password: password(), ..nats.clone() },
                "PRESENTLY_CLUSTER_PASSWORD is for Redis; NATS takes --cluster-credentials",
            ),
            (
                Cluster { password: password(), credentials: file(), ..nats },
                "PRESENTLY_CLUSTER_PASSWORD is for Redis; NATS takes --cluster-credentials",
            ),
            (
                Cluster { password: password(), password_file: file(), ..redis.clone() },
                "--cluster-password-file and PRESENTLY_CLUSTER_PASSWORD both give the password; leave one out",
            ),
            (
                Cluster { ca: file(), ..redis.clone() },
                "--cluster-ca is for encrypted connections: write rediss:// in --cluster",
            ),
            (
                Cluster { replicas: Some(3), ..redis },
                "--cluster-replicas is for NATS: Redis itself says how many replicas it has",
            ),
        ] {
            assert_eq!(refused(&wrong), sentence);
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_said_with_its_option() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("empty"), "\n").unwrap();
        let shown = |name| path(name).display().to_string();
        let absent = |option: &str| format!("{option}: {}: No such file or directory (os error 2)", shown("absent"));
        let nats = Cluster { credentials: Some(path("absent")), ..cluster("nats://a") };
        assert_eq!(refused(&nats), absent("--cluster-credentials"));
        let redis = Cluster { password_file: Some(path("absent")), ..cluster("redis://a") };
        assert_eq!(refused(&redis), absent("--cluster-password-file"));
        let redis = Cluster { password_file: Some(path("empty")), ..cluster("redis://a") };
        assert_eq!(refused(&redis), format!("--cluster-password-file: {}: the file is empty", shown("empty")));
        let tls = Cluster { ca: Some(path("empty")), ..cluster("tls://a") };
        assert_eq!(refused(&tls), format!("--cluster-ca: {} has no certificate as PEM", shown("empty")));
    }

    #[test]
    fn the_engine_gets_what_the_options_say_and_a_file_as_it_is_at_each_opening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "first\n").unwrap();
        let wanted = |cluster: &Cluster| Wanted::read(cluster.url.as_deref().unwrap(), cluster).unwrap();
        let redis =
            Cluster { name: "shop".to_owned(), password_file: Some(path.clone()), ..cluster("redis://ann@r:6380/2") };
        let redis = wanted(&redis);
        let revealed = || redis.options().unwrap().password.map(|password| password.reveal().to_owned());
        assert_eq!(revealed().as_deref(), Some("first"));
        fs::write(&path, "second\n").unwrap();
        assert_eq!(revealed().as_deref(), Some("second"));
        let options = redis.options().unwrap();
        assert_eq!((options.name.to_string().as_str(), options.addresses.user.as_deref()), ("shop", Some("ann")));
        let named = wanted(&Cluster { password: password(), ..cluster("redis://a") });
        assert_eq!(named.options().unwrap().password.unwrap().reveal(), "open-sesame");
        assert!(!format!("{named:?}").contains("sesame"));
        let nats = wanted(&Cluster { credentials: Some(path), replicas: Some(5), ..cluster("nats://a,b,c") });
        let options = nats.options().unwrap();
        assert_eq!((options.credentials.unwrap().reveal(), options.replicas), ("second", Some(5)));
    }

    #[test]
    fn what_is_about_the_journal_of_a_gateway_alone_is_refused_beside_a_cluster() {
        let of = |data: Data| Config { cluster: cluster("nats://a"), data, ..Config::default() };
        let folder = tempfile::tempdir().unwrap();
        let dir = || Some(folder.path().to_owned());
        assert_eq!(judge(&of(Data { dir: dir(), ..Data::default() })), Ok(()));
        for (option, data) in [
            ("--takeover", Data { takeover: true, dir: dir(), ..Data::default() }),
            ("--sync", Data { sync: Sync::Always, ..Data::default() }),
            ("--journal-queue", Data { journal_queue: 1 << 20, ..Data::default() }),
        ] {
            let said = judge(&of(data.clone())).unwrap_err();
            assert!(said.starts_with(&format!("--cluster does not go with {option}")), "{said}");
            assert_eq!(judge(&Config { data, ..Config::default() }), Ok(()));
        }
        fs::write(folder.path().join("snapshot-0000000001"), "").unwrap();
        assert_eq!(judge(&of(Data { dir: dir(), ..Data::default() })), Ok(()));
        let said = judge(&Config { data: Data { dir: dir(), ..Data::default() }, ..Config::default() }).unwrap_err();
        assert!(said.contains("the directory is that of a gateway with --cluster"), "{said}");
        fs::rename(folder.path().join("snapshot-0000000001"), folder.path().join("segment-0000000001")).unwrap();
        let said = judge(&of(Data { dir: dir(), ..Data::default() })).unwrap_err();
        assert!(said.contains("the directory has the journal of a gateway without --cluster"), "{said}");
    }

    #[test]
    fn each_warning_is_logged_once_and_a_bounded_number_is_remembered() {
        let told = Told::default();
        assert!(told.is_new("a") && told.is_new("b") && !told.is_new("a"));
        let new = (0..2 * MOST_TOLD).filter(|n| told.is_new(&n.to_string())).count();
        assert_eq!(new, MOST_TOLD - 2);
    }
}

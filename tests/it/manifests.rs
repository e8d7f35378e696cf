//! The unit files of systemd and the manifests of Kubernetes: they name options that exist, leave time to stop, and keep to what
//! others have learned.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::CommandFactory;
use presently::Config;
use presently::engine::address::Addresses;

/// What the gateway needs beyond the delay and the drain.
const REST: Duration = Duration::from_secs(5);

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(path)).expect(path)
}

/// The lines of a file without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']) && !line.is_empty())
}

/// The value of the only line that begins with `key`.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let found: Vec<_> = lines(text).filter_map(|line| line.strip_prefix(key)).collect();
    assert_eq!(found.len(), 1, "{key} in {text}");
    found[0].trim()
}

/// The options that a file sets by `--option=value` or `PRESENTLY_OPTION=value`, by their long names. Each exists and takes its
/// value.
fn options(text: &str) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut lines = lines(text);
    while let Some(line) = lines.next() {
        let line = line.trim_start_matches("- ").trim_start_matches("Environment=");
        if let Some(variable) = line.strip_prefix("name: PRESENTLY_") {
            let next = lines.next().expect("a value").strip_prefix("value: ").expect("a value");
            options.push((variable.to_lowercase().replace('_', "-"), next.to_owned()));
        } else if let Some((variable, value)) = line.strip_prefix("PRESENTLY_").and_then(|line| line.split_once('=')) {
            options.push((variable.to_lowercase().replace('_', "-"), value.to_owned()));
        } else if let Some((option, value)) = line.strip_prefix("--").and_then(|line| line.split_once('=')) {
            options.push((option.to_owned(), value.to_owned()));
        }
    }
    for (option, value) in &options {
        let given = Config::command().try_get_matches_from(["presently", &format!("--{option}={value}")]);
        given.unwrap_or_else(|error| panic!("--{option}={value}: {error}"));
    }
    options
}

/// The longest time from SIGTERM to the end, with these options.
fn stops_within(options: &[(String, String)]) -> Duration {
    let time = |wanted: &str, default| {
        let given = options.iter().find(|(option, _)| option == wanted);
        given.map_or(default, |(_, value)| humantime::parse_duration(value).expect("a time"))
    };
    let Config { drain, drain_delay, .. } = Config::default();
    time("drain-delay", drain_delay) + time("drain", drain) + REST
}

#[test]
fn systemd_waits_for_the_drain_and_gives_neither_socket_nor_service_up() {
    let (service, socket) = (read("systemd/presently.service"), read("systemd/presently.socket"));
    let given = options(&service);
    for (option, wanted) in [("drain", "20s"), ("data", "%S/presently")] {
        assert!(given.contains(&(option.into(), wanted.into())), "{option} in {given:?}");
    }
    // Systemd makes the folder for the service's user.
    assert_eq!(value(&service, "StateDirectory="), "presently");
    let patience = Duration::from_secs(value(&service, "TimeoutStopSec=").parse().expect("seconds"));
    assert!(patience > stops_within(&given), "{patience:?}");
    for (text, key, wanted) in [
        (&service, "Type=", "notify"),
        // The end of the old main process would take the new one along, unless that can say so.
        (&service, "NotifyAccess=", "all"),
        // A service past its limit takes its socket along, and a socket past its limit stays shut.
        (&service, "StartLimitIntervalSec=", "0"),
        (&socket, "TriggerLimitIntervalSec=", "0"),
        (&service, "Restart=", "always"),
        (&service, "Requires=", "presently.socket"),
        // As many as the gateway's own listening socket.
        (&socket, "Backlog=", "4096"),
    ] {
        assert_eq!(value(text, key), wanted, "{key}");
    }
    assert_eq!(value(&service, "ExecStart="), "/usr/local/bin/presently", "no --listen beside the socket");
}

#[test]
fn kubernetes_waits_for_the_drain_and_asks_operators_health() {
    let set = read("kubernetes/statefulset.yaml");
    let given = options(&set);
    let wanted = [("drain", "20s"), ("drain-delay", "5s"), ("admin", "0.0.0.0:4001"), ("data", "/data/presently")];
    for (option, wanted) in wanted {
        assert!(given.contains(&(option.into(), wanted.into())), "{option} in {given:?}");
    }
    let patience = Duration::from_secs(value(&set, "terminationGracePeriodSeconds: ").parse().expect("seconds"));
    assert!(patience > stops_within(&given), "{patience:?}");
    // A rolling Deployment's new pod would wait for the volume for ever.
    assert_eq!((value(&set, "kind: "), value(&set, "replicas: ")), ("StatefulSet", "1"));
    // Variables such as PRESENTLY_PORT would be made of the service's name.
    assert_eq!(value(&set, "enableServiceLinks: "), "false");
    let all: Vec<_> = lines(&set).collect();
    for (probe, path) in [("startupProbe:", "/readyz"), ("readinessProbe:", "/readyz"), ("livenessProbe:", "/healthz")]
    {
        let at = all.iter().position(|line| *line == probe).unwrap_or_else(|| panic!("{probe}"));
        assert_eq!(all[at + 1..at + 4], ["httpGet:", &format!("path: {path}"), "port: admin"], "{probe}");
    }
    for line in
        ["runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "runAsUser: 65532"]
    {
        assert!(all.contains(&line), "{line}");
    }
    let (service, label) = (read("kubernetes/service.yaml"), "app.kubernetes.io/name: presently");
    assert_eq!(lines(&service).filter(|line| *line == label).count(), 2, "its own label, and the pods'");
    assert_eq!(value(&service, "targetPort: "), "http");
}

/// The variables of each service in a file of Compose, by the names of options. Each exists and takes its value.
fn environments(compose: &str) -> Vec<Vec<(String, String)>> {
    let environments = compose.split("\n    environment:\n").skip(1).map(|rest| {
        let inner = rest.lines().take_while(|line| line.starts_with("      "));
        let set = inner.filter_map(|line| line.trim().strip_prefix("PRESENTLY_")?.split_once(": "));
        let set: Vec<_> =
            set.map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-"))).collect();
        options(&set.join("\n"))
    });
    environments.filter(|set| !set.is_empty()).collect()
}

#[test]
fn compose_waits_for_the_drain() {
    let compose = read("compose.yaml");
    let patience = humantime::parse_duration(value(&compose, "stop_grace_period: ")).expect("a time");
    let environments = environments(&compose);
    assert_eq!(environments.len(), 2, "a gateway that is alone, and those of a cluster");
    for set in environments {
        assert!(set.contains(&("drain".into(), "20s".into())), "{set:?}");
        assert!(patience > stops_within(&set), "{patience:?}, {set:?}");
    }
}

#[test]
fn compose_has_the_servers_of_the_cluster_and_a_proxy_that_notices_a_stop() {
    let (compose, proxy, nats) = (read("compose.yaml"), read("haproxy/haproxy.cfg"), read("nats/nats.conf"));
    let environments = environments(&compose);
    let cluster = environments.iter().find_map(|set| set.iter().find(|(option, _)| option == "cluster"));
    let addresses: Addresses = cluster.expect("a cluster").1.parse().expect("addresses");
    let routes = addresses.servers.iter().map(|server| format!("nats://{}:6222", server.host)).collect::<Vec<_>>();
    assert!(routes.len() == 3 && nats.contains(&format!("routes: [{}]", routes.join(", "))), "{routes:?}");
    for server in &addresses.servers {
        assert!(compose.contains(&format!("\n  {}:", server.host)) && server.port == 4222, "{server}");
        assert!(compose.contains(&format!("\"--name\", \"{}\"]", server.host)), "{server}");
    }
    let gateways: Vec<_> = lines(&proxy).filter_map(|line| line.strip_prefix("server ")).collect();
    // HAProxy 2.6 takes no `tcp-ut` from default-server.
    assert_eq!(gateways, [1, 2, 3].map(|n| format!("gateway-{n} gateway-{n}:4000 tcp-ut 3s")));
    for n in [1, 2, 3] {
        assert!(compose.contains(&format!("\n  gateway-{n}:")), "{n}");
        assert!(compose.contains(&format!("\n    volumes: [\"gateway-{n}:/data\"]")), "a directory of its own");
    }
    // The checks that fail until a gateway is out.
    assert!(proxy.contains("check inter 2s fall 3 ") && proxy.contains("httpchk GET /readyz\n"), "{proxy}");
    let notices = Duration::from_secs(2 * 3);
    let delay = value(&compose, "PRESENTLY_DRAIN_DELAY: ");
    assert!(humantime::parse_duration(delay).expect("a time") > notices, "{delay}");
}

/// As in the image, but for the folders.
#[test]
fn nats_takes_the_configuration_of_compose() {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nats/bin/nats-server");
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/nats/nats.conf");
    let checked = Command::new(unpacked).arg("-t").arg("-c").arg(conf).args(["--name", "nats-1"]).output();
    let checked = checked.expect("nats-server; tests/run installs it");
    assert!(checked.status.success(), "{checked:?}");
}

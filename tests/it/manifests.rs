//! The unit files of systemd and the manifests of Kubernetes: they name options that exist, leave time to stop, and keep to what
//! others have learned.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use presently::Config;

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

#[test]
fn compose_waits_for_the_drain() {
    let compose = read("compose.yaml");
    let drain = ("drain".to_owned(), value(&compose, "PRESENTLY_DRAIN: ").to_owned());
    let patience = humantime::parse_duration(value(&compose, "stop_grace_period: ")).expect("a time");
    assert!(patience > stops_within(&[drain]), "{patience:?}");
}

//! Monitoring: OPERATING lists what `/metrics` has, and the dashboard and the alerts of `docker/` fit to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Metrics, TestServer};

const OPERATING: &str = include_str!("../../src/OPERATING.md");
const PROMETHEUS: &str = include_str!("../../docker/prometheus/prometheus.yml");
const ALERTS: &str = include_str!("../../docker/prometheus/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../docker/prometheus/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../docker/grafana/presently.json");
const COMPOSE: &str = include_str!("../../docker/compose.yaml");

/// The path of the key in the container of Prometheus.
const KEY: &str = "/run/secrets/metrics-key";

/// The first cells of a table's rows, each with the second, from the row of `head` on.
fn table<'a>(page: &'a str, head: &str) -> Vec<(&'a str, &'a str)> {
    let (_, rows) = page.split_once(head).unwrap_or_else(|| panic!("no table {head}"));
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|')).filter(|line| !line.starts_with("|--"));
    let cells = rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])));
    cells.map(|mut cells| (cells.next().expect("a cell"), cells.next().expect("two cells"))).collect()
}

/// Each metric with its type, as `name{label}`, and `_total` where it is a counter.
fn listed(metrics: &Metrics) -> BTreeMap<String, String> {
    let name = |(family, ty): (&String, &String)| {
        let name = if ty == "counter" { format!("{family}_total") } else { family.clone() };
        let labels: BTreeSet<_> = metrics.labels(&name).into_iter().filter(|label| label != "le").collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(",");
        (if labels.is_empty() { name } else { format!("{name}{{{labels}}}") }, ty.clone())
    };
    metrics.types.iter().map(name).collect()
}

#[tokio::test]
async fn operating_lists_all_metrics_with_their_types_and_labels() {
    let metrics = TestServer::start().await.metrics().await;
    let page: BTreeMap<_, _> = table(OPERATING, "| metric | type |").into_iter().collect();
    let listed = listed(&metrics);
    let listed: BTreeMap<_, _> = listed.iter().map(|(name, ty)| (&**name, &**ty)).collect();
    assert_eq!(page, listed);
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("presently_") || word.starts_with("process_")).collect()
}

/// All texts in a document under the name `key`.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|value| texts(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_metrics_that_are_there() {
    let metrics = TestServer::start().await.metrics().await;
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut queries = vec![ALERTS];
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 40, "{} queries", queries.len());
    let there: BTreeSet<_> = metrics.samples.keys().map(|sample| sample.split('{').next().expect("a name")).collect();
    let all: BTreeSet<_> = queries.into_iter().flat_map(names).collect();
    assert!(all.is_subset(&there), "not there: {:?}", all.difference(&there).collect::<Vec<_>>());
    let shown = |family: &String| all.iter().any(|name| name.starts_with(&**family));
    let unseen: Vec<_> = metrics.types.keys().filter(|family| !shown(family)).collect();
    assert_eq!(unseen, ["presently_count_readers"], "the dashboard shows all others");
}

#[test]
fn the_dashboard_is_complete() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has its own id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["title"].is_string() && !panel["targets"].as_array().expect("targets").is_empty(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

/// The values under `key` in a file of YAML whose values stand on the same line.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    yaml.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn operating_explains_each_alert_and_a_test_has_each_fire() {
    let alerts = values(ALERTS, "alert:");
    assert_eq!(table(OPERATING, "| alert | fires |").iter().map(|(name, _)| *name).collect::<Vec<_>>(), alerts);
    for key in ["severity:", "summary:", "description:"] {
        assert_eq!(values(ALERTS, key).len(), alerts.len(), "{key}");
    }
    let fire: BTreeSet<_> = ALERT_TESTS.split("alertname: ").filter(|test| test.contains("exp_alerts:")).collect();
    for alert in alerts {
        let with = |end: &str| format!("{alert}{end}");
        assert!(fire.iter().any(|test| test.starts_with(&with("\n"))), "no test has {alert} fire");
        assert!(ALERT_TESTS.contains(&with(" }")), "no test keeps {alert} quiet");
    }
}

/// A past bug: two branches had each added volumes, and a service stood among them.
#[test]
fn compose_has_each_section_once_and_each_service_in_its_section() {
    let sections: Vec<_> = COMPOSE.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    assert_eq!(sections, ["name: presently", "services:", "volumes:", "secrets:"]);
    let services = COMPOSE.split("\nvolumes:\n").next().expect("services");
    let cluster = ["gateway-1", "gateway-2", "gateway-3", "nats-1", "nats-2", "nats-3", "proxy"];
    for service in ["presently", "prometheus", "grafana"].iter().chain(&cluster) {
        assert_eq!(services.lines().filter(|line| line.starts_with(&format!("  {service}:"))).count(), 1, "{service}");
    }
    assert_eq!(values(COMPOSE, "image:").len(), services.matches("image:").count());
}

#[test]
fn images_are_of_pinned_versions() {
    let images = values(COMPOSE, "image:");
    let foreign: Vec<_> = images.into_iter().filter(|image| *image != "presently").collect();
    assert_eq!(foreign.len(), 4, "{foreign:?}");
    for image in foreign {
        let version = image.split_once(':').map(|(_, version)| version.trim_start_matches('v')).unwrap_or_default();
        let numbers = version.split('.').filter(|number| number.parse::<u32>().is_ok()).count();
        assert_eq!(numbers, 3, "{image}");
    }
}

/// `promtool` of Debian's package `prometheus`, where `tests/run` unpacks it, or of the path.
fn promtool(folder: &Path, arguments: &[&str], input: &str) -> String {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus/usr/bin/promtool");
    let program = if unpacked.exists() { unpacked } else { PathBuf::from("promtool") };
    let from = folder.join("input");
    fs::write(&from, input).expect("a written file");
    let stdin = fs::File::open(from).expect("a file");
    let ran = Command::new(program).current_dir(folder).args(arguments).stdin(stdin).output();
    let output = ran.expect("promtool; tests/run installs it");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
    text
}

#[test]
fn prometheus_takes_its_configuration_and_the_alerts_pass_their_tests() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let key = path("key");
    fs::write(&key, "a key").expect("a written file");
    assert!(PROMETHEUS.contains(KEY) && COMPOSE.contains("metrics-key"), "the key's path");
    fs::write(path("prometheus.yml"), PROMETHEUS.replace(KEY, key.to_str().expect("UTF-8"))).expect("a written file");
    fs::write(path("alerts.yml"), ALERTS).expect("a written file");
    fs::write(path("alerts.test.yml"), ALERT_TESTS).expect("a written file");
    promtool(folder.path(), &["check", "config", "prometheus.yml"], "");
    promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"], "");
    promtool(folder.path(), &["test", "rules", "alerts.test.yml"], "");
}

/// `promtool` reads the older text format, in which a counter's family has its whole name.
#[tokio::test]
async fn the_metrics_keep_the_conventions_of_prometheus() {
    let metrics = TestServer::start().await.metrics().await;
    let counters: BTreeSet<_> =
        metrics.types.iter().filter(|(_, ty)| *ty == "counter").map(|(name, _)| &**name).collect();
    let plain = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        ["#", "EOF"] | ["#", "UNIT", ..] => None,
        ["#", what, name, ..] if counters.contains(name) => {
            Some(line.replacen(&format!("{what} {name}"), &format!("{what} {name}_total"), 1) + "\n")
        }
        _ => Some(format!("{line}\n")),
    };
    let text: String = metrics.text.lines().filter_map(plain).collect();
    let folder = tempfile::tempdir().expect("a folder");
    promtool(folder.path(), &["check", "metrics"], &text);
}

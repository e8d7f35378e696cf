//! The numbers of `/metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Client, DEADLINE};

/// `/metrics` at one moment.
#[derive(Debug)]
pub struct Metrics {
    pub text: String,
    /// By name and labels.
    pub samples: BTreeMap<String, f64>,
    /// By family.
    pub types: BTreeMap<String, String>,
}

impl Metrics {
    fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        let ty = |line: &str| {
            let (name, ty) = line.strip_prefix("# TYPE ")?.split_once(' ').expect("a type");
            Some((name.to_owned(), ty.to_owned()))
        };
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(sample).collect();
        Metrics { text: text.to_owned(), samples, types: text.lines().filter_map(ty).collect() }
    }

    /// The value of a sample.
    pub fn of(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("{sample} in {}", self.text))
    }

    /// The labels of a metric.
    pub fn labels(&self, name: &str) -> BTreeSet<String> {
        let labels = self.samples.keys().filter_map(|sample| sample.strip_prefix(name)?.strip_prefix('{'));
        let pairs = labels.flat_map(|labels| labels.trim_end_matches('}').split(','));
        pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
    }
}

impl Client {
    /// The numbers now.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics").await.expect(200);
        let ty = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(answer.header("content-type"), Some(ty));
        assert!(answer.text().ends_with("# EOF\n"), "{}", answer.text());
        Metrics::read(answer.text())
    }

    /// Waits until `holds`: the gateway may still be counting after an answer.
    pub async fn metrics_when(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        let looks = async {
            loop {
                let metrics = self.metrics().await;
                if holds(&metrics) {
                    return metrics;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(DEADLINE, looks).await {
            Ok(metrics) => metrics,
            Err(_) => panic!("never {what}: {}", self.metrics().await.text),
        }
    }
}

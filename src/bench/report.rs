//! What came out, as a table or as one JSON object.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::bench::board::Times;

/// What came out of a bench.
#[derive(Debug)]
pub struct Report {
    title: String,
    figures: Vec<Figure>,
    times: Vec<(&'static str, Times)>,
    notes: Vec<String>,
    faults: Vec<String>,
    interrupted: bool,
}

/// One figure. Its key, in JSON, ends with its unit.
#[derive(Debug)]
struct Figure {
    key: &'static str,
    label: &'static str,
    value: Value,
    unit: &'static str,
}

impl Report {
    /// Nothing yet.
    pub fn new(title: String) -> Self {
        Report {
            title,
            figures: Vec::new(),
            times: Vec::new(),
            notes: Vec::new(),
            faults: Vec::new(),
            interrupted: false,
        }
    }

    /// Adds what is in words; without a label it is in the title already.
    pub fn say(&mut self, key: &'static str, label: &'static str, value: impl Into<String>) {
        self.figures.push(Figure { key, label, value: Value::String(value.into()), unit: "" });
    }

    /// Adds a count.
    pub fn count(&mut self, key: &'static str, label: &'static str, value: u64) {
        self.figures.push(Figure { key, label, value: value.into(), unit: "" });
    }

    /// Adds a measure.
    pub fn measure(&mut self, key: &'static str, label: &'static str, value: f64, unit: &'static str) {
        // To three decimals: the rest is noise.
        let value = json!((value * 1_000.0).round() / 1_000.0);
        self.figures.push(Figure { key, label, value, unit });
    }

    /// Adds how long something took, each time it happened, unless it never did.
    pub fn times(&mut self, key: &'static str, times: Times) {
        if !times.is_empty() {
            self.times.push((key, times));
        }
    }

    /// Adds what a reader of the report should know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds something that should not have happened.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// What should not have happened.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The bench was ended before it was done.
    pub fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// One JSON object: each figure under its key, `latency_ms`, `notes`, `faults`, `interrupted`.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Milliseconds at each percentile that is shown.
fn percentiles(times: &Times) -> [(&'static str, f64); 4] {
    let at = |value: u64| value as f64 / 1_000.0;
    let percentile = |percent| at(times.value_at_percentile(percent));
    [("p50", percentile(50.0)), ("p90", percentile(90.0)), ("p99", percentile(99.0)), ("max", at(times.max()))]
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut latency = Map::new();
        for (key, times) in &self.times {
            let mut series = Map::from_iter(percentiles(times).map(|(name, value)| (name.to_owned(), json!(value))));
            series.insert("count".into(), json!(times.len()));
            latency.insert((*key).into(), Value::Object(series));
        }
        let interrupted = json!(self.interrupted);
        let rest = [
            ("latency_ms", Value::Object(latency)),
            ("notes", json!(self.notes)),
            ("faults", json!(self.faults)),
            ("interrupted", interrupted),
        ];
        to.collect_map(
            self.figures.iter().map(|figure| (figure.key, &figure.value)).chain(rest.iter().map(|(k, v)| (*k, v))),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}\n", self.title, if self.interrupted { ", ended early" } else { "" })?;
        let shown = |Figure { value, .. }: &Figure| {
            let (count, measure) = (value.as_u64().map(|n| n.to_string()), value.as_f64().map(|n| format!("{n:.2}")));
            let words = || value.as_str().unwrap_or_default().to_owned();
            count.or(measure).map_or_else(words, |number| grouped(&number))
        };
        for figure in self.figures.iter().filter(|figure| !figure.label.is_empty()) {
            writeln!(f, "{}", format!("  {:<36}{:>16} {}", figure.label, shown(figure), figure.unit).trim_end())?;
        }
        if !self.times.is_empty() {
            writeln!(f, "\n  {:<24}{:>12}{:>12}{:>12}{:>12}", "milliseconds", "p50", "p90", "p99", "max")?;
        }
        for (key, times) in &self.times {
            write!(f, "  {:<24}", key.replace('_', " "))?;
            percentiles(times)
                .iter()
                .try_for_each(|(_, value)| write!(f, "{:>12}", grouped(&format!("{value:.2}"))))?;
            writeln!(f)?;
        }
        for (what, sentences) in [("note", &self.notes), ("FAULT", &self.faults)] {
            for (n, sentence) in sentences.iter().enumerate() {
                writeln!(f, "{}  {what}: {sentence}", if n == 0 { "\n" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// 1234567.5 as 1,234,567.5.
fn grouped(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    let digits = number.chars().enumerate();
    let mut grouped = String::new();
    for (at, digit) in digits {
        let left = whole.saturating_sub(at);
        if at > 0 && left > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, expected) in
            [("1", "1"), ("123", "123"), ("1234", "1,234"), ("-123.45", "-123.45"), ("1234567.5", "1,234,567.5")]
        {
            assert_eq!(grouped(number), expected);
        }
    }
}

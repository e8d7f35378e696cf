//! The report of a bench: its figures and latencies, as a table or as one JSON object.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::bench::latencies::Latencies;

/// The result of a bench. `Display` writes it as a table.
#[derive(Debug)]
pub struct Report {
    title: String,
    figures: Vec<Figure>,
    /// Latencies by their key.
    latencies: Vec<(&'static str, Latencies)>,
    notes: Vec<String>,
    faults: Vec<String>,
    interrupted: bool,
}

/// One figure. Its key in JSON ends with its unit; its label stands in the table.
#[derive(Debug)]
struct Figure {
    key: &'static str,
    /// Empty if the title of the table tells the figure already.
    label: &'static str,
    value: Value,
    unit: &'static str,
}

impl Report {
    /// A report without figures.
    pub(super) fn new(title: String) -> Self {
        Report {
            title,
            figures: Vec::new(),
            latencies: Vec::new(),
            notes: Vec::new(),
            faults: Vec::new(),
            interrupted: false,
        }
    }

    /// Adds a text.
    pub(super) fn text(&mut self, key: &'static str, label: &'static str, value: impl Into<String>) {
        self.figures.push(Figure { key, label, value: Value::String(value.into()), unit: "" });
    }

    /// Adds a count.
    pub(super) fn count(&mut self, key: &'static str, label: &'static str, value: u64) {
        self.figures.push(Figure { key, label, value: value.into(), unit: "" });
    }

    /// Adds a measured value in `unit`, rounded to three decimals.
    pub(super) fn measure(&mut self, key: &'static str, label: &'static str, value: f64, unit: &'static str) {
        let value = json!((value * 1_000.0).round() / 1_000.0);
        self.figures.push(Figure { key, label, value, unit });
    }

    /// Adds latencies, unless there are none.
    pub(super) fn latencies(&mut self, key: &'static str, latencies: Latencies) {
        if latencies.count() > 0 {
            self.latencies.push((key, latencies));
        }
    }

    /// Adds a remark on how to read the report.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds a failure: the gateway broke a promise, or the bench could not be completed.
    pub(super) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Marks the report as that of a bench that ended early.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// The failures, each as one sentence; none if all went well.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// One JSON object: each figure under its key, then `latency_ms`, `notes`, `faults` and `interrupted`.
    pub fn json(&self) -> String {
        // Cannot fail: all keys are strings.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn write_figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in self.figures.iter().filter(|figure| !figure.label.is_empty()) {
            writeln!(f, "{}", format!("  {:<36}{:>16} {}", figure.label, figure.shown(), figure.unit).trim_end())?;
        }
        Ok(())
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.latencies.is_empty() {
            writeln!(f, "\n  {:<24}{:>12}{:>12}{:>12}{:>12}", "milliseconds", "p50", "p90", "p99", "max")?;
        }
        for (key, latencies) in &self.latencies {
            write!(f, "  {:<24}", key.replace('_', " "))?;
            for (_, milliseconds) in percentiles(latencies) {
                write!(f, "{:>12}", grouped(&format!("{milliseconds:.2}")))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Figure {
    /// The value as written in the table.
    fn shown(&self) -> String {
        let count = self.value.as_u64().map(|count| count.to_string());
        let measured = self.value.as_f64().map(|value| format!("{value:.2}"));
        let text = || self.value.as_str().unwrap_or_default().to_owned();
        count.or(measured).map_or_else(text, |number| grouped(&number))
    }
}

/// The percentiles of a report, in milliseconds.
fn percentiles(latencies: &Latencies) -> [(&'static str, f64); 4] {
    let percentile = |percent| latencies.percentile_ms(percent);
    [("p50", percentile(50.0)), ("p90", percentile(90.0)), ("p99", percentile(99.0)), ("max", percentile(100.0))]
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut latency_ms = Map::new();
        for (key, latencies) in &self.latencies {
            let percentiles = percentiles(latencies).map(|(name, value)| (name.to_owned(), json!(value)));
            let mut series = Map::from_iter(percentiles);
            series.insert("count".into(), json!(latencies.count()));
            latency_ms.insert((*key).into(), Value::Object(series));
        }
        let rest = [
            ("latency_ms", Value::Object(latency_ms)),
            ("notes", json!(self.notes)),
            ("faults", json!(self.faults)),
            ("interrupted", json!(self.interrupted)),
        ];
        let figures = self.figures.iter().map(|figure| (figure.key, &figure.value));
        to.collect_map(figures.chain(rest.iter().map(|(key, value)| (*key, value))))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}\n", self.title, if self.interrupted { ", ended early" } else { "" })?;
        self.write_figures(f)?;
        self.write_latencies(f)?;
        for (label, sentences) in [("note", &self.notes), ("FAULT", &self.faults)] {
            for (n, sentence) in sentences.iter().enumerate() {
                writeln!(f, "{}  {label}: {sentence}", if n == 0 { "\n" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// Groups the digits of a decimal number by thousands: 1,234,567.5.
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

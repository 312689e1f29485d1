//! What was measured, as tables for people and JSON lines for machines.
//!
//! A scenario adds one [`Sample`] per round, case and server; servers take turns, so that
//! whatever else the machine does meets all of them. At its end [`Report::finish`] prints, for
//! each case, every server's medians (with least and greatest) and, below them, the
//! ratio of the first server to each of the others: a figure means something only beside
//! another one of the same run.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Map, Value, json};

/// One figure's name and unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// The key in JSON; it says the unit.
    pub(crate) key: &'static str,
    /// The column's title.
    pub(crate) title: &'static str,
    /// How it is printed.
    pub(crate) unit: Unit,
}

/// How a figure is printed; figures themselves are in base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number, with k and M.
    Count,
    /// Microseconds.
    Micros,
    /// Bytes.
    Bytes,
    /// A share of one.
    Share,
}

/// The figures of one round of one case on one server.
pub(crate) struct Sample {
    /// What was asked of the server: `rooms=50 in flight=32`.
    pub(crate) case: String,
    /// Who answered.
    pub(crate) server: String,
    /// In the order of the columns.
    pub(crate) figures: Vec<(&'static Metric, f64)>,
}

/// What a figure should be, alone or divided by that of another server.
pub(crate) struct Goal {
    /// In the case with this name.
    pub(crate) case: &'static str,
    /// For this server.
    pub(crate) server: &'static str,
    /// This figure …
    pub(crate) metric: &'static Metric,
    /// … divided by this server's …
    pub(crate) over: Option<&'static str>,
    /// … is so much.
    pub(crate) bound: Bound,
}

/// A limit of a figure or a ratio.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

/// Collects one scenario at a time.
pub(crate) struct Report {
    json: bool,
    samples: Vec<Sample>,
}

impl Report {
    /// With `json`, objects go to standard output and tables to standard error.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            samples: Vec::new(),
        }
    }

    /// Adds the figures of one round, and says them at once on standard error.
    pub(crate) fn add(&mut self, sample: Sample) {
        let figures: Vec<_> = sample
            .figures
            .iter()
            .map(|(metric, value)| format!("{} {}", metric.title, metric.unit.show(*value)))
            .collect();
        eprintln!(
            "  {} | {} | {}",
            sample.case,
            sample.server,
            figures.join(", ")
        );
        self.samples.push(sample);
    }

    /// Forgets the samples of a scenario that cannot be finished.
    pub(crate) fn discard(&mut self) {
        self.samples.clear();
    }

    /// Prints the scenario and which goals were met, and forgets its samples. Goals for
    /// what was not measured are passed over.
    pub(crate) fn finish(
        &mut self,
        scenario: &str,
        about: &str,
        goals: &[Goal],
    ) -> anyhow::Result<()> {
        let samples = std::mem::take(&mut self.samples);
        let rows = Row::of(&samples);
        let mut text = format!("\n## {scenario}\n{about}\n");
        for case in in_order(rows.iter().map(|row| row.case)) {
            let rows: Vec<_> = rows.iter().filter(|row| row.case == case).collect();
            text.push_str(&format!("\n{case}\n{}", table(&rows)));
        }
        let verdicts: Vec<_> = goals.iter().filter_map(|goal| goal.judge(&rows)).collect();
        if !verdicts.is_empty() {
            text.push_str("\ngoals\n");
        }
        for verdict in &verdicts {
            text.push_str(&verdict.text());
        }
        if self.json {
            io::stderr()
                .write_all(text.as_bytes())
                .context("print the table")?;
            for row in &rows {
                writeln!(io::stdout(), "{}", row.json(scenario, &rows)).context("print JSON")?;
            }
            for verdict in &verdicts {
                writeln!(io::stdout(), "{}", verdict.json(scenario)).context("print JSON")?;
            }
        } else {
            io::stdout()
                .write_all(text.as_bytes())
                .context("print the table")?;
        }
        Ok(())
    }
}

/// One server's figures in one case, over all rounds.
struct Row<'a> {
    case: &'a str,
    server: &'a str,
    figures: Vec<(&'static Metric, Spread)>,
}

impl<'a> Row<'a> {
    fn of(samples: &'a [Sample]) -> Vec<Self> {
        let keys = in_order(
            samples
                .iter()
                .map(|sample| (sample.case.as_str(), sample.server.as_str())),
        );
        keys.into_iter()
            .map(|(case, server)| {
                let rounds: Vec<_> = samples
                    .iter()
                    .filter(|sample| sample.case == case && sample.server == server)
                    .collect();
                let metrics = in_order(
                    rounds
                        .iter()
                        .flat_map(|round| round.figures.iter().map(|figure| figure.0)),
                );
                let figures = metrics
                    .into_iter()
                    .map(|metric| {
                        let values = rounds.iter().flat_map(|round| &round.figures);
                        let values = values
                            .filter(|figure| figure.0 == metric)
                            .map(|figure| figure.1)
                            .collect();
                        (metric, Spread::of(values))
                    })
                    .collect();
                Self {
                    case,
                    server,
                    figures,
                }
            })
            .collect()
    }

    fn get(&self, metric: &Metric) -> Option<Spread> {
        self.figures
            .iter()
            .find(|figure| figure.0 == metric)
            .map(|figure| figure.1)
    }

    /// This row's figure divided by the other's, where both have one.
    fn ratio(&self, other: &Self, metric: &Metric) -> Option<f64> {
        let (mine, other) = (self.get(metric)?.median, other.get(metric)?.median);
        let ratio = mine / other;
        ratio.is_finite().then_some(ratio)
    }

    fn json(&self, scenario: &str, all: &[Self]) -> Value {
        let figures: Map<_, _> = self
            .figures
            .iter()
            .map(|(metric, spread)| {
                let spread = json!({"median": spread.median, "min": spread.min, "max": spread.max, "rounds": spread.rounds});
                (metric.key.to_owned(), spread)
            })
            .collect();
        let others = all
            .iter()
            .filter(|row| row.case == self.case && row.server != self.server);
        let ratios: Map<_, _> = others
            .map(|other| {
                let ratios: Map<_, _> = self
                    .figures
                    .iter()
                    .filter_map(|(metric, _)| {
                        Some((metric.key.to_owned(), json!(self.ratio(other, metric)?)))
                    })
                    .collect();
                (other.server.to_owned(), Value::Object(ratios))
            })
            .collect();
        json!({"scenario": scenario, "case": self.case, "server": self.server, "figures": figures, "ratio_to": ratios})
    }
}

impl Goal {
    fn judge(&self, rows: &[Row<'_>]) -> Option<Verdict<'_>> {
        let row = |server: &str| {
            rows.iter()
                .find(|row| row.case == self.case && row.server == server)
        };
        let value = match self.over {
            Some(other) => row(self.server)?.ratio(row(other)?, self.metric)?,
            None => row(self.server)?.get(self.metric)?.median,
        };
        let met = match self.bound {
            Bound::AtLeast(limit) => value >= limit,
            Bound::AtMost(limit) => value <= limit,
        };
        Some(Verdict {
            goal: self,
            value,
            met,
        })
    }
}

/// A goal and what came of it.
struct Verdict<'a> {
    goal: &'a Goal,
    value: f64,
    met: bool,
}

impl Verdict<'_> {
    fn text(&self) -> String {
        let Self { goal, value, met } = self;
        let show = |value: f64| match goal.over {
            Some(_) => format!("×{value:.2}"),
            None => goal.metric.unit.show(value),
        };
        let limit = match goal.bound {
            Bound::AtLeast(limit) => format!("at least {}", show(limit)),
            Bound::AtMost(limit) => format!("at most {}", show(limit)),
        };
        let over = goal
            .over
            .map(|other| format!(" ÷ {other}"))
            .unwrap_or_default();
        let met = if *met { "met   " } else { "MISSED" };
        format!(
            "  {met}  {}: {}{over}, {}: {} ({limit})\n",
            goal.case,
            goal.server,
            goal.metric.title,
            show(*value)
        )
    }

    fn json(&self, scenario: &str) -> Value {
        let Goal {
            case,
            server,
            metric,
            over,
            bound,
        } = self.goal;
        let (side, limit) = match bound {
            Bound::AtLeast(limit) => ("at_least", limit),
            Bound::AtMost(limit) => ("at_most", limit),
        };
        json!({
            "scenario": scenario, "goal": metric.key, "case": case, "server": server, "over": over,
            side: limit, "value": self.value, "met": self.met,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
    rounds: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rounds = values.len();
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Self {
                median: f64::NAN,
                min: f64::NAN,
                max: f64::NAN,
                rounds,
            };
        };
        let median = f64::midpoint(values[(rounds - 1) / 2], values[rounds / 2]);
        Self {
            median,
            min,
            max,
            rounds,
        }
    }

    fn show(self, unit: Unit) -> String {
        if self.rounds < 2 {
            return unit.show(self.median);
        }
        format!(
            "{} [{}–{}]",
            unit.show(self.median),
            unit.show(self.min),
            unit.show(self.max)
        )
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Self::Count if value.abs() >= 1e6 => format!("{:.2}M", value / 1e6),
            Self::Count if value.abs() >= 1e4 => format!("{:.1}k", value / 1e3),
            Self::Count if value.fract() == 0.0 || value.abs() >= 1e3 => format!("{value:.0}"),
            Self::Count => format!("{value:.2}"),
            Self::Micros if value >= 1e6 => format!("{:.2} s", value / 1e6),
            Self::Micros if value >= 1e3 => format!("{:.1} ms", value / 1e3),
            Self::Micros if value >= 100.0 => format!("{value:.0} µs"),
            Self::Micros => format!("{value:.2} µs"),
            Self::Bytes if value.abs() >= 1e7 => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Self::Bytes if value.abs() >= 1e3 => format!("{:.1} KiB", value / 1024.0),
            Self::Bytes => format!("{value:.0} B"),
            Self::Share => format!("{:.1}%", value * 100.0),
        }
    }
}

/// One case's rows, then the first server's ratios to the others.
fn table(rows: &[&Row<'_>]) -> String {
    let metrics = in_order(
        rows.iter()
            .flat_map(|row| row.figures.iter().map(|figure| figure.0)),
    );
    let mut cells = vec![
        std::iter::once(String::new())
            .chain(metrics.iter().map(|metric| metric.title.to_owned()))
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        let figures = metrics.iter().map(|metric| {
            row.get(metric)
                .map_or_else(String::new, |spread| spread.show(metric.unit))
        });
        cells.push(
            std::iter::once(row.server.to_owned())
                .chain(figures)
                .collect(),
        );
    }
    if let [first, others @ ..] = rows {
        for other in others {
            let ratios = metrics
                .iter()
                .map(|metric| match first.ratio(other, metric) {
                    Some(ratio) if ratio >= 100.0 => format!("×{ratio:.0}"),
                    Some(ratio) if ratio < 0.1 => format!("×{ratio:.4}"),
                    Some(ratio) => format!("×{ratio:.2}"),
                    None => String::new(),
                });
            cells.push(
                std::iter::once(format!("{} ÷ {}", first.server, other.server))
                    .chain(ratios)
                    .collect(),
            );
        }
    }
    let columns = metrics.len() + 1;
    let widths: Vec<_> = (0..columns)
        .map(|column| {
            cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = format!("  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row[1..].iter().zip(&widths[1..]) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Each item once, in the order of its first appearance.
fn in_order<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    static RATE: Metric = Metric {
        key: "updates_per_s",
        title: "updates/s",
        unit: Unit::Count,
    };
    static P50: Metric = Metric {
        key: "p50_us",
        title: "p50",
        unit: Unit::Micros,
    };

    fn samples() -> Vec<Sample> {
        [("a", 100.0), ("b", 50.0), ("a", 300.0), ("b", 50.0)]
            .map(|(server, rate)| Sample {
                case: "rooms=1".to_owned(),
                server: server.to_owned(),
                figures: vec![(&RATE, rate), (&P50, 1500.0)],
            })
            .into()
    }

    #[test]
    fn goals_are_judged_where_there_is_something_to_judge() {
        let samples = samples();
        let rows = Row::of(&samples);
        let goal = |over, bound| Goal {
            case: "rooms=1",
            server: "a",
            metric: &RATE,
            over,
            bound,
        };
        let met = |goal: Goal| goal.judge(&rows).map(|verdict| verdict.met);
        assert_eq!(met(goal(Some("b"), Bound::AtLeast(4.0))), Some(true));
        assert_eq!(met(goal(Some("b"), Bound::AtMost(3.9))), Some(false));
        assert_eq!(met(goal(None, Bound::AtMost(200.0))), Some(true));
        assert_eq!(met(goal(Some("c"), Bound::AtLeast(1.0))), None);
    }

    #[test]
    fn rounds_become_medians_and_ratios() {
        let samples = samples();
        let rows = Row::of(&samples);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0].get(&RATE),
            Some(Spread {
                median: 200.0,
                min: 100.0,
                max: 300.0,
                rounds: 2
            })
        );
        let text = table(&rows.iter().collect::<Vec<_>>());
        assert!(text.contains("200 [100–300]"), "{text}");
        assert!(
            text.contains("a ÷ b") && text.contains("×4.00") && text.contains("1.5 ms"),
            "{text}"
        );
        let json = rows[0].json("throughput", &rows);
        assert_eq!(json["ratio_to"]["b"]["updates_per_s"], 4.0);
        assert_eq!(json["figures"]["p50_us"]["median"], 1500.0);
    }
}

//! Our text CRDT beside others, on recorded traces: `make bench-text [TRACES="files"] [FORMAT=json]`.
//!
//! For each trace and engine, in one run and as medians: local edits, the same edits applied as
//! remote updates one transaction at a time, updates of several writers merged (concurrent traces),
//! loading a saved document and reading its text, the text at 100 past moments, the saved size with history, and the peak
//! of the heap while editing. A bare rope stands beside them as the floor. Ends with an error if a
//! final or past text differs from what the trace says.

mod engines;
mod growth;
mod memory;
mod trace;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engines::Engine;
use jumprope::JumpRope;
use serde::Serialize;
use trace::Trace;

#[global_allocator]
static HEAP: memory::Counting = memory::Counting;

/// How often a mode is run at most, and for how long.
const RUNS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(3);
/// How many past moments are asked for.
const MOMENTS: usize = 100;

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    engine: &'static str,
    trace: String,
    mode: &'static str,
    value: f64,
    unit: &'static str,
}

struct Bench {
    json: bool,
    figures: Vec<Figure>,
    faults: usize,
}

fn main() -> ExitCode {
    let mut json = false;
    let mut only: Option<String> = None;
    let mut paths = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--growth" => {
                let most = arguments.next().map_or(Ok(1_000_000), |most| most.parse());
                let Ok(most) = most else {
                    return usage("--growth takes a number of characters");
                };
                growth::run(most);
                return ExitCode::SUCCESS;
            }
            _ if argument.starts_with("--engines=") => {
                only = argument.split_once('=').map(|(_, names)| names.to_owned());
            }
            _ if argument.starts_with('-') => return usage(&format!("{argument} is no option")),
            _ => paths.push(argument),
        }
    }
    let mut bench = Bench {
        json,
        figures: Vec::new(),
        faults: 0,
    };
    let wanted = |name: &str| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|one| one == name))
    };
    let traces = match trace::read_all(&paths) {
        Ok(traces) => traces,
        Err(error) => return usage(&error),
    };
    for trace in traces {
        if wanted("well") {
            bench.run::<engines::well::Well>(&trace);
        }
        if wanted("jumprope") {
            bench.run::<engines::rope::Rope>(&trace);
        }
        if wanted("cola") {
            bench.run::<engines::cola::Cola>(&trace);
        }
        if wanted("diamond-types") {
            bench.run::<engines::diamond::Diamond>(&trace);
        }
        if wanted("yrs") {
            bench.run::<engines::yrs::Yrs>(&trace);
        }
        if wanted("loro") {
            bench.run::<engines::loro::Loro>(&trace);
        }
        if wanted("automerge") {
            bench.run::<engines::automerge::Automerge>(&trace);
        }
    }
    bench.summary();
    if bench.faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!(
        "{why}\nusage: bench-text [--json] [--engines=NAME,NAME] [TRACE…]\n       bench-text --growth [CHARACTERS]"
    );
    ExitCode::from(2)
}

impl Bench {
    fn run<E: Engine>(&mut self, trace: &Trace) {
        if trace.is_concurrent() {
            self.concurrent::<E>(trace);
        } else {
            self.sequential::<E>(trace);
        }
    }

    fn sequential<E: Engine>(&mut self, trace: &Trace) {
        let local = || {
            let mut doc = E::new(1);
            for transaction in &trace.txns {
                for (at, deleted, inserted) in &transaction.patches {
                    E::splice(&mut doc, *at, *deleted, inserted);
                }
                E::end(&mut doc);
            }
            doc
        };
        let time = median(|| {
            let start = Instant::now();
            let doc = black_box(local());
            let time = start.elapsed();
            drop(doc);
            time
        });
        self.time::<E>(trace, "local", time);
        let (doc, peak) = memory::peak(local);
        self.figure::<E>(trace, "memory", peak as f64 / 1024.0, "KiB");
        self.same::<E>(trace, "local", &E::text(&doc), &trace.end_content);
        drop(doc);
        if !E::REPLICATES {
            return;
        }
        let mut writer = E::new(1);
        E::take(&mut writer);
        let updates: Vec<E::Update> = trace
            .txns
            .iter()
            .map(|transaction| {
                for (at, deleted, inserted) in &transaction.patches {
                    E::splice(&mut writer, *at, *deleted, inserted);
                }
                E::end(&mut writer);
                E::take(&mut writer)
            })
            .collect();
        self.apply::<E>(trace, "remote", &updates);
        self.past::<E>(trace, &updates);
    }

    fn concurrent<E: Engine>(&mut self, trace: &Trace) {
        if !E::REPLICATES {
            return;
        }
        let updates = trace::replay::<E>(trace);
        self.apply::<E>(trace, "concurrent", &updates);
        let build = || {
            let mut doc = E::new(1 << 20);
            for update in &updates {
                E::apply(&mut doc, update);
            }
            doc
        };
        let (doc, peak) = memory::peak(build);
        drop(doc);
        self.figure::<E>(trace, "memory", peak as f64 / 1024.0, "KiB");
        self.past::<E>(trace, &updates);
    }

    fn apply<E: Engine>(&mut self, trace: &Trace, mode: &'static str, updates: &[E::Update]) {
        let mut text = String::new();
        let time = median(|| {
            let mut doc = E::new(1 << 20);
            let start = Instant::now();
            for update in updates {
                E::apply(&mut doc, update);
            }
            let time = start.elapsed();
            text = E::text(&doc);
            time
        });
        self.time::<E>(trace, mode, time);
        self.same::<E>(trace, mode, &text, &trace.end_content);
    }

    /// Saving, loading, and the text at past moments.
    fn past<E: Engine>(&mut self, trace: &Trace, updates: &[E::Update]) {
        let mut doc = E::new(1 << 20);
        let mut moments = Vec::new();
        // Scattered, and the same in every run.
        let mut state = 1u64;
        let mut chosen: Vec<usize> = (0..MOMENTS)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as usize % updates.len()
            })
            .collect();
        chosen.sort_unstable();
        for (at, update) in updates.iter().enumerate() {
            E::apply(&mut doc, update);
            for _ in chosen.iter().filter(|moment| **moment == at) {
                let text = if trace.is_concurrent() {
                    E::text(&doc)
                } else {
                    String::new()
                };
                moments.extend(E::version(&mut doc).map(|version| (at, version, text)));
            }
        }
        if !moments.is_empty() {
            // In the order in which they were drawn, as far as patience goes.
            let mut order: Vec<usize> = (0..moments.len()).collect();
            order.sort_by_key(|at| (at * 37) % moments.len());
            let time = median(|| {
                let start = Instant::now();
                let mut asked = 0;
                for at in &order {
                    black_box(E::at(&mut doc, &moments[*at].1));
                    asked += 1;
                    if start.elapsed() > PATIENCE {
                        break;
                    }
                }
                start.elapsed() / asked
            });
            self.time::<E>(trace, "at", time);
            let mut rope = JumpRope::new();
            let mut done = 0;
            // Each is looked at only if that is quick.
            let step = if time > PATIENCE / MOMENTS as u32 {
                MOMENTS / 4
            } else {
                1
            };
            for (at, version, seen) in moments.iter().step_by(step) {
                let expected = if trace.is_concurrent() {
                    seen.clone()
                } else {
                    while done <= *at {
                        for (place, deleted, inserted) in &trace.txns[done].patches {
                            rope.remove(*place..*place + *deleted);
                            rope.insert(*place, inserted);
                        }
                        done += 1;
                    }
                    rope.to_string()
                };
                let text = E::at(&mut doc, version);
                self.same::<E>(trace, "at", &text, &expected);
            }
        }
        let Some(log) = E::save_small(&mut doc) else {
            return;
        };
        self.figure::<E>(trace, "size", log.len() as f64 / 1024.0, "KiB");
        let Some(saved) = E::save(&mut doc) else {
            return;
        };
        let time = median(|| {
            let start = Instant::now();
            let doc = E::load(&saved);
            // Some decode only what they are asked for.
            let text = black_box(E::text(&doc));
            let time = start.elapsed();
            drop((doc, text));
            time
        });
        self.time::<E>(trace, "load", time);
        self.same::<E>(
            trace,
            "load",
            &E::text(&E::load(&saved)),
            &trace.end_content,
        );
        self.same::<E>(trace, "load", &E::text(&E::load(&log)), &trace.end_content);
    }

    fn same<E: Engine>(&mut self, trace: &Trace, mode: &str, text: &str, expected: &str) {
        if text != expected {
            self.faults += 1;
            eprintln!(
                "{}: {} of {} ends in another text",
                E::NAME,
                mode,
                trace.name
            );
        }
    }

    fn time<E: Engine>(&mut self, trace: &Trace, mode: &'static str, time: Duration) {
        self.figure::<E>(trace, mode, time.as_secs_f64() * 1000.0, "ms");
    }

    fn figure<E: Engine>(
        &mut self,
        trace: &Trace,
        mode: &'static str,
        value: f64,
        unit: &'static str,
    ) {
        let figure = Figure {
            engine: E::NAME,
            trace: trace.name.clone(),
            mode,
            value,
            unit,
        };
        if self.json {
            println!("{}", serde_json::to_string(&figure).expect("JSON"));
        } else {
            println!(
                "{:<14} {:<22} {:<10} {:>12.3} {}",
                figure.engine, figure.trace, mode, value, unit
            );
        }
        self.figures.push(figure);
    }

    /// Each engine beside ours: the geometric mean over all traces.
    fn summary(&self) {
        if self.json {
            return;
        }
        let mut ours = BTreeMap::new();
        for figure in self.figures.iter().filter(|figure| figure.engine == "well") {
            ours.insert((figure.trace.as_str(), figure.mode), figure.value);
        }
        let mut ratios: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for figure in &self.figures {
            if let Some(own) = ours.get(&(figure.trace.as_str(), figure.mode)) {
                ratios
                    .entry((figure.mode, figure.engine))
                    .or_default()
                    .push(figure.value / own);
            }
        }
        println!("\nratio to well, geometric mean over the traces (smallest):");
        for ((mode, engine), list) in ratios {
            let mean = (list.iter().map(|ratio| ratio.ln()).sum::<f64>() / list.len() as f64).exp();
            let least = list.iter().copied().fold(f64::INFINITY, f64::min);
            println!("{mode:<10} {engine:<14} {mean:>9.2} ({least:.2})");
        }
    }
}

/// The median of several runs.
fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < RUNS && (times.is_empty() || start.elapsed() < PATIENCE) {
        times.push(run());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

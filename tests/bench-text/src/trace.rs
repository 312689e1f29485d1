//! Recorded traces, and the updates that their writers would have sent.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engines::Engine;

#[derive(Clone, Debug, Deserialize)]
pub struct Transaction {
    #[serde(default)]
    pub parents: Vec<usize>,
    #[serde(default)]
    pub agent: u64,
    /// Where, how many characters go, and what comes.
    pub patches: Vec<(usize, usize, String)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(skip)]
    pub name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    start_content: String,
    pub end_content: String,
    #[serde(default)]
    num_agents: usize,
    pub txns: Vec<Transaction>,
}

impl Trace {
    pub fn is_concurrent(&self) -> bool {
        self.kind == "concurrent"
    }
}

/// The traces in these files; without any, all of the repository.
pub fn read_all(paths: &[String]) -> Result<Vec<Trace>, String> {
    let mut paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    if paths.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
        paths = fs::read_dir(folder)
            .expect("tests/traces")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
            .collect();
        paths.sort();
    }
    let read = |path: &PathBuf| {
        read(path).map_err(|error| format!("{} is not a trace: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn read(path: &Path) -> Result<Trace, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1F, 0x8B]) {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    let mut trace: Trace = serde_json::from_str(&text)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    trace.name = name
        .trim_end_matches(".gz")
        .trim_end_matches(".json")
        .to_owned();
    if !trace.start_content.is_empty() {
        let start = Transaction {
            parents: Vec::new(),
            agent: 0,
            patches: vec![(0, 0, trace.start_content.clone())],
        };
        trace.txns.insert(0, start);
    }
    Ok(trace)
}

/// Lets each writer make its transactions on what their parents give, and takes the updates.
pub fn replay<E: Engine>(trace: &Trace) -> Vec<E::Update> {
    let agents = trace.num_agents;
    let mut peers: Vec<E::Doc> = (0..agents as u64).map(|agent| E::new(agent + 1)).collect();
    for peer in &mut peers {
        E::take(peer);
    }
    // Up to which transaction of each writer each transaction has seen, and each peer has.
    let mut seen: Vec<Vec<usize>> = Vec::new();
    let mut has = vec![vec![0; agents]; agents];
    let mut of_agent: Vec<Vec<usize>> = vec![Vec::new(); agents];
    let mut updates: Vec<E::Update> = Vec::new();
    for (at, transaction) in trace.txns.iter().enumerate() {
        let agent = transaction.agent as usize;
        let mut saw = vec![0; agents];
        for parent in &transaction.parents {
            for (mine, theirs) in saw.iter_mut().zip(&seen[*parent]) {
                *mine = (*mine).max(*theirs);
            }
        }
        let mut lacks: Vec<usize> = (0..agents)
            .flat_map(|other| {
                of_agent[other][has[agent][other].min(saw[other])..saw[other]].to_vec()
            })
            .collect();
        lacks.sort_unstable();
        for lack in lacks {
            E::apply(&mut peers[agent], &updates[lack]);
        }
        for (have, saw) in has[agent].iter_mut().zip(&saw) {
            *have = (*have).max(*saw);
        }
        for (place, deleted, inserted) in &transaction.patches {
            E::splice(&mut peers[agent], *place, *deleted, inserted);
        }
        E::end(&mut peers[agent]);
        updates.push(E::take(&mut peers[agent]));
        of_agent[agent].push(at);
        saw[agent] = of_agent[agent].len();
        has[agent][agent] = saw[agent];
        seen.push(saw);
    }
    updates
}

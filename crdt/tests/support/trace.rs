//! Recorded traces of people writing; `tests/traces/README.md` says whose.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What was done at once.
#[derive(Clone, Debug, Deserialize)]
pub struct Transaction {
    #[serde(default)]
    pub parents: Vec<usize>,
    #[serde(default)]
    pub agent: u64,
    pub patches: Vec<(usize, usize, String)>,
}

/// A trace.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(skip)]
    pub name: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub start_content: String,
    pub end_content: String,
    #[serde(default)]
    pub num_agents: usize,
    pub txns: Vec<Transaction>,
}

impl Trace {
    pub fn read(path: &Path) -> Self {
        let file =
            fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .expect("gzip");
        let mut trace: Self = serde_json::from_str(&text).expect("a trace");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        trace.name = name.trim_end_matches(".json.gz").to_owned();
        trace
    }

    pub fn is_concurrent(&self) -> bool {
        self.kind == "concurrent"
    }
}

/// The traces of the repository, and those of the folder `TRACES_DIR`.
pub fn all() -> Vec<Trace> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let mut folders = vec![own];
    folders.extend(std::env::var_os("TRACES_DIR").map(PathBuf::from));
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder of traces"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| Trace::read(path)).collect()
}

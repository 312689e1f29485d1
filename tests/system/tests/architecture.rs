//! The house rules that a compiler does not hold.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The crates, each with those that it may depend on: only ever ones above it.
const HOUSE: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("crdt", &[]),
    ("storage", &["protocol"]),
    ("replay", &["protocol", "crdt", "storage"]),
    ("observatory", &["protocol"]),
    (
        "broker",
        &["protocol", "crdt", "storage", "replay", "observatory"],
    ),
    (
        "gateway",
        &[
            "protocol",
            "crdt",
            "storage",
            "replay",
            "observatory",
            "broker",
        ],
    ),
    ("well-client", &["protocol", "crdt"]),
    (
        "well",
        &[
            "well-client",
            "protocol",
            "crdt",
            "storage",
            "replay",
            "observatory",
            "broker",
            "gateway",
        ],
    ),
];

/// Crates that know no clock, no randomness, no network and no disk.
const PURE: &[&str] = &["protocol", "crdt"];

/// What a pure crate may not reach, however indirectly.
const IMPURE: &[&str] = &[
    "async-std",
    "chrono",
    "fastrand",
    "futures-timer",
    "getrandom",
    "hyper",
    "instant",
    "mio",
    "oorandom",
    "quanta",
    "rand",
    "rand_core",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "sled",
    "time",
    "tokio",
    "uuid",
    "wasm-timer",
    "web-time",
];

/// Pure state machines in crates that are not.
const PURE_FILES: &[&str] = &["broker/src/room/core.rs", "broker/src/presence.rs"];

/// DESIGN.md's invariants, by the name of a test.
const INVARIANTS: &[&str] = &[
    "durable_before_visible",
    "seqs_have_no_gaps",
    "once",
    "nothing_malformed_enters_the_log",
    "fold_is_the_truth",
    "memory_is_bounded",
    "a_failed_sync_poisons_the_log",
    "a_viewer_never_writes",
    "bytes_from_disk_and_network_are_hostile",
];

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        let Some((_, allowed)) = HOUSE
            .iter()
            .find(|(name, _)| package.name.as_str() == *name)
        else {
            // A member outside the house may use it, and nothing in the house may use that.
            continue;
        };
        for used in workspace_dependencies(&metadata, package) {
            if !allowed.contains(&used.as_str()) {
                faults.push(format!("{} may not depend on {used}", package.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_member_has_its_place() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    for package in metadata.workspace_packages() {
        let folder = folder_of(package, root);
        let in_house = HOUSE.iter().any(|(name, _)| package.name.as_str() == *name);
        let in_tests = folder.starts_with("tests/");
        assert!(in_house != in_tests, "{} lies in {folder}", package.name);
        if in_house {
            let name = package.name.as_str();
            let name = name.strip_prefix("well-").unwrap_or(name);
            assert_eq!(folder, name, "a crate lies in a folder of its name");
        }
    }
}

#[test]
fn pure_crates_reach_no_clock_and_no_randomness() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let pure = members
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()));
    for package in pure {
        let reached = reached_by(package.name.as_str());
        assert!(reached.contains(package.name.as_str()), "{reached:?}");
        let impure: Vec<&String> = reached
            .iter()
            .filter(|name| IMPURE.contains(&name.as_str()))
            .collect();
        assert!(impure.is_empty(), "{} reaches {impure:?}", package.name);
    }
}

#[test]
fn pure_code_asks_for_no_time_and_spawns_nothing() {
    let root = root();
    let mut files: Vec<PathBuf> = PURE_FILES.iter().map(|file| root.join(file)).collect();
    for name in PURE {
        rust_files(&root.join(name).join("src"), &mut files);
    }
    for file in files {
        let is_tests = file.ends_with("tests.rs");
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for call in [
            "::now()", "thread::", "std::fs", "std::net", "tokio::", "rand::", "std::env",
        ] {
            assert!(
                is_tests || !code.contains(call),
                "{} uses {call}",
                file.display()
            );
        }
    }
}

#[test]
fn the_codemap_names_every_member_and_nothing_else() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let codemap = section(&text, "## Codemap");
    let named: BTreeSet<String> = codemap
        .lines()
        .filter_map(|line| line.trim().strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| name.trim_end_matches('/').to_owned())
        .collect();
    let members: BTreeSet<String> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| folder_of(package, root))
        .collect();
    assert_eq!(
        named, members,
        "ARCHITECTURE.md's codemap, and the workspace"
    );
}

#[test]
fn the_codemap_says_who_knows_whom() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows: Vec<(String, String)> = section(&text, "## Codemap")
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line
                .trim()
                .trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect();
            let [name, _, knows] = cells[..] else {
                return None;
            };
            let name = name.strip_prefix('`')?.split('`').next()?;
            Some((name.trim_end_matches('/').to_owned(), knows.to_owned()))
        })
        .collect();
    let mut above: BTreeSet<&str> = BTreeSet::new();
    for (name, knows) in &rows {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| folder_of(package, root) == *name);
        let is_house = |package: &&Package| {
            HOUSE
                .iter()
                .any(|(house, _)| *house == package.name.as_str())
        };
        if let Some(package) = package.filter(is_house) {
            let known: BTreeSet<&str> = match knows.as_str() {
                "nothing" => BTreeSet::new(),
                "the above" | "all" => above.clone(),
                list => list.split(", ").collect(),
            };
            assert!(
                known.is_subset(&above),
                "{name} knows only what stands above it: {knows}"
            );
            for used in workspace_dependencies(&metadata, package) {
                assert!(
                    known.contains(used.as_str()),
                    "{name} uses {used}, and the codemap says it knows {knows}"
                );
            }
        }
        above.insert(package.map_or(name, |package| package.name.as_str()));
    }
}

#[test]
fn each_invariant_has_a_test_of_its_name() {
    let root = root();
    let mut files = Vec::new();
    let members: Vec<PathBuf> = metadata()
        .workspace_packages()
        .into_iter()
        .filter_map(|package| Some(package.manifest_path.parent()?.as_std_path().to_owned()))
        .collect();
    for member in &members {
        rust_files(member, &mut files);
    }
    files.sort();
    files.dedup();
    // Which tests there are, by name.
    let mut tests: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut after_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]")
                || line.starts_with("#[tokio::test")
                || line.contains("proptest!")
            {
                after_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ") {
                if after_test && let Some((name, _)) = rest.split_once('(') {
                    tests.insert(name.to_owned(), file.clone());
                }
                after_test = false;
            }
        }
    }
    let missing: Vec<&&str> = INVARIANTS
        .iter()
        .filter(|invariant| {
            let named =
                |test: &String| test == *invariant || test.starts_with(&format!("{invariant}_"));
            !tests.keys().any(named)
        })
        .collect();
    assert!(
        missing.is_empty(),
        "no test is named after {missing:?}; looked in {}",
        root.display()
    );
}

/// The workspace members that a package uses outside its tests.
fn workspace_dependencies(metadata: &Metadata, package: &Package) -> Vec<String> {
    let members: HashSet<&str> = metadata
        .workspace_packages()
        .into_iter()
        .map(|member| member.name.as_str())
        .collect();
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .filter(|name| members.contains(name.as_str()))
        .collect()
}

/// The workspace's members.
fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().expect("cargo metadata")
}

/// The names of all crates that a member reaches outside its tests, on this platform.
fn reached_by(member: &str) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "tree",
        "--offline",
        "--locked",
        "--all-features",
        "--edges",
        "normal",
    ]);
    command.args(["--prefix", "none", "--format", "{p}", "--package", member]);
    let output = command.current_dir(root()).output().expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/system lies in the workspace")
        .to_owned()
}

fn folder_of(package: &Package, root: &Path) -> String {
    let folder = package
        .manifest_path
        .parent()
        .expect("a manifest lies in a folder");
    let folder = folder
        .as_std_path()
        .strip_prefix(root)
        .expect("a member lies in the workspace");
    folder.to_string_lossy().into_owned()
}

/// The text from a heading to the next of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let after = text
        .split_once(heading)
        .unwrap_or_else(|| panic!("no {heading:?}"))
        .1;
    after
        .split_once("\n## ")
        .map_or(after, |(section, _)| section)
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != "node_modules" {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

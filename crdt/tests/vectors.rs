//! The bytes of updates and snapshots, as `tests/vectors/text.json` has them.
//!
//! The file is shared with every other build of the engine: whoever carries out its steps must get
//! its bytes. `VECTORS=write` writes it anew, which only a new format version may do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crdt::text::{Client, History, Measure, Seq, Text, Version};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Step {
    /// A client replaces `deleted` UTF-16 units at `at`.
    Edit {
        client: u64,
        at: usize,
        deleted: usize,
        inserted: String,
        /// The update's bytes, in hexadecimal.
        update: String,
    },
    /// A client applies the update of an earlier step.
    Apply { client: u64, step: usize },
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Scenario {
    name: String,
    steps: Vec<Step>,
    /// What a server that applied all updates in the order of the steps has; Seqs are from 1.
    text: String,
    diff: String,
    snapshot: String,
    without: String,
    /// Deflate has many encodings of the same: other builds need only read this one.
    archive: String,
}

/// One edit by a client: at, deleted, inserted. Or who hears of all before.
enum Plan {
    Edit(u64, usize, usize, &'static str),
    Hear(u64),
}

fn plans() -> Vec<(&'static str, Vec<Plan>)> {
    use Plan::{Edit, Hear};
    vec![
        (
            "typing",
            vec![
                Edit(1, 0, 0, "h"),
                Edit(1, 1, 0, "i"),
                Edit(1, 2, 0, " there"),
            ],
        ),
        (
            "erasing forwards and backwards",
            vec![
                Edit(1, 0, 0, "abcdef"),
                Edit(1, 5, 1, ""),
                Edit(1, 4, 1, ""),
                Edit(1, 0, 1, ""),
                Edit(1, 0, 1, ""),
            ],
        ),
        (
            "two at one place",
            vec![
                Edit(1, 0, 0, "[]"),
                Hear(2),
                Hear(300),
                Edit(2, 1, 0, "two"),
                Edit(300, 1, 0, "three"),
                Hear(2),
                Hear(300),
                Edit(2, 3, 4, "-"),
                Edit(300, 1, 0, "<"),
            ],
        ),
        (
            "the same deleted twice",
            vec![
                Edit(1, 0, 0, "shared text"),
                Hear(2),
                Edit(1, 2, 6, ""),
                Edit(2, 4, 7, ""),
                Edit(2, 4, 0, "!"),
                Hear(1),
                Edit(1, 0, 0, "("),
            ],
        ),
        (
            "wide characters and large ids",
            vec![
                Edit(u64::MAX, 0, 0, "naïve 😀 日本"),
                Hear(9_007_199_254_740_993),
                Edit(9_007_199_254_740_993, 6, 2, "\n"),
                Hear(u64::MAX),
                Edit(u64::MAX, 0, 3, "é"),
            ],
        ),
        (
            "many operations in one update",
            vec![
                Edit(1, 0, 0, "0123456789"),
                Hear(2),
                Edit(2, 0, 1, "a"),
                Edit(2, 3, 1, "b"),
                Edit(2, 6, 1, "c"),
                Hear(1),
                Edit(1, 0, 10, "all new"),
            ],
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Carries out a plan.
fn scenario(name: &str, plan: &[Plan]) -> Scenario {
    let mut clients: BTreeMap<u64, Text> = BTreeMap::new();
    let mut server = Text::new(Client::new(0));
    let mut steps: Vec<Step> = Vec::new();
    let mut seq = 0;
    for part in plan {
        match part {
            Plan::Edit(client, at, deleted, inserted) => {
                let text = clients
                    .entry(*client)
                    .or_insert_with(|| Text::new(Client::new(*client)));
                let update = text
                    .replace(Measure::Units, *at, *deleted, inserted)
                    .expect("an edit");
                let update = text.encode(&update);
                seq += 1;
                server
                    .apply(&update, Some(Seq::new(seq)))
                    .expect("a good update");
                steps.push(Step::Edit {
                    client: *client,
                    at: *at,
                    deleted: *deleted,
                    inserted: (*inserted).to_owned(),
                    update: hex(&update),
                });
            }
            Plan::Hear(client) => {
                let text = clients
                    .entry(*client)
                    .or_insert_with(|| Text::new(Client::new(*client)));
                for (at, step) in steps.clone().iter().enumerate() {
                    if let Step::Edit {
                        client: author,
                        update,
                        ..
                    } = step
                        && author != client
                    {
                        text.apply(&bytes(update), None).expect("a good update");
                        steps.push(Step::Apply {
                            client: *client,
                            step: at,
                        });
                    }
                }
            }
        }
    }
    Scenario {
        name: name.to_owned(),
        steps,
        text: server.to_string(),
        diff: hex(&server.diff(&Version::new())),
        snapshot: hex(&server.snapshot(History::With)),
        without: hex(&server.snapshot(History::Without)),
        archive: hex(&server.archive()),
    }
}

#[test]
fn bytes_are_those_of_the_shared_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/text.json");
    let made: Vec<Scenario> = plans()
        .iter()
        .map(|(name, plan)| scenario(name, plan))
        .collect();
    if std::env::var("VECTORS").is_ok_and(|value| value == "write") {
        let json = serde_json::to_string_pretty(&made).expect("JSON");
        fs::write(&path, json + "\n").expect("the vectors");
    }
    let text = fs::read_to_string(&path).expect("the vectors");
    let golden: Vec<Scenario> = serde_json::from_str(&text).expect("the vectors");
    assert_eq!(golden.len(), made.len());
    for (golden, made) in golden.iter().zip(&made) {
        assert_eq!(golden, made, "{}", golden.name);
        // The golden bytes are read, too.
        let mut whole = Text::new(Client::new(5));
        whole
            .apply(&bytes(&golden.diff), None)
            .expect("a difference");
        assert_eq!(whole.to_string(), golden.text);
        for snapshot in [&golden.snapshot, &golden.without, &golden.archive] {
            let loaded = Text::load(Client::new(5), &bytes(snapshot)).expect("a snapshot");
            loaded.check().expect("a sound tree");
            assert_eq!(loaded.to_string(), golden.text);
            assert_eq!(loaded.version(), whole.version());
        }
    }
}

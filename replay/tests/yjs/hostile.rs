//! Hostile bytes: refused without a trace, or taken and then as good as anyone's.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use replay::{Document, YjsDocument};

use crate::{folded, histories, oracle};

/// How many mutants are tried; `WELL_MUTANTS` says otherwise, and `WELL_SEED` where to begin.
const MUTANTS: u64 = 200_000;
/// How many mutants one document sees.
const PER_DOCUMENT: u64 = 100;

#[test]
fn nothing_malformed_enters() {
    let number = |name: &str, default| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().unwrap())
    };
    let (mutants, seed) = (number("WELL_MUTANTS", MUTANTS), number("WELL_SEED", 1));
    let mut corpus: Vec<Vec<Bytes>> = histories()
        .into_iter()
        .map(|(_, updates)| updates)
        .collect();
    for updates in &mut corpus {
        let half = folded(&updates[..updates.len() / 2]);
        updates.push(half.encode());
    }
    let (mut taken, mut whole, mut unread) = (0, 0, 0);
    for round in 0..mutants / PER_DOCUMENT {
        let mut random = StdRng::seed_from_u64(seed + round);
        let updates = corpus.choose(&mut random).unwrap();
        let mut log = updates[..random.random_range(0..updates.len().min(60))].to_vec();
        let mut document = folded(&log);
        let mut encoding = document.encode();
        for _ in 0..PER_DOCUMENT {
            let mutant = mutant(&mut random, &corpus, updates);
            let nothing = document.adds_nothing(&mutant);
            if round % 4 > 0 && waits(&document, &mutant) {
                // Where something waits, yrs is no oracle: most documents are to be whole.
                continue;
            }
            match document.integrate(std::slice::from_ref(&mutant)).remove(0) {
                Ok(checked) => {
                    let after = document.encode();
                    assert_eq!(checked.adds, after != encoding, "seed {}", seed + round);
                    // What only the view knows to be nothing is taken for new, and is harmless.
                    assert!(!checked.adds || nothing.is_ok(), "seed {}", seed + round);
                    assert!(checked.adds || nothing == Ok(true), "seed {}", seed + round);
                    if checked.adds {
                        taken += 1;
                        log.push(mutant);
                    }
                    encoding = after;
                }
                Err(_) => assert!(document.encode() == encoding, "seed {}", seed + round),
            }
        }
        let again = folded(&log);
        assert!(again.encode() == encoding, "seed {}", seed + round);
        assert!(
            folded(std::slice::from_ref(&encoding)).encode() == encoding,
            "seed {}",
            seed + round
        );
        assert!(document.memory_bytes() >= encoding.len());
        if let Some(dir) = std::env::var_os("WELL_ENCODINGS") {
            let path = std::path::Path::new(&dir).join(format!("{}.survivor", seed + round));
            std::fs::write(path, &encoding).unwrap();
        }
        if document.waiting() == 0 && !document.is_foreign() {
            whole += 1;
            match oracle::version(&[encoding]) {
                Ok(version) => {
                    let there = YjsVersion(&document.version()).read();
                    assert_eq!(version, there, "seed {}", seed + round);
                }
                Err(error) => {
                    assert_ne!(error, "panic", "seed {}", seed + round);
                    unread += 1;
                }
            }
        }
    }
    println!("{taken} of {mutants} taken; yrs could not read {unread} of {whole} documents");
    assert!(taken > mutants / 100 && whole > 0);
}

/// Whether anything would wait in a document if it took an update.
fn waits(document: &YjsDocument, update: &Bytes) -> bool {
    let mut trial = folded(&[document.encode()]);
    let _ = trial.integrate(std::slice::from_ref(update));
    trial.waiting() > 0
}

struct YjsVersion<'a>(&'a [u8]);

impl YjsVersion<'_> {
    fn read(&self) -> std::collections::BTreeMap<u64, u32> {
        use yrs::updates::decoder::Decode;
        let version = yrs::StateVector::decode_v1(self.0).unwrap();
        let clocks = version.iter();
        clocks
            .map(|(client, clock)| (client.get(), *clock))
            .collect()
    }
}

/// A real update, changed.
pub(crate) fn mutant(random: &mut StdRng, corpus: &[Vec<Bytes>], updates: &[Bytes]) -> Bytes {
    let mut bytes = updates.choose(random).unwrap().to_vec();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..9) {
            0..3 => bytes[at] ^= 1 << random.random_range(0..8),
            3 => bytes[at] = random.random(),
            4 => bytes.truncate(at),
            5 => {
                bytes.remove(at);
            }
            6 => bytes.insert(at, random.random()),
            7 => {
                let other = corpus.choose(random).unwrap().choose(random).unwrap();
                let from = random.random_range(0..other.len());
                let to = random.random_range(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let extreme: &[u8] = match random.random_range(0..4) {
                    0 => &[0xff, 0xff, 0xff, 0xff, 0x07],
                    1 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    2 => &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
                    _ => &[0],
                };
                bytes.splice(at..=at, extreme.iter().copied());
            }
        }
    }
    bytes.into()
}

#[test]
fn random_bytes_are_refused_or_harmless() {
    let mut random = StdRng::seed_from_u64(1);
    let mut document = YjsDocument::new();
    for _ in 0..100_000 {
        let len = random.random_range(0..40);
        // Small numbers get further.
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                if random.random() {
                    random.random_range(0..9)
                } else {
                    random.random()
                }
            })
            .collect();
        let _ = document.integrate(&[bytes.clone().into()]);
        let _ = document.adds_nothing(&bytes.clone().into());
        let _ = document.diff(&bytes.into());
    }
    let encoding = document.encode();
    assert!(folded(std::slice::from_ref(&encoding)).encode() == encoding);
}

/// An update of one client, from clock 0 on, without deletes.
fn update(client: u8, structs: &[&[u8]]) -> Bytes {
    let mut bytes = vec![1];
    let mut count = structs.len();
    while count > 127 {
        bytes.push(count as u8 | 0x80);
        count >>= 7;
    }
    bytes.push(count as u8);
    bytes.extend([client, 0]);
    bytes.extend(structs.concat());
    bytes.push(0);
    bytes.into()
}

fn refused(document: &mut YjsDocument, payload: Bytes) -> String {
    let before = document.encode();
    let error = document.integrate(&[payload]).remove(0).unwrap_err();
    assert_eq!(document.encode(), before);
    error.to_string()
}

#[test]
fn types_are_not_nested_without_end() {
    // Each map stands in the one before it.
    let chain = |from: u32, to: u32| {
        let mut bytes = vec![1, 0x80 | (to - from) as u8, ((to - from) >> 7) as u8, 5];
        let var = |bytes: &mut Vec<u8>, n: u32| bytes.extend([n as u8 | 0x80, (n >> 7) as u8]);
        var(&mut bytes, from);
        for clock in from..to {
            if clock == 0 {
                bytes.extend([7, 1, 1, b'r', 1]);
            } else {
                bytes.extend([7, 0, 5]);
                var(&mut bytes, clock - 1);
                bytes.push(1);
            }
        }
        bytes.push(0);
        Bytes::from(bytes)
    };
    let mut document = YjsDocument::new();
    assert!(refused(&mut document, chain(0, 2000)).contains("nested too deep"));
    document.integrate(&[chain(0, 512)]).remove(0).unwrap();
    assert!(refused(&mut document, chain(512, 514)).contains("nested too deep"));
    // The deepest that is taken can be deleted by everyone.
    let delete = Bytes::from_static(&[0, 1, 5, 1, 0, 1]);
    document.integrate(&[delete]).remove(0).unwrap();
    assert!(oracle::version(&[document.encode()]).is_ok());
    assert!(document.encode().len() < 20);
}

#[test]
fn an_item_lies_in_one_list() {
    // Two lists, a and b, with an item each; then one that wants to stand between the two.
    let two = update(5, &[&[8, 1, 1, b'a', 1, 126], &[8, 1, 1, b'b', 1, 126]]);
    let mut document = folded(&[two]);
    let between = Bytes::from_static(&[1, 1, 6, 0, 0xc8, 5, 0, 5, 1, 1, 126, 0]);
    assert!(refused(&mut document, between).contains("two different lists"));
    // One whose parent is a number.
    let child = Bytes::from_static(&[1, 1, 6, 0, 8, 0, 5, 0, 1, 126, 0]);
    assert!(refused(&mut document, child).contains("not a type"));
    // One that stands after itself.
    let itself = Bytes::from_static(&[1, 1, 6, 0, 0x88, 6, 0, 1, 126, 0]);
    assert!(refused(&mut document, itself).contains("itself"));
}

#[test]
fn what_waits_is_bounded() {
    let mut document = YjsDocument::new();
    let mut refusals = 0;
    for client in 0..3000_u32 {
        // An item after one of client 1 that never comes.
        let client = [client as u8 | 0x80, (client >> 7) as u8 | 0x80, 1];
        let bytes = [&[1, 1][..], &client, &[0, 0x88, 1, 9, 1, 126, 0]].concat();
        refusals += usize::from(document.integrate(&[bytes.into()]).remove(0).is_err());
    }
    assert_eq!(document.waiting() + refusals, 3000);
    assert_eq!(document.waiting(), 1024);
    let large = [
        &[1, 1, 7, 0, 0x83, 1, 9, 0x80, 0x80, 0x80, 4][..],
        &vec![0; 8 << 20],
        &[0],
    ]
    .concat();
    assert!(refused(&mut document, large.into()).contains("waits"));
    // What they wait for lets all of them in.
    let all = update(1, &[&[&[8, 1, 1, b'r', 10][..], &[126; 10]].concat()]);
    document.integrate(&[all]).remove(0).unwrap();
    assert_eq!(document.waiting(), 0);
}

#[test]
fn lengths_cost_nothing() {
    // Two thousand million clocks in six bytes, and a delete for all of them.
    let max = [0xff, 0xff, 0xff, 0xff, 0x07];
    let huge = update(5, &[&[&[0][..], &max].concat()]);
    let mut document = folded(&[huge]);
    let delete = [&[0, 1, 5, 1, 0][..], &max].concat();
    assert!(document.adds_nothing(&delete.clone().into()).unwrap());
    assert!(!document.integrate(&[delete.into()]).remove(0).unwrap().adds);
    assert!(document.memory_bytes() < 4096);
    assert!(oracle::version(&[document.encode()]).is_ok());
}

#[test]
fn many_clients_that_wait_for_one_another_are_one_walk() {
    // Client n's item stands after client n - 1's: written by falling client, each is reached
    // through all the others.
    let clients = 20_000_u32;
    let mut bytes = vec![
        0x80 | clients as u8,
        0x80 | (clients >> 7) as u8,
        (clients >> 14) as u8,
    ];
    let var = |bytes: &mut Vec<u8>, n: u32| {
        bytes.extend([n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8]);
    };
    for client in (1..=clients).rev() {
        bytes.push(1);
        var(&mut bytes, client);
        bytes.push(0);
        if client == 1 {
            bytes.extend([8, 1, 1, b'r', 1, 126]);
        } else {
            bytes.push(0x88);
            var(&mut bytes, client - 1);
            bytes.extend([0, 1, 126]);
        }
    }
    bytes.push(0);
    let document = folded(&[bytes.into()]);
    assert_eq!(document.waiting(), 0);
    assert!(folded(&[document.encode()]).encode() == document.encode());
}

#[test]
fn clients_that_took_turns_are_one_walk() {
    // Two clients, each of whose items stands after the other's last one: as much as any person
    // and another who talk, and as long as a section can be.
    let turns = 200_000_u32;
    let var = |bytes: &mut Vec<u8>, n: u32| {
        bytes.extend([n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8]);
    };
    let mut bytes = vec![2];
    for client in [2, 1] {
        var(&mut bytes, turns);
        bytes.extend([client, 0]);
        for turn in 0..turns {
            match (client, turn) {
                (1, 0) => bytes.extend([8, 1, 1, b'r']),
                (1, _) => {
                    bytes.extend([0x88, 2]);
                    var(&mut bytes, turn - 1);
                }
                _ => {
                    bytes.extend([0x88, 1]);
                    var(&mut bytes, turn);
                }
            }
            bytes.extend([1, 126]);
        }
    }
    bytes.push(0);
    let start = std::time::Instant::now();
    let document = folded(&[bytes.into()]);
    assert_eq!(document.waiting(), 0);
    // A walk for each turn would take hours.
    assert!(start.elapsed().as_secs() < 20);
}

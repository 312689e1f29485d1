//! Bytes that nobody honest sent: no panic, no overflow, and no memory beyond their length.

mod support;

use crdt::text::{Client, History, Measure, Seq, Text, Update, Version, merge};
use support::{Random, size};

/// What one byte of input may make a text hold, and what it may hold besides.
const BYTES_PER_BYTE: usize = 700;
const SLACK_BYTES: usize = 64 << 10;

/// Some clients' session: all updates in the order of a server.
fn session(random: &mut Random) -> Vec<Vec<u8>> {
    let words = ["a", "two ", "é", "😀", "longer text\n"];
    let mut clients: Vec<Text> = [1, 2, u64::MAX]
        .map(|client| Text::new(Client::new(client)))
        .into();
    let mut updates: Vec<Vec<u8>> = Vec::new();
    for _ in 0..40 {
        let who = random.below(3);
        let client = &mut clients[who];
        if random.chance(50) {
            for update in &updates {
                client.apply(update, None).expect("a good update");
            }
        }
        let from = client.version().get(client.client());
        for _ in 0..1 + random.below(3) {
            let len = client.len(Measure::Chars);
            let at = random.below(len + 1);
            let many = random.below((len - at).min(4) + 1);
            let word = words[random.below(words.len())];
            client
                .replace(Measure::Chars, at, many, word)
                .expect("an edit");
        }
        let to = client.version().get(client.client());
        let client_id = client.client();
        updates.push(client.encode(&Update {
            client: client_id,
            from,
            to,
        }));
    }
    updates
}

fn mutate(random: &mut Random, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 if at < bytes.len() => bytes[at] = random.next() as u8,
            5 => {
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() + 1 - from);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            6 => {
                // A huge number.
                bytes.splice(at..at, [0xFF; 9].into_iter().chain([1]));
            }
            _ if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
            _ => {}
        }
    }
    bytes
}

#[test]
fn mutated_updates_neither_panic_nor_break_the_text() {
    let mut taken = 0;
    for seed in 0..size("HOSTILE_RUNS", 60) as u64 {
        let mut random = Random(seed);
        let updates = session(&mut random);
        let mut text = Text::new(Client::new(7));
        let mut full = Text::new(Client::new(8));
        for update in &updates {
            full.apply(update, None).expect("a good update");
        }
        let batch = full.diff(&Version::new());
        let mut input = 0;
        for (at, update) in updates.iter().enumerate() {
            for _ in 0..size("HOSTILE_EACH", 20) {
                let other = &updates[random.below(updates.len())];
                let whole = if random.chance(20) { &batch } else { update };
                let bad = mutate(&mut random, whole, other);
                let before = text.to_string();
                input += bad.len();
                match text.apply(&bad, Some(Seq::new(at as u64))) {
                    Ok(_) => taken += 1,
                    Err(_) => assert_eq!(text.to_string(), before, "a refusal leaves no trace"),
                }
                let _ = merge(&[&bad[..], other]);
            }
            input += update.len();
            let _ = text.apply(update, None);
        }
        text.check().expect("a sound tree");
        let held = text.heap_bytes();
        assert!(
            held <= SLACK_BYTES + input * BYTES_PER_BYTE,
            "{held} bytes for {input}"
        );
        // Replicas that were told the same, though it was made up, still agree.
        let mut other = Text::new(Client::new(9));
        other
            .apply(&text.diff(&Version::new()), None)
            .expect("a difference");
        assert_eq!(other.to_string(), text.to_string());
        let _ = text.undo();
    }
    println!("{taken} mutated updates were taken");
}

#[test]
fn mutated_snapshots_neither_panic_nor_hold_more_than_their_length() {
    let mut loaded = 0;
    for seed in 0..size("HOSTILE_RUNS", 60) as u64 {
        let mut random = Random(seed);
        let updates = session(&mut random);
        let mut full = Text::new(Client::new(8));
        for (at, update) in updates.iter().enumerate() {
            full.apply(update, Some(Seq::new(at as u64 + 1)))
                .expect("a good update");
        }
        let history = if seed % 4 == 0 {
            History::Without
        } else {
            History::With
        };
        let snapshot = if seed % 4 == 1 {
            full.archive()
        } else {
            full.snapshot(history)
        };
        for _ in 0..size("HOSTILE_EACH", 20) * 10 {
            let bad = mutate(&mut random, &snapshot, &updates[0]);
            let Ok(mut text) = Text::load(Client::new(random.next()), &bad) else {
                continue;
            };
            loaded += 1;
            let held = text.heap_bytes();
            // Deflate alone may stand for a thousand bytes with one.
            let most = if seed % 4 == 1 {
                100 * BYTES_PER_BYTE
            } else {
                BYTES_PER_BYTE
            };
            assert!(
                held <= SLACK_BYTES + bad.len() * most,
                "{held} bytes for {}",
                bad.len()
            );
            // It may be nonsense; using it may not panic.
            text.track_undo();
            let len = text.len(Measure::Chars);
            let _ = text.insert(Measure::Chars, random.below(len + 1), "new é");
            let len = text.len(Measure::Chars);
            let at = random.below(len);
            let _ = text.delete(Measure::Chars, at, (len - at).min(3));
            let _ = text.undo();
            let _ = text.redo();
            for seq in 0..updates.len() as u64 + 2 {
                let _ = text.at(Seq::new(seq));
                let _ = text.between(Seq::new(seq / 2), Seq::new(seq));
            }
            let _ = text.place_of(Measure::Units, 0);
            let _ = text.to_string();
            for update in &updates {
                let _ = text.apply(update, None);
            }
            let _ = text.diff(&Version::new());
            let _ = Text::load(Client::new(1), &text.snapshot(History::With));
        }
    }
    println!("{loaded} mutated snapshots were loaded");
}

#[test]
fn random_bytes_are_refused_or_known() {
    let mut random = Random(5);
    for _ in 0..size("HOSTILE_RANDOM", 20_000) {
        let len = random.below(60);
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first %= 5;
        }
        let mut text = Text::new(Client::new(1));
        let _ = text.apply(&bytes, None);
        let _ = merge(&[&bytes]);
        let _ = Text::load(Client::new(1), &bytes);
    }
}

#[test]
fn a_few_bytes_cannot_use_up_a_texts_ticks() {
    let mut text = Text::new(Client::new(1));
    text.insert(Measure::Chars, 0, "some text")
        .expect("an edit");
    let mut author = Text::new(Client::new(2));
    author
        .apply(&text.diff(&Version::new()), None)
        .expect("a good update");
    let update = author.delete(Measure::Chars, 0, 9).expect("an edit");
    let bytes = author.encode(&update);
    text.apply(&bytes, None).expect("a good update");
    // The same deletion again and again, as later ticks.
    let mut taken = 0;
    for round in 1..14u8 {
        let mut again = bytes.clone();
        again[2] = round * 9;
        taken += usize::from(
            text.apply(&again, None)
                .is_ok_and(|applied| applied == crdt::text::Applied::New),
        );
    }
    assert!(taken <= 1, "{taken}");
}

/// An edit of one operation by client 1, after the ticks `0..tick`, that names ticks of client 2.
fn names_a_tick(tick: u8, kind: u8, reference: u32) -> Vec<u8> {
    let mut edit = vec![1, 1, tick, 1, 2, 1 << 2 | kind];
    let foreign = |edit: &mut Vec<u8>| {
        edit.push(1);
        let mut rest = reference;
        while rest >= 0x80 {
            edit.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        edit.push(rest as u8);
    };
    match kind {
        1 => {
            foreign(&mut edit);
            edit.extend_from_slice(&[0, b'x']);
        }
        _ => foreign(&mut edit),
    }
    edit
}

/// Counting up to the last tick that a number can name would begin at 0 again.
#[test]
fn the_last_tick_that_a_number_can_name_is_refused() {
    for knows in [false, true] {
        let mut text = Text::new(Client::new(9));
        let mut two = Text::new(Client::new(2));
        let hello = two.insert(Measure::Chars, 0, "hello").expect("an edit");
        if knows {
            text.apply(&two.encode(&hello), None)
                .expect("a good update");
        }
        let mut one = Text::new(Client::new(1));
        let letters = one.insert(Measure::Chars, 0, "abcdefg").expect("an edit");
        text.apply(&one.encode(&letters), None)
            .expect("a good update");
        let before = text.to_string();
        for kind in 1..=3 {
            let update = names_a_tick(7, kind, u32::MAX);
            assert!(
                text.apply(&update, None).is_err(),
                "kind {kind}, knows {knows}"
            );
            assert!(text.admit(&update).is_err(), "kind {kind}, knows {knows}");
            assert!(merge(&[&update]).is_err(), "kind {kind}");
            // The one before is a tick like any other, which may come.
            let update = names_a_tick(7, kind, u32::MAX - 1);
            let applied = text.clone().apply(&update, None);
            assert_eq!(applied, Ok(crdt::text::Applied::Parked), "kind {kind}");
        }
        text.check().expect("a sound tree");
        assert_eq!(text.to_string(), before);
    }
}

//! `merge`: any part of a history as one update, in an order in which it can be applied.

mod support;

use crdt::text::{Applied, Client, Measure, Text, merge};
use support::{Random, size};

/// A deletion that spans what is merged and what is not.
#[test]
fn what_builds_on_more_than_is_merged_comes_after_what_is() {
    let mut five = Text::new(Client::new(5));
    let digits = five
        .insert(Measure::Chars, 0, "0123456789")
        .expect("an edit");
    let digits = five.encode(&digits);
    let letters = five.insert(Measure::Chars, 10, "abcde").expect("an edit");
    let letters = five.encode(&letters);
    for backwards in [false, true] {
        let mut seven = Text::new(Client::new(7));
        let mut one = Text::new(Client::new(1));
        let mut log = Vec::new();
        for update in [&digits, &letters] {
            seven.apply(update, None).expect("a good update");
            one.apply(update, None).expect("a good update");
        }
        if backwards {
            for at in (5..15).rev() {
                let gone = seven.delete(Measure::Chars, at, 1).expect("an edit");
                log.push(seven.encode(&gone));
            }
        } else {
            let gone = seven.delete(Measure::Chars, 5, 10).expect("an edit");
            log.push(seven.encode(&gone));
        }
        let zz = seven.insert(Measure::Chars, 5, "zz").expect("an edit");
        log.push(seven.encode(&zz));
        for update in &log {
            one.apply(update, None).expect("a good update");
        }
        let y = one.insert(Measure::Chars, 6, "Y").expect("an edit");
        log.push(one.encode(&y));

        log.insert(0, digits.clone());
        let merged = merge(&log).expect("updates of one history");
        let mut text = Text::new(Client::new(100));
        assert_eq!(text.apply(&merged, None), Ok(Applied::Parked));
        assert_eq!(text.apply(&letters, None), Ok(Applied::New));
        assert!(text.missing().is_empty(), "backwards: {backwards}");
        assert_eq!(text.to_string(), one.to_string());
    }
}

/// Some updates of every client, from one of its ticks to another, and then the rest one by one.
#[test]
fn any_part_of_a_history_merges_and_the_rest_completes_it() {
    for seed in 0..size("MERGE_SEEDS", 300) as u64 {
        let mut random = Random(seed);
        let mut clients: Vec<Text> = [5, 1, 9, 3]
            .map(|client| Text::new(Client::new(client)))
            .into();
        let mut log: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut heard = [0; 4];
        while log.len() < 40 {
            let who = random.below(4);
            let client = &mut clients[who];
            if random.chance(50) {
                for (_, update) in &log[heard[who]..] {
                    client.apply(update, None).expect("a good update");
                }
                heard[who] = log.len();
            }
            let len = client.len(Measure::Chars);
            let at = random.below(len + 1);
            let edit = if random.chance(40) && at < len {
                client.delete(Measure::Chars, at, 1 + random.below(len - at))
            } else if random.chance(30) && len > 0 {
                client.delete(Measure::Chars, len - 1, 1)
            } else {
                client.insert(Measure::Chars, at, ["a", "bcd", "é long"][random.below(3)])
            };
            log.push((who, client.encode(&edit.expect("an edit"))));
        }
        let mut whole = Text::new(Client::new(100));
        for (_, update) in &log {
            whole.apply(update, None).expect("a good update");
        }

        // Of each client some that follow one another.
        let mut part = Vec::new();
        let mut rest = Vec::new();
        for who in 0..4 {
            let its = log.iter().filter(|(author, _)| *author == who);
            let its: Vec<&Vec<u8>> = its.map(|(_, update)| update).collect();
            let from = random.below(its.len() + 1);
            let to = from + random.below(its.len() - from + 1);
            for (nth, update) in its.into_iter().enumerate() {
                if (from..to).contains(&nth) {
                    part.push(update);
                } else {
                    rest.push(update);
                }
            }
        }
        random.shuffle(&mut part);
        random.shuffle(&mut rest);
        let merged = merge(&part).expect("updates of one history");
        let mut text = Text::new(Client::new(101));
        rest.insert(random.below(rest.len() + 1), &merged);
        for update in rest {
            text.apply(update, None).expect("a good update");
        }
        assert_eq!(text.waiting(), 0, "seed {seed}");
        assert_eq!(text.to_string(), whole.to_string(), "seed {seed}");
        text.check().expect("a sound tree");
    }
}

/// Each client, ascending by name, goes on after the one with the next greater name: what is written first
/// waits for all the others.
#[test]
fn a_chain_through_many_clients_is_followed_to_its_start() {
    let clients = 3_000;
    let mut whole = Text::new(Client::new(100_000));
    let mut log = Vec::new();
    for name in (1..=clients).rev() {
        let mut client = whole.clone().edited_by(Client::new(name));
        let len = client.len(Measure::Chars);
        let edit = client.insert(Measure::Chars, len, "x").expect("an edit");
        let edit = client.encode(&edit);
        whole.apply(&edit, None).expect("a good update");
        log.push(edit);
    }
    let merged = merge(&log).expect("updates of one history");
    let mut text = Text::new(Client::new(100_001));
    assert_eq!(text.apply(&merged, None), Ok(Applied::New));
    assert_eq!(text.version(), whole.version());
}

/// Two who wait for each other, which nobody can have typed: that is refused or waits, and what does not
/// build on them is there.
#[test]
fn a_circle_holds_up_nobody_else() {
    // An edit of client `me` that inserts `letter` after the first character of client `other`.
    let after = |me: u8, other: u8, letter: u8| vec![1, me, 0, 1, other, 5, 1, 0, 0, letter];
    let mut three = Text::new(Client::new(3));
    let honest = three.insert(Measure::Chars, 0, "honest").expect("an edit");
    let circle = [after(1, 2, b'a'), three.encode(&honest), after(2, 1, b'b')];
    let merged = merge(&circle).expect("each is well formed");
    let mut text = Text::new(Client::new(4));
    assert_eq!(text.apply(&merged, None), Ok(Applied::Parked));
    assert_eq!(text.to_string(), "honest");
    assert_eq!(text.waiting(), 1);
}

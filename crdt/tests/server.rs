//! A server's side: taken or refused at once, and two moments side by side.

mod support;

use crdt::text::{Anchor, ApplyError, Bias, Client, Fate, Measure, Place, Seq, Text, Version};
use support::Random;

/// A server's text and what it was after each Seq. Some Seqs hold no update, some updates are of
/// two clients, and repeats have no Seq.
fn history(seed: u64, steps: usize) -> (Text, Vec<String>) {
    let mut random = Random(seed);
    let mut server = Text::new(Client::new(0));
    let mut clients: Vec<Text> = (1..4).map(|n| Text::new(Client::new(n))).collect();
    let mut texts = vec![String::new()];
    for _ in 0..steps {
        let who = random.below(clients.len());
        let client = &mut clients[who];
        if random.chance(50) {
            let news = server.diff(&client.version());
            client.apply(&news, None).expect("the server's update");
        }
        for _ in 0..1 + random.below(3) {
            let len = client.len(Measure::Chars);
            let at = random.below(len + 1);
            if random.chance(40) && at < len {
                let len = 1 + random.below((len - at).min(7));
                client.delete(Measure::Chars, at, len).expect("an edit");
            } else {
                let word = ["a", "bé\n", "long 😀 word "][random.below(3)];
                client.insert(Measure::Chars, at, word).expect("an edit");
            }
        }
        let update = client.diff(&server.version());
        let admitted = server.admit(&update).expect("a good update");
        assert!(admitted.adds);
        assert_eq!(admitted.author, Some(Client::new(who as u64 + 1)));
        assert!(!server.admit(&update).expect("a repeat").adds);
        assert_eq!(server.adds(&update), Ok(false));
        while random.chance(20) {
            texts.push(texts.last().cloned().unwrap_or_default());
        }
        server.stamp(Seq::new(texts.len() as u64));
        texts.push(server.to_string());
    }
    (server, texts)
}

#[test]
fn the_text_at_every_stamped_seq_is_what_it_was() {
    for seed in 0..20 {
        let (server, texts) = history(seed, 60);
        let loaded = Text::load(Client::new(9), &server.snapshot(crdt::text::History::With));
        for text in [&server, &loaded.expect("a snapshot")] {
            for (seq, expected) in texts.iter().enumerate() {
                assert_eq!(
                    text.at(Seq::new(seq as u64)).as_ref(),
                    Ok(expected),
                    "{seed} {seq}"
                );
            }
        }
    }
}

#[test]
fn two_moments_side_by_side_make_both_texts() {
    for seed in 0..20 {
        let (server, texts) = history(seed, 40);
        let mut random = Random(seed);
        for _ in 0..100 {
            let (a, b) = (random.below(texts.len()), random.below(texts.len()));
            let (from, to) = (a.min(b), a.max(b));
            let pieces = server
                .compare(Seq::new(from as u64), Seq::new(to as u64))
                .expect("known");
            let side = |lost: Fate| -> String {
                let there = pieces.iter().filter(|piece| piece.fate != lost);
                there.map(|piece| piece.text).collect()
            };
            assert_eq!(side(Fate::Inserted), texts[from]);
            assert_eq!(side(Fate::Deleted), texts[to]);
            if from == to {
                assert!(pieces.iter().all(|piece| piece.fate == Fate::Kept));
            }
        }
    }
}

#[test]
fn pieces_name_who_inserted_and_who_deleted() {
    let mut server = Text::new(Client::new(0));
    let mut ada = Text::new(Client::new(1));
    let mut bob = Text::new(Client::new(2));
    let hello = ada
        .insert(Measure::Chars, 0, "hello world")
        .expect("an edit");
    server.admit(&ada.encode(&hello)).expect("good");
    server.stamp(Seq::new(1));
    bob.apply(&server.diff(&Version::new()), None)
        .expect("good");
    // Backwards, as a person erases.
    for at in (6..11).rev() {
        let gone = bob.delete(Measure::Chars, at, 1).expect("an edit");
        server.admit(&bob.encode(&gone)).expect("good");
    }
    let there = bob.insert(Measure::Chars, 6, "there").expect("an edit");
    server.admit(&bob.encode(&there)).expect("good");
    server.stamp(Seq::new(2));
    let mut pieces: Vec<_> = server
        .compare(Seq::new(1), Seq::new(2))
        .expect("known")
        .iter()
        .map(|piece| (piece.text, piece.fate, piece.client.get()))
        .collect();
    pieces.sort_by_key(|piece| piece.1 as u8);
    assert_eq!(
        pieces,
        [
            ("hello ", Fate::Kept, 1),
            ("there", Fate::Inserted, 2),
            ("world", Fate::Deleted, 2)
        ]
    );
}

#[test]
fn what_builds_on_what_is_not_here_is_refused_and_named() {
    let mut server = Text::new(Client::new(0));
    let mut ada = Text::new(Client::new(7));
    let mut bob = Text::new(Client::new(8));
    let first = ada.insert(Measure::Chars, 0, "ab").expect("an edit");
    let first = ada.encode(&first);
    bob.apply(&first, None).expect("good");
    let second = bob.insert(Measure::Chars, 2, "c").expect("an edit");
    let second = bob.encode(&second);
    let missing = ApplyError::Missing {
        client: 7,
        clock: 1,
        here: 0,
    };
    assert_eq!(server.admit(&second), Err(missing));
    assert_eq!(server.adds(&second), Err(missing));
    assert_eq!((server.waiting(), server.version()), (0, Version::new()));
    server.admit(&first).expect("good");
    server.admit(&second).expect("good");
    assert_eq!(server.to_string(), "abc");
}

#[test]
fn a_sticky_position_is_found_at_every_moment() {
    let mut text = Text::new(Client::new(1));
    for (seq, (at, word)) in [(0, "one\n"), (0, "é\n"), (6, "two 😀\n")]
        .into_iter()
        .enumerate()
    {
        text.insert(Measure::Chars, at, word).expect("an edit");
        text.stamp(Seq::new(seq as u64 + 1));
    }
    // Before the n of "one".
    let anchor = text.anchor(Measure::Chars, 3, Bias::Right).expect("within");
    let anchor = Anchor::decode(&anchor.encode()).expect("its own bytes");
    let at = |seq| {
        text.place_at(&anchor, Measure::Units, Seq::new(seq))
            .expect("known")
    };
    assert_eq!(at(0), None);
    assert_eq!(at(1), Some((1, Place { line: 0, column: 1 })));
    assert_eq!(at(2), Some((3, Place { line: 1, column: 1 })));
    let end = Anchor {
        id: None,
        bias: Bias::Right,
    };
    let at = text
        .place_at(&end, Measure::Units, Seq::new(3))
        .expect("known");
    assert_eq!(at, Some((13, Place { line: 3, column: 0 })));
    text.delete(Measure::Chars, 3, 1).expect("an edit");
    text.stamp(Seq::new(4));
    let at = text
        .place_at(&anchor, Measure::Units, Seq::new(4))
        .expect("known");
    assert_eq!(at, Some((3, Place { line: 1, column: 1 })));
    assert!(Anchor::decode(&[4]).is_err() && Anchor::decode(&[0, 0]).is_err());
}

#[test]
fn a_version_has_bytes() {
    let mut version = Version::new();
    assert_eq!(version.encode(), [0]);
    version.set(Client::new(u64::MAX), 3);
    version.set(Client::new(5), 300);
    assert_eq!(Version::decode(&version.encode()), Ok(version));
    for bad in [&[][..], &[1, 5], &[1, 5, 0], &[2, 5, 1, 5, 1], &[0, 0]] {
        assert!(Version::decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_update_that_deletes_all_over_and_over_is_refused() {
    let mut server = Text::new(Client::new(0));
    let len = 100_000;
    server
        .insert(Measure::Chars, 0, &"x".repeat(len))
        .expect("an edit");
    let snapshot = server.snapshot(crdt::text::History::With);
    let clears: Vec<Vec<u8>> = (1..=5)
        .map(|client| {
            let mut text = Text::load(Client::new(client), &snapshot).expect("a snapshot");
            let update = text.delete(Measure::Chars, 0, len).expect("an edit");
            text.encode(&update)
        })
        .collect();
    let merged = crdt::text::merge(&clears).expect("they fit");
    assert_eq!(server.admit(&merged), Err(ApplyError::TooMuch));
    assert_eq!(server.len(Measure::Chars), len);
    let four = crdt::text::merge(&clears[..4]).expect("they fit");
    assert!(server.admit(&four).expect("four do").adds);
    for clear in &clears {
        server.admit(clear).expect("each by itself");
    }
    assert_eq!(server.to_string(), "");
}

#[test]
fn what_many_deleted_of_a_short_text_is_taken_together() {
    let mut server = Text::new(Client::new(0));
    server.insert(Measure::Chars, 0, "hello").expect("an edit");
    let snapshot = server.snapshot(crdt::text::History::With);
    for client in 1..=1_000 {
        let mut text = Text::load(Client::new(client), &snapshot).expect("a snapshot");
        let update = text.delete(Measure::Chars, 0, 5).expect("an edit");
        server.admit(&text.encode(&update)).expect("an update");
    }
    let mut other = Text::new(Client::new(2_000));
    let all = server.diff(&other.version());
    assert!(other.admit(&all).expect("honest history").adds);
    assert_eq!(other.to_string(), "");
}

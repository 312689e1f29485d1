//! The past: every Seq's text equals the replay of the updates up to it.

mod support;

use crdt::text::{Client, Deed, History, Measure, PastError, Seq, Text};
use support::{Random, size};

const WORDS: &[&str] = &["a", "bcd", "é", "long word ", "😀"];

/// A server's text, and what it was after every Seq; clients edit concurrently.
fn history(seed: u64, updates: usize) -> (Text, Vec<String>) {
    let mut random = Random(seed);
    let mut server = Text::new(Client::new(0));
    let mut texts = vec![String::new()];
    let mut clients: Vec<Text> = (1..5)
        .map(|client| Text::new(Client::new(client)))
        .collect();
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut heard = [0; 4];
    while log.len() < updates {
        let who = random.below(4);
        let client = &mut clients[who];
        if random.chance(40) {
            for update in &log[heard[who]..] {
                client.apply(update, None).expect("a good update");
            }
            heard[who] = log.len();
        }
        for _ in 0..1 + random.below(4) {
            let len = client.len(Measure::Chars);
            let at = random.below(len + 1);
            let update = if random.chance(35) && at < len {
                client.delete(Measure::Chars, at, 1 + random.below((len - at).min(6)))
            } else if random.chance(10) && len > 0 {
                // Erasing backwards.
                client.delete(Measure::Chars, len - 1, 1)
            } else {
                client.insert(Measure::Chars, at, WORDS[random.below(WORDS.len())])
            };
            log.push(client.encode(&update.expect("an edit")));
            server
                .apply(log.last().expect("one"), Some(Seq::new(log.len() as u64)))
                .expect("a good update");
            texts.push(server.to_string());
            if random.chance(5) {
                // Repeats get a Seq too, and change nothing.
                let again = log[random.below(log.len())].clone();
                log.push(again);
                server
                    .apply(log.last().expect("one"), Some(Seq::new(log.len() as u64)))
                    .expect("a good update");
                texts.push(server.to_string());
            }
        }
    }
    (server, texts)
}

#[test]
fn the_text_at_every_seq_equals_the_replay() {
    for seed in 0..size("PAST_RUNS", 6) as u64 {
        let (server, texts) = history(seed, size("PAST_UPDATES", 400));
        let loaded =
            Text::load(Client::new(9), &server.snapshot(History::With)).expect("a snapshot");
        loaded.check().expect("a sound tree");
        let unpacked = Text::load(Client::new(9), &server.archive()).expect("an archive");
        unpacked.check().expect("a sound tree");
        assert!(unpacked.snapshot(History::With) == server.snapshot(History::With));
        let mut random = Random(seed);
        for (seq, text) in texts.iter().enumerate() {
            let seq = Seq::new(seq as u64);
            assert_eq!(server.at(seq).as_ref(), Ok(text));
            assert_eq!(loaded.at(seq).as_ref(), Ok(text));
            assert_eq!(unpacked.at(seq).as_ref(), Ok(text));
            let moment = server.moment(seq).expect("known");
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(moment.len(), chars.len());
            let from = random.below(chars.len() + 1);
            let to = from + random.below(chars.len() + 1 - from);
            assert_eq!(
                moment.window(from..to),
                chars[from..to].iter().collect::<String>()
            );
            let today = random.below(server.len(Measure::Chars));
            let near = server.at_near(seq, today, 20).expect("known");
            let rest = server.at_near(seq, today, usize::MAX).expect("known");
            assert!(text.ends_with(&rest) && rest.starts_with(&near));
            assert_eq!(near.chars().count(), rest.chars().count().min(20));
        }
        let past = texts.len() as u64;
        assert_eq!(
            server.at(Seq::new(past)),
            Err(PastError::Unknown {
                seq: past,
                last: past - 1
            })
        );
    }
}

#[test]
fn events_between_two_seqs_rebuild_the_text_and_name_authors() {
    let mut server = Text::new(Client::new(0));
    let mut alice = Text::new(Client::new(1));
    let mut bob = Text::new(Client::new(2));
    let first = alice
        .insert(Measure::Chars, 0, "hello world")
        .expect("an edit");
    let first = alice.encode(&first);
    server
        .apply(&first, Some(Seq::new(1)))
        .expect("a good update");
    bob.apply(&first, None).expect("a good update");
    let second = bob.delete(Measure::Chars, 5, 6).expect("an edit");
    server
        .apply(&bob.encode(&second), Some(Seq::new(2)))
        .expect("a good update");
    let third = bob.insert(Measure::Chars, 5, "!").expect("an edit");
    server
        .apply(&bob.encode(&third), Some(Seq::new(3)))
        .expect("a good update");
    let events = server.between(Seq::new(1), Seq::new(3)).expect("known");
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.client.get(),
                event.first.get(),
                event.last.get(),
                event.deed,
                event.text,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, 2, 2, Deed::Delete, " world"),
            (2, 3, 3, Deed::Insert, "!")
        ]
    );
    assert_eq!(
        server
            .between(Seq::new(0), Seq::new(1))
            .expect("known")
            .len(),
        1
    );
    assert!(
        server
            .between(Seq::new(3), Seq::new(3))
            .expect("known")
            .is_empty()
    );
}

#[test]
fn a_client_knows_the_past_as_far_as_it_heard_it_in_order() {
    let mut alice = Text::new(Client::new(1));
    let mut bob = Text::new(Client::new(2));
    let one = alice.insert(Measure::Chars, 0, "one").expect("an edit");
    bob.apply(&alice.encode(&one), Some(Seq::new(1)))
        .expect("a good update");
    alice.acknowledge(&one, Seq::new(1));
    let two = alice.insert(Measure::Chars, 3, " two").expect("an edit");
    // Pending: the text has it, the past does not.
    assert_eq!(alice.at(Seq::new(1)), Ok("one".into()));
    assert_eq!(
        alice.at(Seq::new(2)),
        Err(PastError::Unknown { seq: 2, last: 1 })
    );
    let three = bob.insert(Measure::Chars, 0, "0 ").expect("an edit");
    bob.acknowledge(&three, Seq::new(2));
    // The server took Bob's first: out of Alice's order, so her past ends there.
    alice
        .apply(&bob.encode(&three), Some(Seq::new(2)))
        .expect("a good update");
    alice.acknowledge(&two, Seq::new(3));
    assert_eq!(alice.at(Seq::new(1)), Ok("one".into()));
    assert_eq!(alice.known_until(), Seq::new(1));
    bob.apply(&alice.encode(&two), Some(Seq::new(3)))
        .expect("a good update");
    assert_eq!(bob.at(Seq::new(3)), Ok("0 one two".into()));
    // An edit that did nothing has a Seq all the same.
    let nothing = bob.delete(Measure::Chars, 0, 0).expect("an edit");
    bob.acknowledge(&nothing, Seq::new(4));
    assert_eq!(bob.at(Seq::new(4)), Ok("0 one two".into()));
}

#[test]
fn without_history_the_past_is_refused_and_the_future_is_not() {
    let (server, texts) = history(3, 200);
    let mut loaded =
        Text::load(Client::new(9), &server.snapshot(History::Without)).expect("a snapshot");
    let last = texts.len() as u64 - 1;
    assert_eq!(loaded.at(Seq::new(last)).as_ref().ok(), texts.last());
    assert!(matches!(
        loaded.at(Seq::new(5)),
        Err(PastError::Forgotten { .. })
    ));
    let again = Text::load(Client::new(9), &loaded.snapshot(History::With)).expect("a snapshot");
    assert!(matches!(
        again.at(Seq::new(5)),
        Err(PastError::Forgotten { .. })
    ));
    let update = loaded.insert(Measure::Chars, 0, "new").expect("an edit");
    loaded.acknowledge(&update, Seq::new(last + 1));
    assert_eq!(
        loaded.at(Seq::new(last + 1)).expect("known"),
        format!("new{}", texts[last as usize])
    );
}

/// Updates that come in another order than their Seqs: what is said of a moment is right, or that it is
/// not known.
#[test]
fn a_moment_is_never_told_wrongly() {
    let mut author = Text::new(Client::new(1));
    let mut updates = Vec::new();
    let mut texts = vec![String::new()];
    for word in ["one", "two", "three", "four"] {
        let end = author.len(Measure::Chars);
        let edit = author.insert(Measure::Chars, end, word).expect("an edit");
        updates.push(author.encode(&edit));
        texts.push(author.to_string());
    }
    let mut other = Text::new(Client::new(2));
    let edit = other.insert(Measure::Chars, 0, "apart ").expect("an edit");
    updates.push(other.encode(&edit));
    author
        .apply(updates.last().expect("one"), None)
        .expect("a good update");
    texts.push(author.to_string());
    let mut known = 0;
    for seed in 0..200 {
        let mut order: Vec<usize> = (0..updates.len()).collect();
        if seed > 0 {
            Random(seed).shuffle(&mut order);
        }
        let mut text = Text::new(Client::new(9));
        for nth in order {
            let seq = Seq::new(nth as u64 + 1);
            text.apply(&updates[nth], Some(seq)).expect("a good update");
        }
        assert_eq!(text.to_string(), author.to_string());
        for seq in 1..=text.known_until().get() {
            assert_eq!(
                text.at(Seq::new(seq)).as_ref(),
                Ok(&texts[seq as usize]),
                "seed {seed}"
            );
            known += 1;
        }
        let later = Seq::new(text.known_until().get() + 1);
        assert!(text.at(later).is_err(), "seed {seed}");
    }
    assert!(known > updates.len(), "the one in order, and others");
}

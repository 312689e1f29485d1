//! Replicas converge, and equal the naive model, whatever is delivered when.

mod support;

use crdt::text::{Applied, ApplyError, Client, Measure, Seq, Text, merge};
use support::model::{Change, Model};
use support::{Random, size};

/// One replica, ours and the model's.
struct Peer {
    text: Text,
    model: Model,
}

/// One update, in both forms.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    change: Change,
}

impl Peer {
    fn new(client: u64) -> Self {
        Self {
            text: Text::new(Client::new(client)),
            model: Model::new(client),
        }
    }

    fn insert(&mut self, at: usize, text: &str) -> Sent {
        let update = self.text.insert(Measure::Chars, at, text).expect("an edit");
        let change = self.model.insert(at, text);
        Sent {
            bytes: self.text.encode(&update),
            change,
        }
    }

    fn delete(&mut self, at: usize, len: usize) -> Sent {
        let update = self.text.delete(Measure::Chars, at, len).expect("an edit");
        let change = self.model.delete(at, len);
        Sent {
            bytes: self.text.encode(&update),
            change,
        }
    }

    fn apply(&mut self, sent: &Sent) -> Applied {
        self.model.apply(&sent.change);
        self.text.apply(&sent.bytes, None).expect("a good update")
    }

    fn agree(&self) {
        assert_eq!(self.text.to_string(), self.model.text());
        self.text.check().expect("a sound tree");
    }
}

const WORDS: &[&str] = &["a", "b", "xyz", "é", "😀!", "long words ", "\n"];

/// A burst of edits as people make them: typing on, backwards, erasing, jumping.
fn burst(random: &mut Random, peer: &mut Peer, out: &mut Vec<Sent>) {
    let len = peer.model.len();
    let mut at = if random.chance(30) {
        0
    } else {
        random.below(len + 1)
    };
    for _ in 0..1 + random.below(6) {
        let len = peer.model.len();
        at = at.min(len);
        match random.below(10) {
            0..5 => {
                let word = WORDS[random.below(WORDS.len())];
                out.push(peer.insert(at, word));
                at += word.chars().count();
            }
            5 => out.push(peer.insert(at, "<")),
            6 if at > 0 => {
                at -= 1;
                out.push(peer.delete(at, 1));
            }
            7 if len > at => {
                let many = 1 + random.below((len - at).min(9));
                out.push(peer.delete(at, many));
            }
            8 if len > at => out.push(peer.delete(at, 1)),
            _ => at = random.below(len + 1),
        }
    }
}

fn run(seed: u64, operations: usize) -> usize {
    let mut random = Random(seed);
    let count = 3 + random.below(6);
    let mut clients: Vec<u64> = (0..count as u64)
        .map(|client| {
            if random.chance(50) {
                client
            } else {
                random.next()
            }
        })
        .collect();
    clients.dedup();
    let count = clients.len();
    let mut peers: Vec<Peer> = clients.into_iter().map(Peer::new).collect();
    // What waits on the way from one to another.
    let mut ways: Vec<Vec<Vec<Sent>>> = vec![vec![Vec::new(); count]; count];
    let mut done = 0;
    let mut parted = 0;
    while done < operations {
        let who = random.below(count);
        let mut sent = Vec::new();
        burst(&mut random, &mut peers[who], &mut sent);
        done += sent.len();
        for (to, way) in ways[who].iter_mut().enumerate() {
            if to != who {
                way.extend(sent.iter().cloned());
            }
        }
        if random.chance(5) {
            parted = 20;
        }
        if parted > 0 {
            parted -= 1;
            continue;
        }
        for _ in 0..random.below(2 * count) {
            let (from, to) = (random.below(count), random.below(count));
            if random.chance(20) {
                random.shuffle(&mut ways[from][to]);
            }
            let many = random.below(ways[from][to].len() + 1);
            let batch: Vec<Sent> = ways[from][to].drain(..many).collect();
            for sent in &batch {
                peers[to].apply(sent);
                if random.chance(5) {
                    peers[to].apply(sent);
                }
            }
            peers[to].agree();
        }
    }
    for way in &mut ways {
        for (to, sent) in way.iter_mut().enumerate() {
            for sent in std::mem::take(sent) {
                peers[to].apply(&sent);
            }
        }
    }
    let text = peers[0].text.to_string();
    for peer in &peers {
        peer.agree();
        assert_eq!(peer.text.to_string(), text, "seed {seed}");
        assert_eq!(peer.text.version(), peers[0].text.version());
        assert_eq!(peer.text.waiting(), 0);
        assert_eq!(peer.text.refused(), 0);
    }
    let list = peers[0].model.list.iter().map(|item| item.name);
    assert_eq!(list.collect::<Vec<_>>(), peers[0].model.tree_order());
    via_difference(&mut random, &peers);
    done
}

/// Whoever has a part gets the rest by a difference, by all updates merged, or by a snapshot.
fn via_difference(random: &mut Random, peers: &[Peer]) {
    use crdt::text::{History, Version, merge};
    let full = &peers[random.below(peers.len())].text;
    let whole = full.diff(&Version::new());
    let mut from_nothing = Text::new(Client::new(u64::MAX));
    from_nothing.apply(&whole, None).expect("a difference");
    assert_eq!(from_nothing.to_string(), full.to_string());
    from_nothing.check().expect("a sound tree");
    // Half of the versions.
    let mut half = Version::new();
    let mut pieces = Vec::new();
    for (client, ticks) in full.version().iter() {
        let cut = random.below(ticks as usize + 1) as u32;
        half.set(client, cut);
        let mut from = 0;
        while from < ticks {
            let to = (from + 1 + random.below(30) as u32).min(ticks);
            let update = crdt::text::Update { client, from, to };
            pieces.push(full.encode(&update));
            if random.chance(10) {
                pieces.push(full.encode(&update));
            }
            from = to;
        }
    }
    let rest = full.diff(&half);
    random.shuffle(&mut pieces);
    let merged = merge(&pieces).expect("pieces of one history");
    let mut from_merged = Text::new(Client::new(u64::MAX));
    assert_eq!(from_merged.apply(&merged, None), Ok(Applied::New));
    assert_eq!(from_merged.to_string(), full.to_string());
    assert_eq!(from_merged.apply(&rest, None), Ok(Applied::Known));
    let saved = [
        full.snapshot(History::With),
        full.snapshot(History::Without),
        full.archive(),
    ];
    for saved in &saved {
        let mut loaded = Text::load(Client::new(u64::MAX), saved).expect("a saved text");
        loaded.check().expect("a sound tree");
        assert_eq!(loaded.to_string(), full.to_string());
        assert_eq!(loaded.version(), full.version());
        // It goes on as one of them.
        let mut other = full.clone();
        let at = random.below(loaded.len(Measure::Chars) + 1);
        let update = loaded.insert(Measure::Chars, at, "more").expect("an edit");
        other
            .apply(&loaded.encode(&update), None)
            .expect("a good update");
        assert_eq!(loaded.to_string(), other.to_string());
    }
}

#[test]
fn replicas_converge_and_equal_the_model() {
    let operations = size("CONVERGE_OPERATIONS", 30_000);
    let each = size("CONVERGE_EACH", 600);
    let first = size("CONVERGE_SEED", 1) as u64;
    let (mut done, mut seed) = (0, first);
    while done < operations {
        done += run(seed, each);
        seed += 1;
    }
    println!("{done} operations in {} runs", seed - first);
}

#[test]
fn what_comes_too_early_waits_and_is_named() {
    let mut alice = Peer::new(1);
    let mut bob = Peer::new(2);
    let first = alice.insert(0, "one ");
    let second = alice.insert(4, "two ");
    let third = alice.insert(8, "three");
    assert_eq!(bob.apply(&third), Applied::Parked);
    assert_eq!(bob.apply(&third), Applied::Parked);
    assert_eq!(bob.apply(&second), Applied::Parked);
    let missing = bob.text.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(
        (missing[0].client.get(), missing[0].from, missing[0].to),
        (1, 0, 8)
    );
    assert_eq!(bob.apply(&first), Applied::New);
    assert_eq!(bob.text.to_string(), "one two three");
    assert!(bob.text.missing().is_empty());
    assert_eq!(bob.apply(&second), Applied::Known);
}

#[test]
fn what_is_merged_waits_for_so_many_ticks_and_no_more() {
    let most = crdt::text::limits::MAX_AWAITED_TICKS;
    let mut alice = Text::new(Client::new(1));
    let mut others = Vec::new();
    for client in 0..=most as u64 {
        alice.insert(Measure::Chars, 0, "x").expect("an edit");
        let mut other = Text::new(Client::new(2 + client));
        let news = alice.diff(&other.version());
        other.apply(&news, None).expect("a good update");
        let edit = other.insert(Measure::Chars, 1, "y").expect("an edit");
        others.push(other.encode(&edit));
    }
    let mut bob = Text::new(Client::new(1_000));
    let all = merge(&others).expect("they fit");
    assert_eq!(bob.apply(&all, None), Err(ApplyError::TooManyParked));
    let most = merge(&others[..most]).expect("they fit");
    assert_eq!(bob.apply(&most, None), Ok(Applied::Parked));
    let news = alice.diff(&bob.version());
    bob.apply(&news, None).expect("a difference");
    assert_eq!(bob.waiting(), 0);
    bob.apply(&all, None).expect("nothing is missing any more");
    for other in &others {
        alice.apply(other, None).expect("an update");
    }
    assert_eq!(bob.to_string(), alice.to_string());
}

#[test]
fn what_waits_is_bounded() {
    let mut alice = Text::new(Client::new(1));
    let mut bob = Text::new(Client::new(2));
    let first = alice.insert(Measure::Chars, 0, "x").expect("an edit");
    let mut refused = 0;
    for _ in 0..crdt::text::limits::MAX_PARKED_UPDATES + 10 {
        let update = alice.insert(Measure::Chars, 0, "y").expect("an edit");
        refused += usize::from(bob.apply(&alice.encode(&update), None).is_err());
    }
    assert_eq!(refused, 10);
    bob.apply(&alice.encode(&first), Some(Seq::new(1)))
        .expect("a good update");
    assert_eq!(bob.waiting(), 0);
    let rest = alice.diff(&bob.version());
    bob.apply(&rest, None).expect("a difference");
    assert_eq!(bob.to_string(), alice.to_string());
}

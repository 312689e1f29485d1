//! What the fuzzer runs, and what `crdt/tests/corpus.rs` runs again over the kept inputs.
//!
//! | target | its input |
//! | --- | --- |
//! | [`apply`] | bytes as updates into a text with a history |
//! | [`load`] | bytes as a snapshot or an archive, which is then used |
//! | [`merge_diff`] | bytes as updates to merge; honest edits, merged and taken apart by version |
//! | [`converge`] | a script of edits and deliveries among three replicas and a server |
//! | [`anchors_undo`] | a script of edits, undo and redo with sticky positions |
//!
//! A script is read from the input byte by byte and ends with it, so any input is one.

use std::sync::OnceLock;

use crdt::text::{
    Anchor, Applied, Bias, Client, History, Measure, Seq, Text, Update, Version, merge,
};

/// What is done with one input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("apply", apply),
    ("load", load),
    ("merge_diff", merge_diff),
    ("converge", converge),
    ("anchors_undo", anchors_undo),
];

/// What a text may hold for each byte it was given (a thousand times that for a byte of an archive,
/// which deflate packs), and what it may hold besides.
const HEAP_PER_BYTE: usize = 700;
const DEFLATE: usize = 1032;
const SLACK_BYTES: usize = 256 << 10;
/// The most steps of one script, so that a long input is not a slow one.
const MAX_STEPS: usize = 300;

/// What is inserted: one, two, three and four bytes long, lines, and longer than a keystroke.
const WORDS: &[&str] = &[
    "a",
    "bc",
    "é",
    "日本",
    "😀",
    "\n",
    "x\ny",
    "several words at once",
];

/// An input read from the front; past its end all is 0.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first)
    }

    fn below(&mut self, end: usize) -> usize {
        let number = if end > 256 {
            self.byte() << 8 | self.byte()
        } else {
            self.byte()
        };
        number % end.max(1)
    }

    /// A length in one byte and that many bytes; all there are if the length is 255.
    fn part(&mut self) -> &'a [u8] {
        let len = match self.byte() {
            255 => self.0.len(),
            len => len.min(self.0.len()),
        };
        let (part, rest) = self.0.split_at(len);
        self.0 = rest;
        part
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// One edit anywhere in a text, as its bytes.
fn edit(text: &mut Text, script: &mut Script<'_>) -> Vec<u8> {
    let len = text.len(Measure::Chars);
    let at = script.below(len + 1);
    let kind = script.byte();
    let many = if kind & 1 == 0 {
        0
    } else {
        (kind >> 4).min(len - at)
    };
    let word = match kind & 7 {
        1 => "",
        _ => WORDS[(kind >> 1) % WORDS.len()],
    };
    let update = text
        .replace(Measure::Chars, at, many, word)
        .expect("it is within the text");
    text.encode(&update)
}

fn take(text: &mut Text, update: &[u8]) {
    text.apply(update, None).expect("an honest update");
}

fn sound(text: &Text) {
    if let Err(fault) = text.check() {
        panic!("{fault}");
    }
}

/// A text of three clients with forty updates at Seqs 1 to 40, and these updates.
fn history() -> &'static (Text, Vec<Vec<u8>>) {
    static HISTORY: OnceLock<(Text, Vec<Vec<u8>>)> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let mut server = Text::new(Client::new(0));
        let mut clients = [1, 2, 300].map(|client| Text::new(Client::new(client)));
        let mut updates: Vec<Vec<u8>> = Vec::new();
        let script: Vec<u8> = (0..400u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let mut script = Script(&script);
        for seq in 1..=40 {
            let client = &mut clients[script.below(3)];
            if script.byte() & 1 == 0 {
                updates.iter().for_each(|update| take(client, update));
            }
            let update = edit(client, &mut script);
            server
                .apply(&update, Some(Seq::new(seq)))
                .expect("an honest update");
            updates.push(update);
        }
        (server, updates)
    })
}

/// Bytes as updates: a refusal leaves no trace, and replicas that took the same are the same.
///
/// # Panics
///
/// If that does not hold.
pub fn apply(data: &[u8]) {
    let mut script = Script(data);
    let mut text = history().0.clone();
    let held = text.heap_bytes();
    let mut seq = 41;
    while !script.is_over() {
        let update = script.part();
        let (before, version) = (text.to_string(), text.version());
        let mut heard: Vec<char> = before.chars().collect();
        let mut changes = Vec::new();
        match text.apply_seen(update, Some(Seq::new(seq)), Measure::Chars, &mut changes) {
            Ok(applied) => {
                seq += 1;
                if applied != Applied::New {
                    assert_eq!(text.to_string(), before);
                }
            }
            Err(_) => assert_eq!(text.version(), version, "a refusal leaves no trace"),
        }
        for change in &changes {
            let new = text.inserted(change).chars();
            heard.splice(change.at..change.at + change.deleted, new);
        }
        assert_eq!(heard.into_iter().collect::<String>(), text.to_string());
    }
    sound(&text);
    assert!(text.heap_bytes() <= 2 * held + SLACK_BYTES + data.len() * HEAP_PER_BYTE);
    let mut other = Text::new(Client::new(9));
    take(&mut other, &text.diff(&Version::new()));
    sound(&other);
    assert_eq!(other.to_string(), text.to_string());
    assert_eq!(other.version(), text.version());
    let at = |seq| text.at(Seq::new(seq)).expect("it came in order");
    assert_eq!(at(40), history().0.to_string());
}

/// Bytes as a whole text: using it does not panic, and saving it as it came gives it back.
///
/// # Panics
///
/// If that does not hold.
pub fn load(data: &[u8]) {
    let Ok(mut text) = Text::load(Client::new(7), data) else {
        return;
    };
    let packed = data.first() == Some(&4);
    let deflated = if packed { DEFLATE } else { 1 };
    assert!(text.heap_bytes() <= SLACK_BYTES + data.len() * HEAP_PER_BYTE * deflated);
    if text.len(Measure::Bytes) > 1 << 20 {
        return; // A bomb that was held: nothing below would be quick.
    }
    let again = Text::load(Client::new(7), &text.snapshot(History::With)).expect("what was saved");
    assert_eq!(again.to_string(), text.to_string());
    assert_eq!(again.version(), text.version());
    // A snapshot's order is its saver's word, and replaying an archive takes nobody's.
    match Text::load(Client::new(7), &text.archive()) {
        Ok(again) if packed => assert_eq!(again.to_string(), text.to_string()),
        Ok(_) => {}
        Err(error) => assert!(!packed, "{error}"),
    }
    Text::load(Client::new(7), &text.snapshot(History::Without)).expect("what was saved");
    let known = text.known_until().get();
    for seq in [
        0,
        known / 2,
        known.saturating_sub(1),
        known,
        known.saturating_add(1),
    ] {
        let _ = text.between(Seq::new(seq / 2), Seq::new(seq));
        let (Ok(at), Ok(moment)) = (text.at(Seq::new(seq)), text.moment(Seq::new(seq))) else {
            continue;
        };
        assert_eq!(at, moment.to_string());
        let _ = text.at_near(Seq::new(seq), text.len(Measure::Chars) / 2, 10);
    }
    text.track_undo();
    let mut script = Script(data);
    for _ in 0..4 {
        let _ = edit(&mut text, &mut script);
        text.checkpoint();
    }
    let _ = (text.undo(), text.undo(), text.redo());
    for at in 0..text.len(Measure::Chars).min(20) {
        let anchor = text
            .anchor(Measure::Chars, at, Bias::Right)
            .expect("within");
        assert_eq!(text.position_of(&anchor, Measure::Chars), Some(at));
        let place = text.place_of(Measure::Chars, at).expect("within");
        assert_eq!(text.offset_of(Measure::Chars, place), Some(at));
    }
    for update in &history().1 {
        let _ = text.apply(update, None);
    }
    let _ = text.diff(&Version::new());
}

/// Bytes as updates to merge; and honest updates, of which any merge and any difference by version
/// says the same as they do.
///
/// # Panics
///
/// If that does not hold.
pub fn merge_diff(data: &[u8]) {
    let mut script = Script(data);
    let (hostile, honest) = (script.byte() % 5, script.byte() % 24);
    let mut parts: Vec<&[u8]> = (0..hostile).map(|_| script.part()).collect();
    if let Ok(merged) = merge(&parts) {
        let mut text = history().0.clone();
        let _ = text.apply(&merged, None);
        sound(&text);
    }
    parts.extend(history().1.iter().map(Vec::as_slice));
    let _ = merge(&parts);

    let mut version = Version::new();
    let mut replicas = [Text::new(Client::new(5)), Text::new(Client::new(6))];
    let mut updates: Vec<Vec<u8>> = Vec::new();
    let mut cut = 0;
    for step in 0..honest {
        let who = script.byte();
        let (here, there) = (who & 1, who >> 1 & 1);
        let update = edit(&mut replicas[here], &mut script);
        if there == 1 {
            let since = replicas[1 - here].version();
            let lack = replicas[here].diff(&since);
            take(&mut replicas[1 - here], &lack);
            assert!(
                replicas[1 - here]
                    .version()
                    .covers(&replicas[here].version())
            );
        }
        updates.push(update);
        if who & 128 != 0 {
            cut = step + 1;
        }
    }
    let lists: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
    let mut plain = Text::new(Client::new(1));
    lists.iter().for_each(|update| take(&mut plain, update));
    // In two merges, then those merged again; repeats and any order change nothing.
    let first = merge(&lists[..cut]).expect("honest updates");
    let all = merge(&lists.iter().rev().copied().collect::<Vec<_>>()).expect("honest updates");
    let again = merge(&[&all[..], &first[..], &all[..]]).expect("honest updates");
    for merged in [&all, &again] {
        let mut text = Text::new(Client::new(2));
        take(&mut text, &first);
        take(&mut text, merged);
        sound(&text);
        assert_eq!(text.to_string(), plain.to_string());
        assert_eq!(text.waiting(), 0);
    }
    // A difference since any version, also one that never was, is an update.
    while !script.is_over() {
        let client = [0, 1, 5, 6, 300][script.below(5)];
        version.set(Client::new(client), script.below(300) as u32);
        let mut text = Text::new(Client::new(3));
        let _ = text.apply(&plain.diff(&version), None);
        let mut behind = Text::new(Client::new(4));
        take(&mut behind, &first);
        let lack = plain.diff(&behind.version());
        take(&mut behind, &lack);
        assert_eq!(behind.to_string(), plain.to_string());
    }
}

/// Three replicas edit; updates go to a server and to one another in any order, repeated and late.
/// All end with one text, every past text of the server is what it was, and what is saved is whole.
///
/// # Panics
///
/// If that does not hold.
pub fn converge(data: &[u8]) {
    let mut script = Script(data);
    let mut server = Text::new(Client::new(100));
    let mut replicas = [3, 1, 1 << 40].map(|client| Text::new(Client::new(client)));
    let mut updates: Vec<Vec<u8>> = Vec::new();
    let mut past = vec![String::new()];
    for _ in 0..MAX_STEPS {
        if script.is_over() {
            break;
        }
        let what = script.byte();
        let replica = &mut replicas[what % 3];
        match (what / 3) % 4 {
            0 | 1 => {
                let update = edit(replica, &mut script);
                server
                    .apply(&update, Some(Seq::new(past.len() as u64)))
                    .expect("an honest update");
                past.push(server.to_string());
                updates.push(update);
            }
            2 if !updates.is_empty() => {
                let update = &updates[script.below(updates.len())];
                let mut heard: Vec<char> = replica.to_string().chars().collect();
                let mut changes = Vec::new();
                replica
                    .apply_seen(update, None, Measure::Chars, &mut changes)
                    .expect("an honest update");
                for change in &changes {
                    let new = replica.inserted(change).chars();
                    heard.splice(change.at..change.at + change.deleted, new);
                }
                assert_eq!(heard.into_iter().collect::<String>(), replica.to_string());
            }
            _ => updates.iter().for_each(|update| take(replica, update)),
        }
    }
    // Each hears the rest in an order of its own.
    for (who, replica) in replicas.iter_mut().enumerate() {
        let turn = script.below(updates.len());
        let (front, back) = updates.split_at(turn);
        match who {
            0 => updates
                .iter()
                .rev()
                .for_each(|update| take(replica, update)),
            1 => back
                .iter()
                .chain(front)
                .for_each(|update| take(replica, update)),
            _ => take(replica, &server.diff(&replica.version())),
        }
        sound(replica);
        assert_eq!(replica.waiting(), 0);
        assert!(replica.missing().is_empty());
        assert_eq!(replica.to_string(), server.to_string());
        assert_eq!(replica.version(), server.version());
    }
    sound(&server);
    for saved in [server.snapshot(History::With), server.archive()] {
        let loaded = Text::load(Client::new(4), &saved).expect("what was saved");
        sound(&loaded);
        for (seq, text) in past.iter().enumerate() {
            for text_of in [&server, &loaded] {
                let at = text_of.at(Seq::new(seq as u64)).expect("it is known");
                assert_eq!(&at, text, "Seq {seq}");
            }
        }
    }
    let bare = Text::load(Client::new(4), &server.snapshot(History::Without)).expect("saved");
    sound(&bare);
    assert_eq!(bare.to_string(), server.to_string());
}

/// Two replicas edit with undo and redo and keep sticky positions: both agree about text and
/// positions, and what one writer takes back is gone, and what it does again is there.
///
/// # Panics
///
/// If that does not hold.
pub fn anchors_undo(data: &[u8]) {
    let mut script = Script(data);
    let mut replicas = [1, 2].map(|client| Text::new(Client::new(client)));
    let alone = script.byte() & 1 == 0;
    for replica in &mut replicas {
        replica.track_undo();
        if script.byte() & 1 == 0 {
            replica.count_lines();
        }
    }
    let mut anchors: Vec<Anchor> = Vec::new();
    // What one writer would see by undoing and doing again.
    let (mut behind, mut ahead) = (Vec::new(), Vec::new());
    for _ in 0..MAX_STEPS {
        if script.is_over() {
            break;
        }
        let what = script.byte();
        let who = if alone { 0 } else { what & 1 };
        let text = &mut replicas[who];
        let before = text.to_string();
        let from = text.version();
        match what >> 1 & 7 {
            0..=2 => {
                let _ = edit(text, &mut script);
                text.checkpoint();
                if text.version() != from {
                    behind.push(before);
                    ahead.clear();
                }
            }
            3 => {
                let done = text.undo().expect("there is room").is_some();
                if alone {
                    assert_eq!(done, !behind.is_empty());
                    if let Some(was) = behind.pop() {
                        assert_eq!(text.to_string(), was, "taken back");
                        ahead.push(before);
                    }
                }
            }
            4 => {
                let done = text.redo().expect("there is room").is_some();
                if alone {
                    assert_eq!(done, !ahead.is_empty());
                    if let Some(was) = ahead.pop() {
                        assert_eq!(text.to_string(), was, "done again");
                        behind.push(before);
                    }
                }
            }
            5 => {
                let measure = [Measure::Bytes, Measure::Units, Measure::Chars][script.below(3)];
                let at = script.below(text.len(measure) + 1);
                let bias = [Bias::Left, Bias::Right][script.below(2)];
                if let Ok(anchor) = text.anchor(measure, at, bias) {
                    assert_eq!(text.position_of(&anchor, measure), Some(at));
                    anchors.push(anchor);
                }
                if let Ok(place) = text.place_of(measure, at) {
                    assert_eq!(text.offset_of(measure, place), Some(at));
                }
            }
            _ => {
                let lack = replicas[who].diff(&replicas[1 - who].version());
                take(&mut replicas[1 - who], &lack);
            }
        }
        let clock = replicas[who].version().get(Client::new(who as u64 + 1));
        let own = Update {
            client: Client::new(who as u64 + 1),
            from: from.get(Client::new(who as u64 + 1)),
            to: clock,
        };
        if what & 128 != 0 {
            let bytes = replicas[who].encode(&own);
            take(&mut replicas[1 - who], &bytes);
        }
    }
    for who in [0, 1, 0] {
        let lack = replicas[who].diff(&replicas[1 - who].version());
        take(&mut replicas[1 - who], &lack);
    }
    let [one, two] = &replicas;
    sound(one);
    sound(two);
    assert_eq!(one.to_string(), two.to_string());
    for anchor in &anchors {
        for measure in [Measure::Bytes, Measure::Units, Measure::Chars] {
            let at = one.position_of(anchor, measure);
            assert_eq!(at, two.position_of(anchor, measure));
            assert!(at.is_some_and(|at| at <= one.len(measure)), "it is here");
        }
    }
}

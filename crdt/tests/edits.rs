//! Editing one replica: measures, changes, anchors, places, undo.

mod support;

use crdt::text::{
    Bias, Change, Client, EditError, FormatError, Measure, Place, Text, Update, Version, ticks,
};
use support::{Random, size};

const WORDS: &[&str] = &["a", "bc\n", "é", "日本", "😀!", "\n", "plain text "];

/// Byte, unit and char offsets of every boundary.
fn boundaries(text: &str) -> Vec<[usize; 3]> {
    let mut all = vec![[0, 0, 0]];
    for character in text.chars() {
        let [bytes, units, chars] = all[all.len() - 1];
        all.push([
            bytes + character.len_utf8(),
            units + character.len_utf16(),
            chars + 1,
        ]);
    }
    all
}

const MEASURES: [Measure; 3] = [Measure::Bytes, Measure::Units, Measure::Chars];

#[test]
fn edits_in_every_measure_equal_those_of_a_string() {
    for seed in 0..size("EDIT_RUNS", 20) as u64 {
        let mut random = Random(seed);
        let mut text = Text::new(Client::new(1));
        let mut other = Text::new(Client::new(2));
        let mut model = String::new();
        // What a listener holds, in UTF-16 as a browser would.
        let mut heard: Vec<u16> = Vec::new();
        if seed % 3 == 0 {
            text.count_lines();
        }
        for _ in 0..150 {
            let bounds = boundaries(&model);
            let from = random.below(bounds.len());
            let to = (from + random.below(4)).min(bounds.len() - 1);
            let kind = random.below(3);
            let measure = MEASURES[kind];
            let new = if random.chance(70) {
                WORDS[random.below(WORDS.len())]
            } else {
                ""
            };
            let (start, end) = (bounds[from], bounds[to]);
            let update = text
                .replace(measure, start[kind], end[kind] - start[kind], new)
                .expect("an edit");
            model.replace_range(start[0]..end[0], new);
            let mut changes = Vec::new();
            other
                .apply_seen(&text.encode(&update), None, Measure::Units, &mut changes)
                .expect("a good update");
            for change in &changes {
                let new: Vec<u16> = other.inserted(change).encode_utf16().collect();
                heard.splice(change.at..change.at + change.deleted, new);
            }
            assert_eq!(String::from_utf16(&heard).expect("UTF-16"), model);
            assert_eq!(text.to_string(), model);
            text.check().expect("a sound tree");
            let bounds = boundaries(&model);
            for (kind, measure) in MEASURES.into_iter().enumerate() {
                assert_eq!(text.len(measure), bounds[bounds.len() - 1][kind]);
                let (a, b) = (random.below(bounds.len()), random.below(bounds.len()));
                let (a, b) = (a.min(b), a.max(b));
                let slice = text.slice(measure, bounds[a][kind]..bounds[b][kind]);
                assert_eq!(slice.as_deref(), Some(&model[bounds[a][0]..bounds[b][0]]));
                let before = &model[..bounds[a][0]];
                let line_start = before.rfind('\n').map_or(0, |at| at + 1);
                let place = Place {
                    line: before.matches('\n').count(),
                    column: bounds[a][kind] - bounds[before[..line_start].chars().count()][kind],
                };
                assert_eq!(
                    text.place_of(measure, bounds[a][kind]),
                    Ok(place),
                    "{model:?} {a}"
                );
                assert_eq!(text.offset_of(measure, place), Some(bounds[a][kind]));
            }
        }
    }
}

#[test]
fn positions_inside_characters_and_past_the_end_are_refused() {
    let mut text = Text::new(Client::new(1));
    text.insert(Measure::Chars, 0, "a😀").expect("an edit");
    assert_eq!(
        text.insert(Measure::Bytes, 2, "x"),
        Err(EditError::InsideCharacter { at: 2 })
    );
    assert_eq!(
        text.insert(Measure::Units, 2, "x"),
        Err(EditError::InsideCharacter { at: 2 })
    );
    assert_eq!(
        text.insert(Measure::Bytes, 6, "x"),
        Err(EditError::Outside { at: 6, len: 5 })
    );
    assert_eq!(
        text.delete(Measure::Chars, 1, 2),
        Err(EditError::Outside { at: 3, len: 2 })
    );
    assert_eq!(
        text.delete(Measure::Chars, 1, usize::MAX),
        Err(EditError::Outside { at: 1, len: 2 })
    );
    assert_eq!(text.to_string(), "a😀");
    assert_eq!(
        text.offset_of(Measure::Chars, Place { line: 1, column: 0 }),
        None
    );
    assert_eq!(
        text.offset_of(Measure::Chars, Place { line: 0, column: 3 }),
        None
    );
}

#[test]
fn anchors_stay_with_their_neighbour() {
    let mut text = Text::new(Client::new(1));
    text.insert(Measure::Chars, 0, "hello world")
        .expect("an edit");
    let left = text
        .anchor(Measure::Chars, 5, Bias::Left)
        .expect("an anchor");
    let right = text
        .anchor(Measure::Chars, 5, Bias::Right)
        .expect("an anchor");
    text.insert(Measure::Chars, 5, ",").expect("an edit");
    assert_eq!(text.position_of(&left, Measure::Chars), Some(5));
    assert_eq!(text.position_of(&right, Measure::Chars), Some(6));
    text.delete(Measure::Chars, 2, 6).expect("an edit");
    assert_eq!(text.position_of(&left, Measure::Chars), Some(2));
    assert_eq!(text.position_of(&right, Measure::Chars), Some(2));
    let start = text
        .anchor(Measure::Chars, 0, Bias::Left)
        .expect("an anchor");
    let end = text
        .anchor(Measure::Chars, text.len(Measure::Chars), Bias::Right)
        .expect("an anchor");
    text.insert(Measure::Chars, 0, "^").expect("an edit");
    text.insert(Measure::Chars, text.len(Measure::Chars), "$")
        .expect("an edit");
    assert_eq!(text.position_of(&start, Measure::Chars), Some(0));
    assert_eq!(
        text.position_of(&end, Measure::Chars),
        Some(text.len(Measure::Chars))
    );
    let mut other = Text::new(Client::new(2));
    assert_eq!(other.position_of(&left, Measure::Chars), None);
    other
        .apply(&text.diff(&Version::new()), None)
        .expect("a good update");
    assert_eq!(
        other.position_of(&left, Measure::Chars),
        text.position_of(&left, Measure::Chars)
    );
}

#[test]
fn undo_and_redo_survive_what_others_do() {
    let mut alice = Text::new(Client::new(1));
    let mut bob = Text::new(Client::new(2));
    alice.track_undo();
    let one = alice
        .insert(Measure::Chars, 0, "one two three")
        .expect("an edit");
    bob.apply(&alice.encode(&one), None).expect("a good update");
    alice.checkpoint();
    let two = alice.delete(Measure::Chars, 4, 4).expect("an edit");
    alice.checkpoint();
    let others = bob.insert(Measure::Chars, 6, "_").expect("an edit");
    let more = bob.insert(Measure::Chars, 0, ">").expect("an edit");
    for update in [&others, &more] {
        alice
            .apply(&bob.encode(update), None)
            .expect("a good update");
    }
    bob.apply(&alice.encode(&two), None).expect("a good update");
    assert_eq!(alice.to_string(), ">one _three");
    let mut send = |alice: &mut Text, update: Option<Update>| {
        let update = update.expect("something to take back");
        bob.apply(&alice.encode(&update), None)
            .expect("a good update");
        assert_eq!(bob.to_string(), alice.to_string());
    };
    let update = alice.undo().expect("room");
    send(&mut alice, update);
    assert_eq!(alice.to_string(), ">one tw_o three");
    let update = alice.redo().expect("room");
    send(&mut alice, update);
    assert_eq!(alice.to_string(), ">one _three");
    let update = alice.undo().expect("room");
    send(&mut alice, update);
    let update = alice.undo().expect("room");
    send(&mut alice, update);
    assert_eq!(alice.to_string(), ">_");
    assert_eq!(alice.undo(), Ok(None));
    let update = alice.redo().expect("room");
    send(&mut alice, update);
    let update = alice.redo().expect("room");
    send(&mut alice, update);
    assert_eq!(alice.redo(), Ok(None));
    alice.check().expect("a sound tree");
}

#[test]
fn undoing_everything_leaves_nothing_and_redoing_brings_it_back() {
    for seed in 0..size("UNDO_RUNS", 30) as u64 {
        let mut random = Random(seed);
        let mut text = Text::new(Client::new(1));
        text.track_undo();
        let mut texts = vec![String::new()];
        for _ in 0..40 {
            for _ in 0..1 + random.below(3) {
                let len = text.len(Measure::Chars);
                let at = random.below(len + 1);
                let many = random.below((len - at).min(5) + 1);
                let word = if random.chance(60) || many == 0 {
                    WORDS[random.below(WORDS.len())]
                } else {
                    ""
                };
                text.replace(Measure::Chars, at, many, word)
                    .expect("an edit");
            }
            text.checkpoint();
            texts.push(text.to_string());
        }
        for _ in 0..2 {
            let mut shown = text.to_string();
            let mut changes = Vec::new();
            for expected in texts.iter().rev().skip(1) {
                let undone = text.undo_seen(Measure::Bytes, &mut changes);
                assert!(undone.expect("room").is_some());
                assert_eq!(&text.to_string(), expected, "seed {seed}");
                carry_out(&mut shown, &text, &mut changes);
                assert_eq!(&shown, expected, "seed {seed}");
            }
            assert_eq!(text.undo(), Ok(None));
            for expected in texts.iter().skip(1) {
                let redone = text.redo_seen(Measure::Bytes, &mut changes);
                assert!(redone.expect("room").is_some());
                assert_eq!(&text.to_string(), expected, "seed {seed}");
                carry_out(&mut shown, &text, &mut changes);
                assert_eq!(&shown, expected, "seed {seed}");
            }
        }
        text.check().expect("a sound tree");
    }
}

#[test]
fn a_difference_has_what_is_lacking_and_nothing_else() {
    let mut texts = [1, 2, 3].map(|client| Text::new(Client::new(client)));
    let mut random = Random(1);
    let mut known = Version::new();
    for round in 0..60 {
        let who = random.below(texts.len());
        let at = random.below(texts[who].len(Measure::Chars) + 1);
        texts[who]
            .insert(Measure::Chars, at, WORDS[random.below(WORDS.len())])
            .expect("an edit");
        let update = texts[who].diff(&texts[0].version());
        texts[0].apply(&update, None).expect("a good update");
        let now = texts[0].version();
        let all = texts[0].diff(&Version::new());
        texts[who].apply(&all, None).expect("a good update");
        for since in [&known, &Version::new(), &now] {
            let mut lacking = ticks(&texts[0].diff(since)).expect("good bytes");
            lacking.sort_by_key(|update| update.client);
            let expected = now.iter().map(|(client, to)| Update {
                client,
                from: since.get(client),
                to,
            });
            let expected = expected.filter(|update| !update.is_empty());
            assert_eq!(lacking, expected.collect::<Vec<_>>(), "round {round}");
        }
        if random.chance(30) {
            known = now;
        }
    }
}

/// Does to a string what changes in bytes say.
fn carry_out(shown: &mut String, text: &Text, changes: &mut Vec<Change>) {
    for change in changes.drain(..) {
        let range = change.at..change.at + change.deleted;
        shown.replace_range(range, text.inserted(&change));
    }
}

#[test]
fn an_update_names_its_ticks_and_undo_says_whether_it_can() {
    let mut text = Text::new(Client::new(3));
    text.track_undo();
    assert!(!text.can_undo() && !text.can_redo());
    text.insert(Measure::Chars, 0, "abc").expect("an edit");
    assert!(text.can_undo() && !text.can_redo());
    let edit = text.replace(Measure::Chars, 1, 1, "xy").expect("an edit");
    assert_eq!(ticks(&text.encode(&edit)), Ok(vec![edit]));
    text.undo().expect("there is room");
    assert!(!text.can_undo() && text.can_redo());
    let mut other = Text::new(Client::new(1));
    other
        .apply(&text.diff(&Version::new()), None)
        .expect("a good update");
    other.insert(Measure::Chars, 0, "!").expect("an edit");
    let all = ticks(&other.diff(&Version::new())).expect("a good update");
    let named: Vec<_> = all
        .iter()
        .map(|update| (update.client, update.from, update.to))
        .collect();
    let version = other.version();
    let expected: Vec<_> = version.iter().map(|(client, to)| (client, 0, to)).collect();
    assert_eq!(named.len(), 2);
    assert!(expected.iter().all(|update| named.contains(update)));
    assert_eq!(ticks(&[9]), Err(FormatError::Version(9)));
}

//! Records come back as they went in, runs behave like a list of records, and damage is found.

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_USER_BYTES;

const AT: Timestamp = Timestamp::from_micros(1_795_520_879_123_456);

fn draft(payload: &[u8]) -> Draft {
    Draft {
        author: Author {
            user: None,
            session: SessionId::new(1),
            site: None,
        },
        op_id: None,
        base: None,
        kind: Kind::Update,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let user = prop::option::of("[a-zü]{1,64}");
    let kind = (1..=6_u8).prop_map(|code| Kind::from_code(code).unwrap());
    (
        user,
        any::<u64>(),
        any::<Option<u64>>(),
        any::<Option<[u8; 16]>>(),
        any::<Option<u64>>(),
        kind,
        prop::collection::vec(any::<u8>(), 0..400),
    )
        .prop_map(|(user, session, site, op_id, base, kind, payload)| Draft {
            author: Author {
                user: user.map(|user| UserId::new(&user).unwrap()),
                session: SessionId::new(session),
                site: site.map(Site::new),
            },
            op_id: op_id.map(OpId::new),
            base: base.map(Seq::new),
            kind,
            payload: payload.into(),
        })
}

fn any_head() -> impl Strategy<Value = Head> {
    (0..u64::MAX - 100, any::<u64>(), any::<u64>()).prop_map(|(seq, at, chain)| Head {
        seq: Seq::new(seq),
        at: Timestamp::from_micros(at),
        chain: Chain::from_raw(chain),
    })
}

/// A head, drafts after it with the wall clock at each, and the run that they give.
fn any_run() -> impl Strategy<Value = (Head, Vec<(u64, Draft)>, Run)> {
    let drafts = prop::collection::vec((any::<u64>(), any_draft()), 1..8);
    (any_head(), drafts).prop_map(|(head, drafts)| {
        let run = run(head, drafts.iter().map(|(at, draft)| (*at, draft)));
        (head, drafts, run)
    })
}

fn run<'a>(head: Head, drafts: impl IntoIterator<Item = (u64, &'a Draft)>) -> Run {
    let mut builder = RunBuilder::new(head);
    for (at, draft) in drafts {
        let after = builder.push(Timestamp::from_micros(at), draft);
        assert_eq!(after, builder.head());
    }
    builder.finish().unwrap()
}

/// Five records of different shapes, for tests that walk over every bit.
fn small_run() -> Run {
    let mut full = draft(b"full");
    full.author.user = UserId::new("ada").ok();
    full.author.site = Some(Site::new(300));
    full.op_id = Some(OpId::new([7; 16]));
    full.base = Some(Seq::ZERO);
    let drafts = [
        draft(b"one"),
        full,
        draft(b""),
        draft(&[0; 40]),
        draft(b"x"),
    ];
    run(Head::EMPTY, drafts.iter().map(|draft| (AT.micros(), draft)))
}

fn stored(run: &Run, bytes: &[u8]) -> Result<Run, Damage> {
    Run::from_stored(run.before(), run.after(), Bytes::copy_from_slice(bytes))
}

/// What reading everything says, as a recovering store does it.
fn check(run: &Run, bytes: &[u8]) -> Result<(), Damage> {
    stored(run, bytes)?.verify().map_err(|(_, damage)| damage)
}

proptest! {
    #[test]
    fn records_come_back_as_they_went_in((head, drafts, run) in any_run()) {
        let stored = stored(&run, run.bytes()).unwrap();
        prop_assert_eq!(&stored, &run);
        prop_assert_eq!(stored.verify(), Ok(()));
        prop_assert_eq!(stored.len(), drafts.len() as u64);

        let (mut at, mut chain, mut bytes) = (head.at, head.chain, 0);
        let records: Vec<Record> = stored.records().map(Result::unwrap).collect();
        prop_assert_eq!(records.len(), drafts.len());
        for (i, (record, (wall, draft))) in records.iter().zip(&drafts).enumerate() {
            at = at.max(Timestamp::from_micros(*wall));
            let seq = Seq::new(head.seq.get() + 1 + i as u64);
            chain = chain.extend(seq, at, draft);
            prop_assert_eq!(record, &Record { seq, at, chain, draft: draft.clone() });
            bytes += record.sealed_len();
        }
        prop_assert_eq!(bytes, run.bytes().len());
        prop_assert_eq!(run.after(), records[records.len() - 1].head());
        prop_assert_eq!((run.first(), run.last()), (records[0].seq, run.after().seq));
    }

    #[test]
    fn the_sealed_length_is_exact(draft in any_draft(), head in any_head()) {
        let run = run(head, [(0, &draft)]);
        prop_assert_eq!(run.bytes().len(), draft.sealed_len());
        let (record, end) = Record::open(run.bytes(), 0).unwrap();
        prop_assert_eq!(record.sealed_len(), end);
        let variable = draft.payload.len() + draft.user().len();
        prop_assert!(end - variable <= MAX_RECORD_OVERHEAD_BYTES);
    }

    #[test]
    fn a_run_is_cut_like_a_list_of_records((head, _, run) in any_run(), from in 0..10_u64, to in 0..10_u64) {
        let seq = |n: u64| Seq::new((head.seq.get() + n).saturating_sub(1));
        let all: Vec<Record> = run.records().map(Result::unwrap).collect();
        let list = |run: Option<Run>| -> Vec<Record> {
            let Some(run) = run else { return Vec::new() };
            assert!(!run.is_empty());
            assert_eq!(run.verify(), Ok(()), "a cut run knows its ends");
            run.records().map(Result::unwrap).collect()
        };
        let after = run.after_seq(seq(from)).unwrap();
        let tail: Vec<Record> = all.iter().filter(|r| r.seq > seq(from)).cloned().collect();
        prop_assert_eq!(list(after), tail);
        let up_to = run.up_to_seq(seq(to)).unwrap();
        let first: Vec<Record> = all.iter().filter(|r| r.seq <= seq(to)).cloned().collect();
        prop_assert_eq!(list(up_to), first);
    }

    #[test]
    fn noise_is_never_a_run(bytes: Vec<u8>, flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8), 1..6)) {
        let run = small_run();
        prop_assert!(check(&run, &bytes).is_err());
        let mut damaged = run.bytes().to_vec();
        for (at, bit) in flips {
            damaged[at.index(run.bytes().len())] ^= 1_u8 << bit;
        }
        prop_assert_eq!(check(&run, &damaged).is_ok(), damaged == *run.bytes());
    }
}

#[test]
fn times_never_go_back() {
    let drafts = [draft(b"a"), draft(b"b"), draft(b"c")];
    let head = Head {
        at: Timestamp::from_micros(10),
        ..Head::EMPTY
    };
    let run = run(head, [5, 30, 20].into_iter().zip(&drafts));
    let times: Vec<u64> = run.records().map(|r| r.unwrap().at.micros()).collect();
    assert_eq!(times, [10, 30, 30]);
}

#[test]
fn every_flipped_bit_of_a_run_is_found() {
    let run = small_run();
    for bit in 0..run.bytes().len() * 8 {
        let mut bytes = run.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&run, &bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_extension_of_a_run_is_found() {
    let run = small_run();
    for len in 0..run.bytes().len() {
        assert_eq!(check(&run, &run.bytes()[..len]), Err(Damage::Torn), "{len}");
    }
    let longer = [&run.bytes()[..], &[0]].concat();
    assert_eq!(check(&run, &longer), Err(Damage::Content));
}

#[test]
fn a_damaged_record_ends_the_run_and_says_where() {
    let run = small_run();
    let first_len = draft(b"one").sealed_len();
    let mut bytes = run.bytes().to_vec();
    bytes[first_len + 20] ^= 1;
    let stored = stored(&run, &bytes).unwrap();
    assert_eq!(stored.verify(), Err((Seq::new(2), Damage::Checksum)));
    let read: Vec<_> = stored.records().map(|r| r.map(|r| r.seq)).collect();
    assert_eq!(read, [Ok(Seq::FIRST), Err(Damage::Checksum)]);
    // No run is cut at it, and one that holds it says so when it is read.
    assert_eq!(stored.after_seq(Seq::new(2)), Err(Damage::Checksum));
    assert_eq!(stored.up_to_seq(Seq::new(2)), Err(Damage::Checksum));
    let holds = stored.up_to_seq(Seq::new(3)).unwrap().unwrap();
    assert_eq!(holds.verify(), Err((Seq::new(2), Damage::Checksum)));
    for whole in [stored.up_to_seq(Seq::FIRST), stored.after_seq(Seq::new(3))] {
        assert_eq!(whole.unwrap().unwrap().verify(), Ok(()));
    }
}

#[test]
fn a_run_whose_lengths_are_wrong_is_not_cut() {
    let run = small_run();
    let mut bytes = run.bytes().to_vec();
    // The second record says that it is shorter, so that the third does not begin where it should.
    let second = draft(b"one").sealed_len();
    bytes[second + 4] -= 1;
    let stored = stored(&run, &bytes).unwrap();
    let ends: Vec<_> = stored.ends().take(3).collect();
    assert!(
        ends[..2].iter().all(Result::is_ok) && ends[2].is_err(),
        "{ends:?}"
    );
    for seq in [2, 3, 4] {
        assert!(stored.after_seq(Seq::new(seq)).is_err(), "{seq}");
        assert!(stored.up_to_seq(Seq::new(seq)).is_err(), "{seq}");
    }
}

#[test]
fn records_out_of_order_or_twice_are_found() {
    let run = small_run();
    let mut cuts = vec![0];
    for record in run.records() {
        cuts.push(cuts[cuts.len() - 1] + record.unwrap().sealed_len());
    }
    let part = |i: usize| &run.bytes()[cuts[i]..cuts[i + 1]];
    for order in [
        &[1, 0, 2, 3, 4][..],
        &[0, 0, 1, 2, 3],
        &[0, 2, 3, 4],
        &[0, 1, 2, 3, 4, 4],
    ] {
        let bytes = order.iter().map(|i| part(*i)).collect::<Vec<_>>().concat();
        assert!(check(&run, &bytes).is_err(), "{order:?}");
    }
}

#[test]
fn a_run_of_another_history_does_not_verify() {
    let run = small_run();
    let before = Head {
        chain: Chain::from_raw(1),
        ..run.before()
    };
    let other = Run::from_stored(before, run.after(), run.bytes().clone()).unwrap();
    assert_eq!(other.verify(), Err((Seq::FIRST, Damage::Content)));

    let after = Head {
        chain: Chain::from_raw(1),
        ..run.after()
    };
    let other = Run::from_stored(run.before(), after, run.bytes().clone()).unwrap();
    assert_eq!(other.verify(), Err((run.last(), Damage::Content)));
}

#[test]
fn a_time_that_goes_back_is_found_under_a_whole_chain() {
    let draft = draft(b"x");
    let one = run(Head::EMPTY, [(10, &draft)]);
    let forgetful = Head {
        at: Timestamp::from_micros(0),
        ..one.after()
    };
    let two = run(forgetful, [(5, &draft)]);
    let last = Head {
        at: Timestamp::from_micros(10),
        ..two.after()
    };
    let bytes: Bytes = [&one.bytes()[..], &two.bytes()[..]].concat().into();
    let both = Run::from_stored(Head::EMPTY, two.after(), bytes).unwrap();
    assert_eq!(both.verify(), Err((Seq::new(2), Damage::Content)));
    let second = Run::from_stored(one.after(), last, two.bytes().clone());
    assert_eq!(second, Err(Damage::Content));
}

#[test]
fn stored_ends_must_fit() {
    let run = small_run();
    let with = |before, after| Run::from_stored(before, after, run.bytes().clone());
    let later = Head {
        seq: Seq::FIRST,
        ..Head::EMPTY
    };
    let future = Head {
        at: Timestamp::from_micros(AT.micros() + 1),
        ..Head::EMPTY
    };
    for (before, after) in [
        (run.after(), run.after()),
        (run.after(), run.before()),
        (later, run.after()),
        (future, run.after()),
    ] {
        assert_eq!(with(before, after), Err(Damage::Content));
    }
    let longer = Head {
        seq: Seq::new(6),
        ..run.after()
    };
    let longer = with(run.before(), longer).unwrap();
    assert_eq!(longer.verify(), Err((Seq::new(6), Damage::Torn)));
}

#[test]
fn a_checksum_over_nonsense_does_not_make_a_record() {
    let sealed = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        envelope::seal(Content::Record, &mut out, write);
        Record::open(&out.into(), 0).map(|_| ())
    };
    let body = &run(Head::EMPTY, [(0, &draft(b"abc"))]).bytes().clone()[envelope::HEADER_BYTES..];
    assert_eq!(sealed(&|out| out.extend_from_slice(body)), Ok(()));
    let wrong = Err(Damage::Content);
    assert_eq!(sealed(&|_| {}), wrong);
    assert_eq!(sealed(&|out| out.extend_from_slice(&body[1..])), wrong);
    let slack = [&[0], body].concat();
    assert_eq!(sealed(&|out| out.extend_from_slice(&slack)), wrong);
    for seq in [0, u64::MAX] {
        let mut body = body.to_vec();
        body[3..11].copy_from_slice(&seq.to_le_bytes());
        assert_eq!(sealed(&|out| out.extend_from_slice(&body)), wrong);
    }
    // Whatever single byte is wrong, nothing panics and nothing reads past the body.
    for i in 0..body.len() {
        for byte in [0, 1, 7, 0x7f, 0x80, 0xff] {
            let mut body = body.to_vec();
            body[i] = byte;
            let _ = sealed(&|out| out.extend_from_slice(&body));
        }
    }
}

#[test]
fn the_largest_record_fits_its_envelope() {
    let mut largest = draft(&[]);
    largest.payload = vec![1; MAX_PAYLOAD_BYTES].into();
    largest.author.user = UserId::new(&"u".repeat(MAX_USER_BYTES)).ok();
    largest.author.site = Some(Site::new(u64::MAX));
    largest.op_id = Some(OpId::new([0xff; 16]));
    largest.base = Some(Seq::MAX);
    let run = run(Head::EMPTY, [(0, &largest)]);
    assert!(run.bytes().len() <= crate::limits::MAX_RECORD_BYTES);
    assert_eq!(run.verify(), Ok(()));
}

#[test]
fn payloads_share_the_buffer_of_their_run() {
    let run = small_run();
    let first = run.records().next().unwrap().unwrap();
    let range = run.bytes().as_ptr_range();
    assert!(range.contains(&first.draft.payload.as_ptr()));
}

#[test]
fn the_builder_says_where_the_last_payload_lies() {
    let mut builder = RunBuilder::new(Head::EMPTY);
    let mut payloads = Vec::new();
    for (nth, payload) in [&b"one"[..], b"", b"and a longer one"]
        .into_iter()
        .enumerate()
    {
        let mut draft = draft(payload);
        draft.author.user = UserId::new(&"u".repeat(nth + 1)).ok();
        draft.base = (nth > 1).then_some(Seq::FIRST);
        builder.push(Timestamp::from_micros(1), &draft);
        payloads.push((builder.last_payload(payload.len()), payload));
    }
    let run = builder.finish().unwrap();
    for (range, payload) in payloads {
        assert_eq!(run.bytes()[range], *payload);
    }
}

#[test]
fn a_run_of_nothing_is_none() {
    assert_eq!(RunBuilder::new(Head::EMPTY).finish(), None);
}

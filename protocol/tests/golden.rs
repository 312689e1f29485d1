//! Bytes that were written once must be written the same and read the same for ever.
//!
//! `golden/record-v1.bin` is a run of records in format version 1, `golden/record-v1.txt` says in
//! words what is in it. A failure here means that the format has changed: stores that exist could
//! not be read any more. A change that is meant gets a new format version, new files beside these
//! (written by `WELL_WRITE_GOLDEN=1 cargo test -p protocol --test golden`), and a reader for both.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use bytes::Bytes;
use protocol::ids::{OpId, Seq, SessionId, Site, Timestamp, UserId};
use protocol::record::{Author, Draft, Head, Kind, Record, Run, RunBuilder};

const NAME: &str = "record-v1";

#[test]
fn records_are_written_as_they_always_were() {
    write_if_asked();
    let run = run();
    let text = std::fs::read_to_string(path("txt")).unwrap();
    assert_eq!(describe(&run), text);
    assert_eq!(describe_bytes(run.bytes()), describe_bytes(&golden()));
}

#[test]
fn records_that_were_written_then_are_read_now() {
    write_if_asked();
    let run = run();
    let stored = Run::from_stored(run.before(), run.after(), golden()).unwrap();
    assert_eq!(stored.verify(), Ok(()));
    let records: Vec<Record> = stored.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), drafts().len());
    for (record, (at, draft)) in records.iter().zip(drafts()) {
        assert_eq!((record.at.micros(), &record.draft), (at, &draft));
    }
}

fn write_if_asked() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("WELL_WRITE_GOLDEN").is_some() {
            std::fs::write(path("bin"), run().bytes()).unwrap();
            std::fs::write(path("txt"), describe(&run())).unwrap();
        }
    });
}

fn golden() -> Bytes {
    std::fs::read(path("bin")).unwrap().into()
}

fn path(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(NAME)
        .with_extension(extension)
}

fn run() -> Run {
    let mut builder = RunBuilder::new(Head::EMPTY);
    for (at, draft) in drafts() {
        builder.push(Timestamp::from_micros(at), &draft);
    }
    builder.finish().unwrap()
}

/// One record of each kind, with each optional field present and absent.
fn drafts() -> Vec<(u64, Draft)> {
    let draft = |kind, payload: &'static [u8]| Draft {
        author: Author {
            user: None,
            session: SessionId::new(0x0123_4567_89ab_cdef),
            site: None,
        },
        op_id: None,
        base: None,
        kind,
        payload: Bytes::from_static(payload),
    };
    let mut full = draft(Kind::Update, b"\x01\x01\xac\x02\x00\x04\x01\x01t\x02hi\x00");
    full.author.user = UserId::new("ada").ok();
    full.author.site = Some(Site::new(300));
    full.op_id = Some(OpId::new(*b"0123456789abcdef"));
    full.base = Some(Seq::new(1));
    let mut of_user = draft(Kind::Titled, "Brücke".as_bytes());
    of_user.author.user = UserId::new("grace@example.com").ok();
    let mut with_base = draft(Kind::Update, b"\x00");
    with_base.base = Some(Seq::ZERO);
    let start = 1_795_520_879_123_456;
    vec![
        (start, draft(Kind::Created, b"")),
        (start + 1, full),
        (start + 1, of_user),
        (start + 1_000_000, with_base),
        (start + 2_000_000, draft(Kind::Restored, b"1")),
        (start + 3_000_000, draft(Kind::Forked, b"doc/a@2")),
        (start + 4_000_000, draft(Kind::Deleted, b"")),
    ]
}

fn describe(run: &Run) -> String {
    let mut text = format!("{NAME}.bin: a run of {} records, end to end\n", run.len());
    let mut offset = 0;
    for record in run.records() {
        let record = record.unwrap();
        let Draft {
            author,
            op_id,
            base,
            kind,
            payload,
        } = &record.draft;
        let end = offset + record.sealed_len();
        let user = author.user.as_ref().map(UserId::as_str);
        let site = author.site.map(Site::get);
        let op_id = op_id.map(|id| hex(&id.bytes()));
        let base = base.map(Seq::get);
        write!(
            text,
            "\nbytes {offset}..{end}\n  seq {}\n  at {} ({})\n  chain {}\n  session {}\n  \
             site {site:?}\n  op id {op_id:?}\n  base {base:?}\n  kind {kind:?} ({})\n  \
             user {user:?}\n  payload {:?}\n",
            record.seq,
            record.at.micros(),
            record.at,
            record.chain,
            author.session,
            kind.code(),
            hex(payload),
        )
        .unwrap();
        text.push_str(&describe_bytes(&run.bytes()[offset..end]));
        offset = end;
    }
    text
}

/// Sixteen bytes a line, so that a difference shows where it is.
fn describe_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, line) in bytes.chunks(16).enumerate() {
        writeln!(text, "  {:4}  {}", i * 16, hex(line)).unwrap();
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

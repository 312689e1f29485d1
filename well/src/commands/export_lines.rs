//! `well export --format jsonl`: rooms' records as lines, to a file, standard output or an object.
//!
//! What is at the destination is a whole export or what was there before. A file is written beside
//! its place, as `FILE.part`, and renamed when it is whole and synced; an object appears when its
//! last part has been uploaded. An export that was interrupted goes on with `FILE.part`: it is
//! compared with the log room by room, and cut off where the two part, so that what has been
//! written meanwhile is in it. One to an object begins anew: the parts of an upload cannot be read
//! back before it is finished, so there is nothing to compare.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use object_store::{ObjectStoreExt, WriteMultipart};
use protocol::{Head, RoomName, Run, Seq};
use replay::lines::{Line, SnapshotLine};
use replay::{Moment, Span};
use storage::archive::Snapshot;

use super::export::{Done, for_each_room};
use super::lines::{Counts, EndLine, RoomLine, Text, put};
use crate::source::{Chosen, Opened};
use crate::stores;

/// How many bytes of records are read at once.
const PAGE_BYTES: usize = 1 << 20;
/// The parts of an upload. A store takes at least 10,000 of them.
const UPLOAD_PART_BYTES: usize = 16 << 20;
/// How many parts are on their way at once.
const UPLOADS: usize = 2;

/// Where lines go.
enum Out {
    Stdout,
    File(File),
    Object(WriteMultipart),
}

impl Out {
    /// Writes what has gathered.
    async fn write(&mut self, lines: &mut Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Stdout => std::io::stdout().lock().write_all(lines)?,
            Self::File(file) => file.write_all(lines)?,
            Self::Object(upload) => {
                upload.wait_for_capacity(UPLOADS).await?;
                upload.write(lines);
            }
        }
        lines.clear();
        Ok(())
    }
}

/// An export on its way.
struct Export<'a> {
    opened: &'a Opened,
    chosen: &'a Chosen,
    bar: &'a ProgressBar,
    out: Out,
    lines: Vec<u8>,
    done: Done,
}

/// A room of an export that was interrupted.
struct Written {
    room: RoomName,
    start: Head,
    head: Head,
    records: u64,
    /// The snapshot that it begins with is there.
    based: bool,
    /// Where its lines begin and end in the file.
    bytes: std::ops::Range<u64>,
}

/// To a file, to standard output (`-`), or to an object of a store (a URL).
pub(super) async fn export(
    opened: &Opened,
    chosen: &Chosen,
    to: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    let mut export = Export {
        opened,
        chosen,
        bar,
        out: Out::Stdout,
        lines: Vec::new(),
        done: Done::default(),
    };
    if to == "-" {
        export.rooms(None).await?;
        export.end().await?;
        return Ok(export.done);
    }
    if let Some(path) = stores::path_of(to)? {
        return export.write_file(&path).await;
    }
    let (store, path) = storage::archive::open_store(to, &stores::archive_options())?;
    let failed = || format!("{to} cannot be written");
    let upload = store.put_multipart(&path.into()).await;
    let upload = upload.with_context(failed)?;
    export.out = Out::Object(WriteMultipart::new_with_chunk_size(
        upload,
        UPLOAD_PART_BYTES,
    ));
    let written = export.write_object().await;
    let Out::Object(upload) = export.out else {
        bail!("the upload to {to} was lost");
    };
    // What is not whole does not appear.
    if written.is_err() || export.done.rooms == 0 {
        let _ = upload.abort().await;
        written.with_context(failed)?;
    } else {
        upload.finish().await.with_context(failed)?;
    }
    Ok(export.done)
}

impl Export<'_> {
    async fn write_object(&mut self) -> anyhow::Result<()> {
        self.rooms(None).await?;
        self.end().await
    }

    async fn write_file(mut self, path: &Path) -> anyhow::Result<Done> {
        let part = beside(path);
        let failed = || format!("{} cannot be written", part.display());
        if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            std::fs::create_dir_all(folder).with_context(failed)?;
        }
        if path.is_dir() {
            bail!("{} is a folder; JSON lines are one file", path.display());
        }
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(&part).with_context(failed)?;
        let written = written(&file, &part)?;
        let kept = self.compare(&written).await?;
        let end = kept.map_or(0, |kept| written[kept].bytes.end);
        file.set_len(end).with_context(failed)?;
        file.seek(std::io::SeekFrom::Start(end))
            .with_context(failed)?;
        self.out = Out::File(file);
        self.go_on(&written, kept).await.with_context(failed)?;
        if self.done.rooms == 0 {
            std::fs::remove_file(&part).with_context(failed)?;
            return Ok(self.done);
        }
        self.end().await.with_context(failed)?;
        if let Out::File(file) = &self.out {
            file.sync_all().with_context(failed)?;
        }
        std::fs::rename(&part, path)
            .and_then(|()| sync_folder(path))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(self.done)
    }

    /// The last room of an interrupted export up to which it is what this one would be.
    async fn compare(&mut self, written: &[Written]) -> anyhow::Result<Option<usize>> {
        let mut kept = None;
        let mut rest = written.iter().enumerate();
        for_each_room!(self.opened, self.chosen, None, |room, span| {
            let Some((index, written)) = rest.next() else {
                return Ok(kept);
            };
            if written.room != room || written.start != span.start {
                return Ok(kept);
            }
            let moment = Moment::Seq(written.head.seq);
            let there = self.opened.history.resolve(&room, &span, moment).await;
            if there != Ok(written.head) && written.head != span.start {
                return Ok(kept);
            }
            // It is whole, or it is the last that is kept; one that begins in the middle is begun
            // again, for its snapshot.
            let whole = written.head == span.head;
            if !(span.from_nothing || whole && written.based) {
                return Ok(kept);
            }
            kept = Some(index);
            if !whole {
                return Ok(kept);
            }
        });
        Ok(kept)
    }

    /// Writes what comes after the rooms that are kept.
    async fn go_on(&mut self, written: &[Written], kept: Option<usize>) -> anyhow::Result<()> {
        let Some(last) = kept.map(|kept| &written[kept]) else {
            return self.rooms(None).await;
        };
        let (room, head) = (last.room.clone(), last.head);
        let kept = &written[..=kept.unwrap_or_default()];
        self.done.rooms = kept.len() as u64;
        self.done.records = kept.iter().map(|room| room.records).sum();
        (self.bar).println(format!("going on after {room} at seq {}", head.seq));
        let span = self.opened.history.span(&room).await?;
        self.records(&room, &span, head.seq, None).await?;
        self.rooms(Some(room)).await
    }

    async fn rooms(&mut self, after: Option<RoomName>) -> anyhow::Result<()> {
        for_each_room!(self.opened, self.chosen, after, |room, span| {
            let base = if span.from_nothing {
                None
            } else {
                match self.opened.base(&room, &span).await? {
                    Some(base) => Some(base),
                    None => {
                        self.done.refused += 1;
                        continue;
                    }
                }
            };
            put(
                &mut self.lines,
                &RoomLine::new(&room, span.start, span.created),
            )?;
            self.done.rooms += 1;
            self.records(&room, &span, span.start.seq, base.as_ref())
                .await?;
        });
        Ok(())
    }

    /// Writes the records after `after`, and after its record the snapshot that they fold on.
    async fn records(
        &mut self,
        room: &RoomName,
        span: &Span,
        after: Seq,
        base: Option<&Snapshot>,
    ) -> anyhow::Result<()> {
        let mut at = after;
        let mut base = base;
        loop {
            if let Some(snapshot) = base.take_if(|base| base.head.seq == at) {
                put(&mut self.lines, &SnapshotLine::from(snapshot))?;
            }
            if at >= span.head.seq {
                break;
            }
            let page = self.opened.history.read(room, at, PAGE_BYTES).await?;
            if page.is_empty() {
                bail!("the records of {room} after seq {at} are missing");
            }
            for run in &page {
                run.verify()
                    .map_err(|(seq, damage)| anyhow::anyhow!("{room} at seq {seq}: {damage}"))?;
            }
            for record in page.iter().flat_map(Run::records) {
                let record = record.with_context(|| format!("{room} after seq {at}"))?;
                if record.seq > span.head.seq {
                    break;
                }
                at = record.seq;
                self.done.records += 1;
                put(&mut self.lines, &Line::from(&record))?;
                if let Some(snapshot) = base.take_if(|base| base.head.seq == at) {
                    put(&mut self.lines, &SnapshotLine::from(snapshot))?;
                }
            }
            self.bar.inc(page.iter().map(Run::len).sum());
            self.out.write(&mut self.lines).await?;
        }
        self.out.write(&mut self.lines).await
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let end = Counts {
            rooms: self.done.rooms,
            records: self.done.records,
        };
        put(&mut self.lines, &EndLine { end })?;
        self.out.write(&mut self.lines).await
    }
}

/// Where an export is written before it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The rooms of an export that was interrupted, up to its last whole line.
fn written(file: &File, part: &Path) -> anyhow::Result<Vec<Written>> {
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    let mut rooms: Vec<Written> = Vec::new();
    let mut at = 0;
    loop {
        line.clear();
        // A line that was cut inside a character is not whole either.
        let read = reader.read_line(&mut line).unwrap_or(0) as u64;
        if read == 0 || !line.ends_with('\n') {
            return Ok(rooms);
        }
        let name = part.display();
        let text = Text::parse(&line);
        let text = text.with_context(|| {
            format!("{name} is not an export that was interrupted; remove it, or export elsewhere")
        })?;
        if let Text::Room(room) = &text {
            let start = room.start()?;
            rooms.push(Written {
                room: room.name()?,
                start,
                head: start,
                records: 0,
                based: false,
                bytes: at..at,
            });
        }
        at += read;
        let Some(last) = rooms.last_mut() else {
            bail!("{name} begins with no room; remove it, or export elsewhere");
        };
        match text {
            Text::Record(record) => {
                last.head = record.head();
                last.records += 1;
            }
            // It was whole but for its name: that is not counted on.
            Text::End(_) => return Ok(rooms),
            Text::Snapshot(_) => last.based = true,
            Text::Room(_) => {}
        }
        last.bytes.end = at;
    }
}

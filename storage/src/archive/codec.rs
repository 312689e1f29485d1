//! zstd as the archive uses it: one frame that carries its content's length.

use protocol::envelope::Damage;

/// zstd's level: the fastest of those that compress well.
const LEVEL: i32 = 3;

/// One frame.
pub(super) fn compress(raw: &[u8]) -> Vec<u8> {
    // Compressing into a buffer of the format's own bound cannot fail; were it to, an empty block
    // is refused by every reader and by the check before publishing.
    zstd::bulk::compress(raw, LEVEL).unwrap_or_default()
}

/// The content of one frame, which must state a length of at most `max` and have it.
pub(super) fn decompress(frame: &[u8], max: usize) -> Result<Vec<u8>, Damage> {
    let len = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten()
        .ok_or(Damage::Content)?;
    let len = usize::try_from(len).map_err(|_| Damage::Length(usize::MAX))?;
    if len > max {
        return Err(Damage::Length(len));
    }
    // A second frame behind the first would hide bytes from the length.
    if zstd::zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err(Damage::Content);
    }
    let raw = zstd::bulk::decompress(frame, len).map_err(|_| Damage::Content)?;
    if raw.len() == len {
        Ok(raw)
    } else {
        Err(Damage::Content)
    }
}

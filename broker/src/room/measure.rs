//! How large a document's encoding is, without encoding it for every update.
//!
//! What was encoded last, and what may have been added since, bound it from above. Only where the bound
//! passes the limit is the document encoded again: so the answer is exact at the edge, and below it
//! costs an addition.

use replay::Document;

/// A bound on an encoding's size.
#[derive(Debug)]
pub(super) struct Measure {
    limit: Option<usize>,
    encoded: usize,
    /// What has been added since at most; nothing is known in a room that has just been loaded.
    since: usize,
}

impl Measure {
    pub(super) const fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            encoded: 0,
            since: usize::MAX,
        }
    }

    pub(super) const fn set_limit(&mut self, limit: Option<usize>) {
        self.limit = limit;
    }

    /// An update has been integrated, by which the encoding has so many bytes more at the most.
    pub(super) const fn grew(&mut self, bytes: usize) {
        self.since = self.since.saturating_add(bytes);
    }

    /// Whether telling if so many bytes fit takes encoding the document.
    pub(super) fn must_encode(&self, bytes: usize) -> bool {
        self.since > 0 && self.limit.is_some_and(|limit| self.bound(bytes) > limit)
    }

    /// What the encoding and an update of so many bytes take, and the limit, if that is over it.
    pub(super) fn excess(
        &mut self,
        document: &dyn Document,
        bytes: usize,
    ) -> Option<(usize, usize)> {
        let limit = self.limit?;
        if self.must_encode(bytes) {
            self.encoded = document.encode().len();
            self.since = 0;
        }
        let bound = self.bound(bytes);
        (bound > limit).then_some((bound, limit))
    }

    const fn bound(&self, bytes: usize) -> usize {
        self.encoded
            .saturating_add(self.since)
            .saturating_add(bytes)
    }
}

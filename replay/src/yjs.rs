//! A Yjs document held by yrs.

mod json;
mod limits;
mod ranges;
mod scan;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, ReadTxn, StateVector, Transact, Update};

use crate::document::{Checked, Document, DocumentError};

/// A Yjs document.
#[derive(Debug)]
pub struct YjsDocument {
    doc: Doc,
    bytes: usize,
}

impl Default for YjsDocument {
    fn default() -> Self {
        Self::new()
    }
}

impl YjsDocument {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Self {
            doc: Doc::new(),
            bytes: 0,
        }
    }
}

fn malformed(error: impl ToString) -> DocumentError {
    DocumentError::Malformed(error.to_string())
}

impl Document for YjsDocument {
    fn integrate(&mut self, payloads: &[Bytes]) -> Vec<Result<Checked, DocumentError>> {
        let one = |payload: &Bytes| {
            let update = Update::decode_v1(payload).map_err(malformed)?;
            self.bytes += payload.len();
            let mut txn = self.doc.transact_mut();
            txn.apply_update(update).map_err(malformed)?;
            Ok(Checked {
                adds: payload.len() > 2,
                site: None,
            })
        };
        let mut one = one;
        payloads
            .iter()
            .map(|payload| {
                catch_unwind(AssertUnwindSafe(|| one(payload)))
                    .unwrap_or_else(|_| Err(malformed("the decoder panicked")))
            })
            .collect()
    }

    fn adds_nothing(&self, payload: &Bytes) -> Result<bool, DocumentError> {
        let update = Update::decode_v1(payload).map_err(malformed)?;
        let version = self.doc.transact().state_vector();
        Ok(!update.extends(&version) && update.delete_set().is_empty())
    }

    fn version(&self) -> Bytes {
        self.doc.transact().state_vector().encode_v1().into()
    }

    fn diff(&self, version: &Bytes) -> Result<Bytes, DocumentError> {
        let version = StateVector::decode_v1(version).map_err(malformed)?;
        Ok(self.doc.transact().encode_diff_v1(&version).into())
    }

    fn is_empty_version(&self, version: &Bytes) -> bool {
        **version == [0]
    }

    fn encode(&self) -> Bytes {
        let all = StateVector::default();
        self.doc.transact().encode_state_as_update_v1(&all).into()
    }

    fn memory_bytes(&self) -> usize {
        self.bytes * 4
    }
}

//! A document as yrs sees it, for what the ledger does not work out: which entries of a map have
//! been replaced, and so are deleted without anyone having said so.
//!
//! yrs only ever sees encodings that the ledger has judged and woven. It is still a third party's
//! code, so it is fenced in: a panic is caught here and costs the view, nothing else. A transaction
//! that panicked half way is never dropped, because dropping it commits what may be broken.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use yrs::updates::decoder::Decode;
use yrs::{Doc, Options, ReadTxn, Transact, Update};

use super::ranges::Ranges;

/// Everything that is deleted in a document, said or not, by client. `None` if yrs cannot read it.
pub(super) fn deleted(encoding: &[u8]) -> Option<HashMap<u64, Ranges>> {
    fenced(|| {
        let update = Update::decode_v1(encoding).ok()?;
        let doc = Doc::with_options(Options {
            skip_gc: true,
            ..Options::default()
        });
        let mut txn = ManuallyDrop::new(doc.transact_mut());
        txn.apply_update(update).ok()?;
        txn.commit();
        let deleted = txn.snapshot().delete_set;
        drop(ManuallyDrop::into_inner(txn));
        let mut by_client = HashMap::new();
        for (client, ranges) in deleted.iter() {
            let all: &mut Ranges = by_client.entry(client.get()).or_default();
            all.extend(ranges.iter().map(|range| range.start..range.end));
        }
        Some(by_client)
    })
}

/// Runs code that may panic. `None` if it does.
fn fenced<T>(run: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        tests::planted();
        run()
    }))
    .unwrap_or_else(|_| {
        tracing::error!("yrs panicked on a document that had been checked");
        None
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    thread_local! {
        /// Whether the next use of yrs on this thread panics.
        pub(crate) static PLANT: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn planted() {
        assert!(!PLANT.take(), "planted");
    }
}

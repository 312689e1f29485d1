//! Errors as numbers, so that no message is built here: a code in the lowest 8 bits of a bigint, a
//! 64-bit number above it and a 32-bit one above that. `sdk/text/src/error.ts` has the other side.

use crdt::text::{ApplyError, EditError, FormatError, MergeError, PastError};
use wasm_bindgen::JsValue;

/// A code, and up to two numbers that belong to it.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    code: u8,
    first: u64,
    second: u32,
}

impl Failure {
    const fn new(code: u8, first: u64, second: u32) -> Self {
        Self {
            code,
            first,
            second,
        }
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        let (first, second) = (u128::from(failure.first), u128::from(failure.second));
        Self::from(second << 72 | first << 8 | u128::from(failure.code))
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Outside { at, len } => Self::new(1, len as u64, at as u32),
            EditError::InsideCharacter { at } => Self::new(2, 0, at as u32),
            EditError::Full => Self::new(3, 0, 0),
        }
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Version(version) => Self::new(10, u64::from(version), 0),
            FormatError::Torn => Self::new(11, 0, 0),
            FormatError::Number => Self::new(12, 0, 0),
            FormatError::Utf8 => Self::new(13, 0, 0),
            FormatError::Empty => Self::new(14, 0, 0),
            FormatError::Reference => Self::new(15, 0, 0),
            FormatError::Inconsistent(_) => Self::new(16, 0, 0),
            FormatError::Trailing => Self::new(17, 0, 0),
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Format(error) => error.into(),
            ApplyError::Full => Self::new(3, 0, 0),
            // `Missing` and `TooMuch` are what a server says.
            ApplyError::TooManyParked | ApplyError::Missing { .. } | ApplyError::TooMuch => {
                Self::new(4, 0, 0)
            }
        }
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Format(error) => error.into(),
            MergeError::Gap { client, clock } => Self::new(5, client, clock),
        }
    }
}

impl From<PastError> for Failure {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Unknown { last, .. } => Self::new(6, last, 0),
            PastError::Forgotten { floor } => Self::new(7, floor, 0),
        }
    }
}

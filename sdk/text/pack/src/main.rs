//! Makes of the compiled engine what a browser loads: `text-pack engine.wasm folder`.
//!
//! First everything that only prepares the message of a panic is cut out, and the texts and tables
//! that it needs are blanked. A panic in wasm can do nothing but trap, and the message would be a
//! third of the file. Then wasm-bindgen's library writes the JavaScript that carries values in and
//! out, as `wasm-bindgen --target web` would. Its library compiles in half a minute, its command line
//! in several times that; the lock file holds its version and the engine's together.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;

use walrus::ir::{Const, Load, Store, Value, Visitor, dfs_in_order};
use walrus::{ConstExpr, Data, DataKind, FunctionBuilder, FunctionKind, Module};
use wasm_bindgen_cli_support::Bindgen;

/// Parts of the mangled names of functions that run only on the way to a trap.
const ON_THE_WAY_TO_A_TRAP: &[&str] = &[
    "4core3fmt",
    "4core9panicking",
    "4core6option13expect_failed",
    "4core6option13unwrap_failed",
    "4core6result13unwrap_failed",
    "16slice_error_fail",
    "16slice_index_fail",
    "12handle_error",
    "17capacity_overflow",
    "18handle_alloc_error",
    "3std9panicking",
    "17rust_begin_unwind",
    "rust_panic",
];

/// A path's address and length, a line and a column.
const LOCATION_BYTES: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(input), Some(folder), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: text-pack engine.wasm folder".into());
    };
    let mut module = Module::from_file(input)?;
    let numbers = cut_messages(&mut module)?;
    let ids: Vec<_> = module.data.iter().map(Data::id).collect();
    for id in ids {
        blank(module.data.get_mut(id), &numbers);
    }
    Bindgen::new()
        .input_module("engine", module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)?;
    Ok(())
}

/// Lets every function that only prepares a message trap instead. Gives the numbers in those
/// functions, and those in all others: addresses of what they read are among them.
fn cut_messages(module: &mut Module) -> Result<Numbers, Box<dyn Error>> {
    let mut numbers = Numbers::default();
    let mut found = Vec::new();
    for (id, function) in module.funcs.iter_local() {
        let name = module.funcs.get(id).name.as_deref().unwrap_or_default();
        let cut = ON_THE_WAY_TO_A_TRAP.iter().any(|part| name.contains(part));
        let set = if cut {
            found.push((id, function.ty(), function.args.clone()));
            &mut numbers.cut
        } else {
            &mut numbers.kept
        };
        dfs_in_order(&mut Collect(set), function, function.entry_block());
    }
    if found.is_empty() {
        return Err("the engine has no names of functions".into());
    }
    for (id, ty, arguments) in found {
        let (params, results) = module.types.params_results(ty);
        let (params, results) = (params.to_vec(), results.to_vec());
        let mut builder = FunctionBuilder::new(&mut module.types, &params, &results);
        builder.func_body().unreachable();
        module.funcs.get_mut(id).kind = FunctionKind::Local(builder.local_func(arguments));
    }
    Ok(numbers)
}

/// Numbers that may be addresses.
#[derive(Default)]
struct Numbers {
    cut: BTreeSet<usize>,
    kept: BTreeSet<usize>,
}

/// Collects constants and the offsets of memory accesses.
struct Collect<'a>(&'a mut BTreeSet<usize>);

impl Visitor<'_> for Collect<'_> {
    fn visit_const(&mut self, instr: &Const) {
        if let Value::I32(value) = instr.value {
            self.0.insert(value as u32 as usize);
        }
    }

    fn visit_load(&mut self, instr: &Load) {
        self.0.insert(instr.arg.offset as usize);
    }

    fn visit_store(&mut self, instr: &Store) {
        self.0.insert(instr.arg.offset as usize);
    }
}

/// Blanks what only messages need: every `core::panic::Location`, the path of a source file that it
/// names, and what begins at an address that only functions that were cut out have, up to the next
/// address that anything has.
fn blank(data: &mut Data, numbers: &Numbers) {
    let DataKind::Active {
        offset: ConstExpr::Value(Value::I32(base)),
        ..
    } = data.kind
    else {
        return;
    };
    let base = base as u32 as usize;
    let bytes = &mut data.value;
    let mut kept = numbers.kept.clone();
    let mut waste = Vec::new();
    for at in (0..bytes.len() / 4 * 4).step_by(4) {
        let word = |at: usize| -> Option<usize> {
            let word = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(word) as usize)
        };
        let path = || {
            let from = word(at)?.checked_sub(base)?;
            let path = from..from.checked_add(word(at + 4)?)?;
            bytes.get(path.clone())?.ends_with(b".rs").then_some(path)
        };
        if let Some(path) = path() {
            waste.extend([path, at..bytes.len().min(at + LOCATION_BYTES)]);
        }
        kept.extend(word(at));
    }
    let end = base + bytes.len();
    let starts: BTreeSet<_> = numbers.cut.union(&kept).copied().collect();
    for start in numbers.cut.difference(&kept).copied() {
        if (base..end).contains(&start) {
            let next = starts
                .range(start + 1..)
                .next()
                .map_or(end, |next| end.min(*next));
            waste.push(start - base..next - base);
        }
    }
    for range in waste {
        bytes[range].fill(0);
    }
}

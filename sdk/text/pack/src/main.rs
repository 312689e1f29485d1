//! Makes of the compiled engine what a browser loads: `text-pack engine.wasm folder`.
//!
//! First everything that only prepares the message of a panic is cut out. A panic in wasm can do
//! nothing but trap, and the message would be a third of the file. Then wasm-bindgen's library writes
//! the JavaScript that carries values in and out, as `wasm-bindgen --target web` would. Its library
//! compiles in half a minute, its command line in several times that; the lock file holds its version
//! and the engine's together.

use std::env;
use std::error::Error;

use walrus::{FunctionBuilder, FunctionKind, Module};
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

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(input), Some(folder), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: text-pack engine.wasm folder".into());
    };
    let mut module = Module::from_file(input)?;
    cut_messages(&mut module)?;
    Bindgen::new()
        .input_module("engine", module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)?;
    Ok(())
}

/// Lets every function that only prepares a message trap instead.
fn cut_messages(module: &mut Module) -> Result<(), Box<dyn Error>> {
    let found: Vec<_> = module
        .funcs
        .iter_local()
        .filter(|(id, _)| {
            let name = module.funcs.get(*id).name.as_deref().unwrap_or_default();
            ON_THE_WAY_TO_A_TRAP.iter().any(|part| name.contains(part))
        })
        .map(|(id, function)| (id, function.ty(), function.args.clone()))
        .collect();
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
    Ok(())
}

//! Every kept input of the fuzzer again, through the same code: `crdt/fuzz/corpus/{target}`.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub)] // The fuzzer's crate gives them out.
mod fuzz;

use std::fs;
use std::path::Path;

#[test]
fn every_kept_input_passes_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in fuzz::TARGETS {
        let inputs = fs::read_dir(folder.join(name)).expect("the target's folder");
        let mut played = 0;
        for input in inputs {
            let path = input.expect("an entry").path();
            // What fails has no name of its own: this one is shown with it.
            println!("{}", path.display());
            target(&fs::read(path).expect("an input"));
            played += 1;
        }
        assert!(played > 0, "{name} has inputs");
    }
}

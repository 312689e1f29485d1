//! The slice of the harness that every test run includes; `cargo run -p powercut` has the rest.

use std::process::Command;

fn powercut(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_powercut"))
        .args(args)
        .output();
    let output = output.expect("the harness can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "powercut {}:\n{said}",
        args.join(" ")
    );
}

/// DESIGN.md's first invariant, and the eighth as far as a cut goes.
#[test]
fn durable_before_visible_survives_power_cuts() {
    powercut(&["--rounds", "12", "--seed", "7"]);
}

#[test]
fn the_harness_catches_a_missing_sync() {
    powercut(&["--rounds", "5", "--seed", "7", "--no-sync"]);
}

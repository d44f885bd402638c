//! What this library is compiled with, which no compiled program can find out by itself any more.
#![expect(
    clippy::disallowed_methods,
    reason = "Cargo tells a build script everything by variables"
)]

use std::env::{var, vars_os};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let features = vars_os().filter_map(|(name, _)| {
        let feature = name.to_str()?.strip_prefix("CARGO_FEATURE_")?;
        Some(feature.to_lowercase().replace('_', "-"))
    });
    let mut features: Vec<String> = features.collect();
    features.sort();
    for (name, value) in [
        ("TLC_COMPILER", compiler().unwrap_or_default()),
        ("TLC_TARGET", var("TARGET").unwrap_or_default()),
        ("TLC_PROFILE", var("PROFILE").unwrap_or_default()),
        ("TLC_OPT_LEVEL", var("OPT_LEVEL").unwrap_or_default()),
        ("TLC_FEATURES", features.join(",")),
    ] {
        println!("cargo::rustc-env={name}={value}");
    }
}

/// What the compiler says of itself: `rustc 1.95.0 (…)`.
fn compiler() -> Option<String> {
    let said = Command::new(var("RUSTC").ok()?).arg("-V").output().ok()?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}

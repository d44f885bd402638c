//! Tells the linker where libtorch lies, so that tests and examples find it when they start.

use std::env;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by variables"
)]
fn main() {
    // A program that uses this crate needs these lines too: they hold for one package only.
    if env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux") {
        if let Some(folder) = env::var_os("DEP_TCH_LIBTORCH_LIB") {
            println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
        }
        // What is for GPUs is called by nobody by name, so the linker would leave it out.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

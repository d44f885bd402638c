//! Any text without its secrets: a secret that is known by its value is not there any more, whatever stands around it.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use tlc_core::{REDACTED, Secrets, redacted, redacted_arguments};

const SECRET: &str = "correct-horse-battery";

fuzz_target!(|text: &str| {
    black_box(redacted(text));
    black_box(redacted_arguments(text.split_whitespace()));
    let secrets = Secrets::of([("API_TOKEN", SECRET)]);
    let around = format!("{text}{SECRET}{text}");
    let told = secrets.removed_from(&around);
    assert!(!told.contains(SECRET) && told.contains(REDACTED), "{told}");
});

//! What a run was made of, as it lies in a file of its own: code, command, build, machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) format: u32,
    pub(crate) provenance: Provenance,
}

/// What a run was made of: the code, what the program was built with and called with, and the machine. Secrets
/// are taken out before anything is stored: see [`redacted`](crate::redacted).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The Git repository that the program was started in, or else the one that its executable lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The `Cargo.lock` that is nearest to the program: beside the same folders, or above them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockFile>,
    /// What compiled the program.
    pub build: Build,
    /// The command line.
    pub command: Vec<String>,
    /// The folder that the program was started in.
    pub folder: String,
    /// Variables that say how a program computes: see [`redacted_environment`](crate::redacted_environment).
    pub environment: BTreeMap<String, String>,
    /// Where it ran.
    pub machine: Machine,
    /// What could not be found out, and why; in sentences, in their order as texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// The state of a Git repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The folder of the work tree; of a repository without one, its own.
    pub folder: String,
    /// The commit that is checked out; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch; none if HEAD is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The URL of the remote that is fetched from, without credentials: that of the branch, else `origin`, else the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// What was going on: `rebase`, `merge`, `cherry-pick`, `revert`, `bisect` or `am`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What is not as the commit has it; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// How many more files there are, beside those listed, that may have changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_more: u64,
    /// The difference to the commit, as a patch; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<PatchFile>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Code {
    /// Whether something is not as the commit has it; `None` if that is not known.
    #[must_use]
    pub fn is_dirty(&self) -> Option<bool> {
        let changes = self.changes.as_ref()?;
        match (changes.is_empty(), self.n_more) {
            (false, _) => Some(true),
            (true, 0) => Some(false),
            // None of them was looked into.
            (true, _) => None,
        }
    }
}

/// A file that is not as the commit has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// From the top of the work tree.
    pub path: String,
    /// What is different.
    pub kind: ChangeKind,
    /// Why the patch does not hold it; none if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// In what a file differs from the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there, and is tracked.
    Added,
    /// Its content or its mode is another.
    Modified,
    /// It is gone.
    Deleted,
    /// It was not there, and is not tracked.
    Untracked,
}

/// A patch in a file beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchFile {
    /// The hash of its text, which is its name, in hexadecimal digits.
    pub blake3: String,
    /// Its size.
    pub bytes: u64,
}

impl PatchFile {
    /// The file of this text.
    pub(crate) fn of(patch: &str) -> Self {
        Self {
            blake3: blake3::hash(patch.as_bytes()).to_hex().to_string(),
            bytes: patch.len() as u64,
        }
    }
}

/// Which versions of its dependencies a program has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    /// Where it lies.
    pub path: String,
    /// The hash of its content, in hexadecimal digits.
    pub blake3: String,
}

/// What the program was compiled with, as this library's own compilation saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Such as `rustc 1.95.0 (…)`.
    pub compiler: String,
    /// Such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// `debug` or `release`, which other profiles are based on.
    pub profile: String,
    /// `0` to `3`, `s` or `z`.
    pub opt_level: String,
    /// The version of this library.
    pub library: String,
    /// The features of this library.
    pub features: Vec<String>,
}

/// Where a program ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The operating system and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The kernel and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// How many threads the program may run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The GPUs of NVIDIA.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
}

/// A GPU of NVIDIA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Bytes of memory.
    pub memory: u64,
    /// The version of the driver.
    pub driver: String,
}

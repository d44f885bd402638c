//! What must hold for the source tree itself, checked by reading it as text: no tool is needed,
//! and nobody can skip it.
//!
//! Each test collects every breach before it fails, so that one run shows all there is to do. Code
//! is looked at line by line without a parser; where that is not exact, the rule is the stricter
//! one (a word in a string counts as used).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of this crate, lowest first. A module may use those before it in this list, never
/// those after it. Comments and unit tests may name any.
const LAYERS: &[&str] = &[
    "error",
    "redact",
    "id",
    "env",
    "schema",
    "alias",
    "patch",
    "format",
    "provenance",
    "runtime",
    "store",
    "log",
    "blob",
    "table",
    "artifact",
    "collect",
    "run",
    "project",
    "sync",
    "lineage",
    "questions",
    "quality",
    "reduction",
    "comparison",
    "import",
    "loader",
    "sql",
    "testing",
];

/// The crates, and the folders of each that hold Rust.
const CRATES: &[&str] = &[
    "tlc-core",
    "tlc-candle",
    "tlc-tch",
    "tlc-server",
    "examples",
    "fuzz",
];

/// The only places that derive serde's traits: what lies in storage, what scripts are answered (an
/// error too), and what is read from a configuration file.
const SERDE: &[&str] = &[
    "tlc-core/src/format/",
    "tlc-server/src/view.rs",
    "tlc-server/src/view/",
    "tlc-server/src/error.rs",
    "tlc-server/src/config.rs",
    "tlc-server/src/config/",
];

/// Text files of these kinds are checked for trailing white space; those of `.ci` have no ending.
const TEXT: &[&str] = &[
    "", "json", "lock", "md", "py", "rs", "sh", "slt", "toml", "txt", "yaml", "yml",
];

/// Files and folders that are not part of the source, or not ours to format.
const SKIPPED: &[&str] = &[
    ".git",
    "target",
    "node_modules",
    "formats",
    "artifacts",
    "corpus",
    "coverage",
];

#[test]
fn modules_use_only_lower_layers() {
    let exports = exports();
    let mut breaches = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.is_library("tlc-core"))
    {
        let Some(own) = rank(&source.module) else {
            breaches.push(format!(
                "{}: {} is not in LAYERS",
                source.name, source.module
            ));
            continue;
        };
        for used in source.used_from_crate_root() {
            let module = exports.get(&used).unwrap_or(&used);
            if rank(module).is_some_and(|used| used > own) {
                breaches.push(format!(
                    "{}: {} uses {module}, which is above it",
                    source.name, source.module
                ));
            }
        }
    }
    none(&breaches);
}

#[test]
fn every_source_file_is_a_module_of_its_crate() {
    let sources = sources();
    let mut breaches = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.name.contains("/src/"))
    {
        let path = Path::new(&source.name);
        let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else {
            continue;
        };
        let stem = stem.to_string_lossy();
        let roots = match stem.as_ref() {
            "lib" | "main" => continue,
            "mod" => folder.parent().map(Path::to_path_buf),
            _ => Some(folder.to_path_buf()),
        };
        let name = if stem == "mod" {
            folder.file_name().unwrap_or_default().to_string_lossy()
        } else {
            stem
        };
        let declared = roots.is_some_and(|folder| {
            ["mod.rs", "lib.rs", "main.rs"].iter().any(|parent| {
                let parent = folder.join(parent).to_string_lossy().into_owned();
                sources
                    .iter()
                    .any(|source| source.name == parent && source.declares(&name))
            })
        });
        if !declared {
            breaches.push(format!("{}: no `mod {name};` leads to it", source.name));
        }
    }
    none(&breaches);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    none(&files_where(|source| !source.text.starts_with("//!")));
}

#[test]
fn nothing_is_left_unfinished_or_silenced() {
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("#[", "should_panic"),
        concat!("#[", "allow("),
        concat!("#![", "allow("),
    ];
    let mut breaches = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                breaches.push(format!("{}:{number}: {word}", source.name));
            }
        }
    }
    none(&breaches);
}

#[test]
fn public_names_are_listed_one_by_one() {
    let mut breaches = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.name.contains("/src/"))
    {
        for statement in statements(&source.code(), "pub use ") {
            if statement.contains('*') {
                breaches.push(format!("{}: pub use {statement}", source.name));
            }
        }
    }
    none(&breaches);
}

#[test]
fn serde_is_derived_only_for_what_is_stored_or_sent() {
    none(&files_where(|source| {
        source.name.contains("/src/")
            && !SERDE.iter().any(|place| source.name.starts_with(place))
            && statements(&source.code(), "derive(").iter().any(|derive| {
                let traits = derive.split(')').next().unwrap_or_default();
                traits.contains("Serialize") || traits.contains("Deserialize")
            })
    }));
}

#[test]
fn only_the_sql_layer_knows_the_sql_engine() {
    none(&files_where(|source| {
        source.name.contains("/src/")
            && !source.name.starts_with("tlc-core/src/sql")
            && words(&source.code()).any(|word| word == "datafusion")
    }));
}

#[test]
fn no_public_signature_asks_for_an_async_runtime() {
    let mut breaches = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.name.contains("/src/"))
    {
        let code = source.code();
        let mut runtime_names = vec!["tokio".to_owned()];
        for statement in statements(&code, "use tokio::") {
            runtime_names.extend(leaves(&statement));
        }
        for start in ["pub fn ", "pub async fn ", "pub const fn "] {
            for signature in statements(&code, start) {
                let signature = signature.split('{').next().unwrap_or_default();
                if words(signature).any(|word| runtime_names.iter().any(|name| name == word)) {
                    breaches.push(format!("{}: {start}{signature}", source.name));
                }
            }
        }
    }
    none(&breaches);
}

#[test]
fn links_in_the_documents_lead_to_files() {
    let mut breaches = Vec::new();
    for path in files().iter().filter(|path| has_extension(path, &["md"])) {
        for target in links(&read(path)) {
            let file = target.split('#').next().unwrap_or_default();
            let outside =
                target.contains("://") || target.starts_with("mailto:") || file.is_empty();
            let folder = path.parent().unwrap_or(Path::new(""));
            if !outside && !folder.join(file).exists() {
                breaches.push(format!("{}: {target} does not exist", name(path)));
            }
        }
    }
    none(&breaches);
}

#[test]
fn no_line_ends_in_white_space() {
    let mut breaches = Vec::new();
    for path in files().iter().filter(|path| has_extension(path, TEXT)) {
        let text = read(path);
        for (index, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                breaches.push(format!("{}:{}", name(path), index + 1));
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            breaches.push(format!("{}: must end in one line break", name(path)));
        }
    }
    none(&breaches);
}

#[test]
fn decisions_are_numbered_without_gaps_and_complete() {
    let mut decisions: Vec<PathBuf> = files();
    decisions.retain(|path| name(path).starts_with("docs/adr/"));
    decisions.sort();
    assert!(!decisions.is_empty(), "docs/adr holds no decision");
    let mut breaches = Vec::new();
    for (index, path) in decisions.iter().enumerate() {
        let text = read(path);
        if !name(path).starts_with(&format!("docs/adr/{:04}-", index + 1)) {
            breaches.push(format!("{}: expected number {:04}", name(path), index + 1));
        }
        for heading in [
            "## Context",
            "## Decision",
            "## Consequences",
            "## Not chosen",
        ] {
            if !text.lines().any(|line| line == heading) {
                breaches.push(format!("{}: has no \"{heading}\"", name(path)));
            }
        }
    }
    none(&breaches);
}

/// One Rust file.
struct Source {
    /// The path from the root of the repository, with `/`.
    name: String,
    /// For a file of a library: its top-level module; `lib` for `lib.rs`.
    module: String,
    text: String,
}

impl Source {
    /// Whether it is a module of that library, below its `lib.rs`.
    fn is_library(&self, package: &str) -> bool {
        self.name.starts_with(&format!("{package}/src/"))
            && self.module != "lib"
            && self.module != "main"
    }

    /// The lines with their numbers, without comments.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The code as one text: without comments, and without the unit tests at the end.
    fn code(&self) -> String {
        let lines: Vec<&str> = self.lines().map(|(_, line)| line).collect();
        let code = lines.join("\n");
        match code.find("#[cfg(test)]\nmod tests {") {
            Some(tests) => code.get(..tests).unwrap_or_default().to_owned(),
            None => code,
        }
    }

    /// The names that follow `crate::`, also in groups, also when spelled with `super`.
    fn used_from_crate_root(&self) -> Vec<String> {
        let inside = self.name.split("/src/").nth(1).unwrap_or_default();
        let depth = inside.matches('/').count() + usize::from(!inside.ends_with("mod.rs"));
        let code = self.code().replace(&"super::".repeat(depth), "crate::");
        code.split("crate::").skip(1).flat_map(firsts).collect()
    }

    /// Whether it has the line `mod name;`, of whatever visibility.
    fn declares(&self, module: &str) -> bool {
        let line_end = format!("mod {module};");
        self.lines().any(|(_, line)| {
            line.strip_suffix(&line_end)
                .is_some_and(|before| before.is_empty() || before.ends_with(' '))
        })
    }
}

/// All Rust files of all crates.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files() {
        let name = name(&path);
        let package = name.split('/').next().unwrap_or_default();
        if has_extension(&path, &["rs"]) && CRATES.contains(&package) {
            let inside = name.split("/src/").nth(1).unwrap_or(&name);
            let module = inside
                .split(['/', '.'])
                .next()
                .unwrap_or_default()
                .to_owned();
            sources.push(Source {
                module,
                text: read(&path),
                name,
            });
        }
    }
    assert!(sources.len() > CRATES.len(), "the sources were not found");
    sources
}

/// What this crate's root re-exports: public name to module.
fn exports() -> BTreeMap<String, String> {
    let sources = sources();
    let root = sources
        .iter()
        .find(|source| source.name == "tlc-core/src/lib.rs");
    let code = root.map(Source::code).unwrap_or_default();
    let mut exports = BTreeMap::new();
    for statement in statements(&code, "pub use ") {
        let statement = statement.trim_start_matches("crate::");
        if let Some((module, rest)) = statement.split_once("::") {
            exports.extend(
                leaves(rest)
                    .into_iter()
                    .map(|leaf| (leaf, module.to_owned())),
            );
        }
    }
    exports
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

/// The first names of a path's rest: `b::c` gives b, `{a, b::{c, d}}` gives a and b.
fn firsts(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).take(1).map(str::to_owned).collect();
    };
    let mut depth = 1;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
        if depth == 0 {
            break;
        }
    }
    parts
        .iter()
        .filter_map(|part| words(part).next().map(str::to_owned))
        .collect()
}

/// The names that a `use` brings in: the last of each path, or what it is renamed to.
fn leaves(statement: &str) -> Vec<String> {
    statement
        .split([',', '{', '}'])
        .filter_map(|path| words(path).last().map(str::to_owned))
        .filter(|name| name != "_")
        .collect()
}

/// What follows each `start`, up to the next semicolon.
fn statements(code: &str, start: &str) -> Vec<String> {
    let rests = code.split(start).skip(1);
    rests
        .map(|rest| rest.split(';').next().unwrap_or_default().to_owned())
        .collect()
}

/// The identifiers in a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// The targets of `[text](target)` in Markdown, outside fenced code.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut targets = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let ends = line.split("](").skip(1);
            targets.extend(
                ends.filter_map(|end| end.split(')').next())
                    .map(str::to_owned),
            );
        }
    }
    targets
}

fn files_where(bad: impl Fn(&Source) -> bool) -> Vec<String> {
    sources()
        .into_iter()
        .filter(|source| bad(source))
        .map(|source| source.name)
        .collect()
}

/// Every file of the repository but what is built or fetched, in order.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The path from the root of the repository, with `/`.
fn name(path: &Path) -> String {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    inside.to_string_lossy().replace('\\', "/")
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    extensions.contains(&extension.as_ref())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[track_caller]
fn none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

//! Verifying artifacts: whether all that their versions name is there and is what it was.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectMeta;

use super::gc::listed;
use super::named::read_manifest;
use super::paths::{CHUNKS, FOLDER};
use super::stored::{flaw_of_size, missing, read};
use super::{Artifact, LOOKS_MAX, folders};
use crate::error::{Error, ErrorKind, Result};
use crate::format::artifact::Chunk;
use crate::runtime::run_aside;
use crate::store::Place;
use crate::table::{Checked, Finding, Report, Severity, VerifyOptions};

/// How many chunks are read at the same time.
const READS_MAX: usize = 8;

/// How many versions a finding names that cannot be read because of it.
const VERSIONS_SHOWN_MAX: usize = 5;

/// Verifies all artifacts of a project: that logs and manifests can be read, and that each chunk that a version names is there in its
/// size and, unless it is to be quick, with the bytes that its name says. Each chunk is read once.
///
/// # Errors
/// [`ErrorKind::Invalid`] if a newer version wrote something; those of the store. Damage is no error.
pub(crate) async fn verify(project: &Place, options: &VerifyOptions) -> Result<Report> {
    let names = folders(project).await?;
    let mut report = Report::default();
    if names.is_empty() {
        return Ok(report);
    }
    let objects = listed(project, FOLDER).await?;
    let chunks: BTreeMap<String, ObjectMeta> = listed(project, CHUNKS).await?.into_iter().collect();
    report.n_files = (objects.len() + chunks.len()) as u64;
    let sizes = objects
        .iter()
        .map(|(_, object)| object)
        .chain(chunks.values());
    report.bytes = sizes.map(|object| object.size).sum();
    let mut named = BTreeMap::new();
    for name in names {
        let artifact = Artifact::new(project, name);
        report.n_artifacts += u64::from(versions(&artifact, &mut named, &mut report).await?);
    }
    for (_, object) in &objects {
        options.tell(Checked { bytes: object.size });
    }
    let flaws = flaws(project, &named, &chunks, options).await?;
    let findings = flaws.into_iter().map(|(file, what)| Finding {
        severity: Severity::Damage,
        folder: project.path.to_string(),
        file: format!("{CHUNKS}/{file}"),
        what,
        unreadable: Vec::new(),
    });
    report.findings.extend(findings);
    Ok(report)
}

/// The chunks that versions name, by their file names.
type ChunksInUse = BTreeMap<String, InUse>;

/// A chunk, and which versions name it.
struct InUse {
    chunk: Chunk,
    versions: Versions,
}

/// Versions, of which a few are named: so many chunks may be named by so many versions.
#[derive(Clone, Default)]
struct Versions {
    first: BTreeSet<String>,
    n: usize,
}

impl Versions {
    fn add(&mut self, others: &Self) {
        self.n += others.n;
        for name in &others.first {
            self.name(name.clone());
        }
    }

    fn add_one(&mut self, name: String) {
        self.n += 1;
        self.name(name);
    }

    fn name(&mut self, name: String) {
        self.first.insert(name);
        if self.first.len() > VERSIONS_SHOWN_MAX {
            self.first.pop_last();
        }
    }

    /// Which versions cannot be read, in words.
    fn lost(&self) -> String {
        let shown: Vec<&str> = self.first.iter().map(String::as_str).collect();
        let more = match self.n.saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = shown.join(", ");
        format!("without it these cannot be read: {shown}{more}")
    }
}

/// Reads the log and the manifests of an artifact; `false` if it has no version.
async fn versions(
    artifact: &Artifact,
    named: &mut ChunksInUse,
    report: &mut Report,
) -> Result<bool> {
    let place = artifact.place();
    let mut found = |file: &str, what: String| {
        report.findings.push(Finding {
            severity: Severity::Damage,
            folder: place.path.to_string(),
            file: file.to_owned(),
            what,
            unreadable: Vec::new(),
        });
    };
    let history = match artifact.history().await {
        Ok(history) => history,
        Err(err) => {
            let what = told(err)?;
            found(
                "log",
                format!("{what}; once the log is restored, all versions are there again"),
            );
            return Ok(true);
        }
    };
    let is_there = !history.record.versions.is_empty();
    let mut manifests: BTreeMap<String, Versions> = BTreeMap::new();
    for version in history.record.versions {
        let name = format!("{artifact}@{}", version.version);
        manifests.entry(version.manifest).or_default().add_one(name);
    }
    let reads = manifests.into_iter().map(|(file, versions)| {
        let place = place.clone();
        async move { (read_manifest(&place, &file).await, file, versions) }
    });
    let mut reads = stream::iter(reads).buffered(LOOKS_MAX);
    while let Some((read, file, versions)) = reads.next().await {
        match read {
            Ok(manifest) => {
                // A chunk may be in a version more than once.
                let chunks = manifest
                    .chunks
                    .into_iter()
                    .map(|chunk| (chunk.file(), chunk));
                let chunks: BTreeMap<String, Chunk> = chunks.collect();
                for (file, chunk) in chunks {
                    let new = || InUse {
                        chunk,
                        versions: Versions::default(),
                    };
                    named
                        .entry(file)
                        .or_insert_with(new)
                        .versions
                        .add(&versions);
                }
            }
            Err(err) => {
                let (what, lost) = (told(err)?, versions.lost());
                let way_out = "restore it from a copy of the root, or put the same files again, which as a rule writes it anew";
                found(&file, format!("{what}; {way_out}; {lost}"));
            }
        }
    }
    Ok(is_there)
}

/// What is wrong with chunks, by their names.
async fn flaws(
    project: &Place,
    named: &ChunksInUse,
    there: &BTreeMap<String, ObjectMeta>,
    options: &VerifyOptions,
) -> Result<Vec<(String, String)>> {
    let checks = named.iter().map(|(file, InUse { chunk, versions })| {
        let (project, chunk, bytes) = (project.clone(), chunk.clone(), chunk.bytes);
        let (found, is_quick) = (there.get(file).cloned(), options.quick);
        let check = run_aside(async move { check(&project, chunk, found, is_quick).await });
        async move {
            let flaw = check.await?;
            options.tell(Checked { bytes });
            Ok::<_, Error>(flaw.map(|flaw| (file.clone(), format!("{flaw}; {}", versions.lost()))))
        }
    });
    let checks = stream::iter(checks).buffered(READS_MAX);
    checks
        .try_filter_map(|flaw| async { Ok(flaw) })
        .try_collect()
        .await
}

/// What is wrong with a chunk, if anything.
async fn check(
    project: &Place,
    chunk: Chunk,
    found: Option<ObjectMeta>,
    is_quick: bool,
) -> Result<Option<String>> {
    let Some(found) = found else {
        return told(missing(&chunk)).map(Some);
    };
    let checked = match flaw_of_size(&chunk, &found) {
        Some(flaw) => Err(flaw),
        None if is_quick => Ok(()),
        None => read(project, chunk).await.map(drop),
    };
    match checked {
        Ok(()) => Ok(None),
        Err(err) => told(err).map(Some),
    }
}

/// What is wrong, if the error tells of stored bytes; otherwise the error.
fn told(err: Error) -> Result<String> {
    match err.kind() {
        ErrorKind::Corrupt | ErrorKind::NotFound => Ok(format!("{err:#}")),
        _ => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_versions_are_named_and_all_are_counted() {
        let check = |n: usize, expected: &str| {
            let mut versions = Versions::default();
            for number in (1..=n).rev() {
                let mut one = Versions::default();
                one.add_one(format!("m@{number}"));
                versions.add(&one);
            }
            assert!(versions.first.len() <= VERSIONS_SHOWN_MAX);
            assert!(versions.lost().ends_with(expected), "{}", versions.lost());
        };
        check(1, "be read: m@1");
        check(5, "be read: m@1, m@2, m@3, m@4, m@5");
        check(9, "be read: m@1, m@2, m@3, m@4, m@5 and 4 more");
    }
}

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

/// The chunks that versions name, and which ones do.
type NamedChunks = BTreeMap<String, (Chunk, BTreeSet<String>)>;

/// Reads the log and the manifests of an artifact; `false` if it has no version.
async fn versions(
    artifact: &Artifact,
    named: &mut NamedChunks,
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
    let mut manifests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for version in history.record.versions {
        let name = format!("{artifact}@{}", version.version);
        manifests.entry(version.manifest).or_default().insert(name);
    }
    let reads = manifests.into_iter().map(|(file, versions)| {
        let place = place.clone();
        async move { (read_manifest(&place, &file).await, file, versions) }
    });
    let mut reads = stream::iter(reads).buffered(LOOKS_MAX);
    while let Some((read, file, versions)) = reads.next().await {
        match read {
            Ok(manifest) => {
                for chunk in manifest.chunks {
                    let known = named.entry(chunk.file());
                    let (_, known) = known.or_insert_with(|| (chunk, BTreeSet::new()));
                    known.extend(versions.iter().cloned());
                }
            }
            Err(err) => {
                let (what, lost) = (told(err)?, lost(&versions));
                let way_out = "put the same files again, which writes it anew";
                found(&file, format!("{what}; {way_out}; {lost}"));
            }
        }
    }
    Ok(is_there)
}

/// What is wrong with chunks, by their names.
async fn flaws(
    project: &Place,
    named: &NamedChunks,
    there: &BTreeMap<String, ObjectMeta>,
    options: &VerifyOptions,
) -> Result<Vec<(String, String)>> {
    let checks = named.iter().map(|(file, (chunk, versions))| {
        let (project, chunk, bytes) = (project.clone(), chunk.clone(), chunk.bytes);
        let (found, is_quick) = (there.get(file).cloned(), options.quick);
        let check = run_aside(async move { check(&project, chunk, found, is_quick).await });
        async move {
            let flaw = check.await?;
            options.tell(Checked { bytes });
            Ok::<_, Error>(flaw.map(|flaw| (file.clone(), format!("{flaw}; {}", lost(versions)))))
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

/// Which versions cannot be read, in words.
fn lost(versions: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = versions
        .iter()
        .map(String::as_str)
        .take(VERSIONS_SHOWN_MAX)
        .collect();
    let more = match versions.len().saturating_sub(VERSIONS_SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "without it these cannot be read: {}{more}",
        shown.join(", ")
    )
}

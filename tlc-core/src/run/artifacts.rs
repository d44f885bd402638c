//! Artifacts that a run makes and reads: a version says which run made it, and the run's log which versions it
//! made and read.

use super::Run;
use super::entries::{append, encode_entry};
use super::read::Runs;
use crate::artifact::{
    self, ArtifactRole, ArtifactSource, ArtifactVersion, PutOptions, VersionRecord,
};
use crate::error::Result;
use crate::format::run::{Event, Role};
use crate::id::{ArtifactName, Revision, RunName};
use crate::log::Log;
use crate::runtime::block_on;

impl Run {
    /// Puts a file or a folder of this machine, or bytes in memory, as the next version of an artifact of the run's project. The
    /// version says that this run made it, and the run that it made the version.
    ///
    /// Waits until it is stored, as [`Project::put_artifact`](crate::Project::put_artifact) does; logging goes on meanwhile in other
    /// threads.
    ///
    /// # Errors
    /// As [`Project::put_artifact`](crate::Project::put_artifact). The run goes on, and says nothing of it.
    pub fn put_artifact(
        &self,
        name: &str,
        source: impl Into<ArtifactSource>,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord> {
        let name: ArtifactName = name.parse()?;
        let (source, options) = (source.into(), options.into().run(self.name.as_str()));
        let put = artifact::put(&self.project, name.clone(), source, options);
        let put = block_on(Box::pin(put))?;
        self.shared
            .log_event(event(&name, put.version, ArtifactRole::Output));
        Ok(put)
    }

    /// Finds the version that a text names (`model` the newest, `model@3` by its number, `model@best` by an alias), and records
    /// that the run read it. What is in it is fetched by [`ArtifactVersion::get`] and [`ArtifactVersion::read`].
    ///
    /// # Errors
    /// As [`Project::artifact_version`](crate::Project::artifact_version). The run goes on, and says nothing of it.
    pub fn use_artifact(&self, text: &str) -> Result<ArtifactVersion> {
        let found = block_on(artifact::find(&self.project, text))?;
        let name = found.artifact().name();
        self.shared
            .log_event(event(name, found.number(), ArtifactRole::Input));
        Ok(found)
    }
}

impl Runs {
    /// Puts a version; if it is said which run made it, that run's log says so too.
    ///
    /// # Errors
    /// As [`Project::put_artifact`](crate::Project::put_artifact).
    pub(crate) async fn put_artifact(
        &self,
        name: &str,
        source: ArtifactSource,
        options: PutOptions,
    ) -> Result<VersionRecord> {
        let name: ArtifactName = name.parse()?;
        let run: Option<RunName> = options.run.as_deref().map(str::parse).transpose()?;
        if let Some(run) = &run {
            self.folded(run).await?;
        }
        let put = artifact::put(self.project(), name.clone(), source, options);
        let put = Box::pin(put).await?;
        if let Some(run) = &run {
            let noted = self.note_output(run, &name, put.version).await;
            noted.map_err(|err| {
                let version = put.version;
                err.context(format!(
                    "{name}@{version} is stored, but the log of run {run} does not say so"
                ))
            })?;
        }
        Ok(put)
    }

    async fn note_output(&self, run: &RunName, name: &ArtifactName, version: u64) -> Result<()> {
        let next = Revision(self.folded(run).await?.n_entries);
        let place = self.place(run);
        let entry = encode_entry(&place, event(name, version, ArtifactRole::Output))?;
        append(Log::of(&place), next, entry).await.map(drop)
    }
}

fn event(name: &ArtifactName, version: u64, role: ArtifactRole) -> Event {
    Event::Artifact {
        artifact: name.to_string(),
        version,
        role: match role {
            ArtifactRole::Input => Role::Input,
            ArtifactRole::Output => Role::Output,
        },
    }
}

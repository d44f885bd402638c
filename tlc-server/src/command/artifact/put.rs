//! `tlc artifact put`: a file or a folder becomes the next version.

use std::path::PathBuf;

use clap::Args;
use tlc_core::{ErrorKind, PutOptions, RunName, block_on};

use super::bar;
use crate::command::session::Session;
use crate::command::spec::ArtifactSpec;
use crate::error::{Failure, Result};
use crate::output::{bytes_text, count_text};
use crate::view::PutView;

/// Put a file or a folder as the next version of an artifact
///
/// Only bytes that no version of the project has yet are stored, so a small change of a large file stores a small part of it. A put
/// that was cut off leaves no version; the next one sends the rest. Symbolic links in a folder are refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc artifact put mnist/model model.safetensors -m 'after 7 epochs'
  tlc artifact put mnist/model out/ --run baseline --as best --as candidate")]
pub(super) struct Put {
    /// The artifact, as PROJECT/NAME
    artifact: ArtifactSpec,
    /// The file or the folder
    path: PathBuf,
    /// Why, for the artifact's log
    #[arg(short, long)]
    message: Option<String>,
    /// The run of the same project that made it; the run says so too
    #[arg(long)]
    run: Option<RunName>,
    /// An alias that names the version from then on; may be given again for others
    #[arg(long = "as", value_name = "ALIAS")]
    named: Vec<String>,
    /// Who, for the artifact's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

impl Put {
    pub(super) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let spec = &self.artifact;
        if let Some(which) = &spec.which {
            return Err(Failure::usage(format!(
                "a put makes the next version, and {spec} names one that is there; to let {which} name the new one, add --as"
            )));
        }
        let (bar, tell) = bar(&spec.to_string());
        let message = self.message.clone().unwrap_or_default();
        let options = PutOptions::new(message).progress(tell);
        let mut named = self.named.clone();
        named.sort();
        named.dedup();
        let options = named.iter().fold(options, PutOptions::alias);
        let options = match &self.run {
            Some(run) => options.run(run.as_str()),
            None => options,
        };
        let put = block_on(async {
            let project = session.root().await?.project(spec.project.as_str())?;
            let put = project.put_artifact(spec.artifact.as_str(), self.path.as_path(), options);
            let put = Box::pin(put).await;
            put.map_err(|err| {
                let is_changed = err.kind() == ErrorKind::Conflict;
                let failure = Failure::from(err);
                match is_changed {
                    true => failure.hint("put a copy, or wait until nothing writes to it"),
                    false => failure,
                }
            })
        });
        bar.finish_and_clear();
        let view = PutView::new(&spec.to_string(), &put?, &named);
        session.answer(&view, || text(&view))
    }
}

fn text(view: &PutView) -> String {
    let (files, bytes) = (
        count_text(view.version.files, "file"),
        bytes_text(view.version.bytes),
    );
    let stored = match view.version.bytes_stored {
        0 => "all of it was there".to_owned(),
        stored => format!("{} stored", bytes_text(stored)),
    };
    let aliases = match view.aliases.is_empty() {
        true => String::new(),
        false => format!(" ({})", view.aliases.join(", ")),
    };
    let version = view.version.version;
    format!(
        "{}@{version}{aliases}: {files}, {bytes}; {stored}\n",
        view.artifact
    )
}

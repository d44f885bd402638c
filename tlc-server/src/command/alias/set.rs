//! `tlc alias set` and `unset`: one entry of the config file, or of a project's `aliases.yaml`.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use clap::Args;
use tlc_core::{Aliases, Error, ErrorKind, Project, ProjectName, block_on};

use super::{elsewhere, own_text, view};
use crate::aliases::AliasOrigin;
use crate::command::session::Session;
use crate::config::Config;
use crate::error::{Failure, Result};
use crate::view::AliasView;
use crate::yaml;

/// The key of the config file below which aliases are.
const SECTION: &str = "aliases";

/// Set an alias, for yourself or for everybody who uses a project
///
/// Other entries of the file and its comments stay. A relative path is taken from the current folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc alias set ZOO_PHOTOS /data/photos
  tlc alias set ZOO_PHOTOS s3://bucket/photos --project zoo")]
pub(super) struct Set {
    /// The name: capital letters, digits and _
    name: String,
    /// The path or URL that `<NAME>` stands for; it may begin with another `<NAME>`
    path: String,
    /// Set it in aliases.yaml of this project [default: in your config file]
    #[arg(long)]
    project: Option<ProjectName>,
}

/// Remove an alias from where `set` puts it
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tlc alias unset ZOO_PHOTOS --project zoo")]
pub(super) struct Unset {
    /// The name
    name: String,
    /// Remove it from aliases.yaml of this project [default: from your config file]
    #[arg(long)]
    project: Option<ProjectName>,
}

impl Set {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let value = absolute(&self.path)?;
        let value = value.trim_end_matches('/').to_owned();
        // A name or a value that cannot be one is refused before anything is opened.
        Aliases::new().with(&self.name, &value)?;
        let file = block_on(AliasFile::open(session, self.project.as_ref(), true))?;
        let (text, aliases) = file.edited(&session.config, &self.name, Some(&value))?;
        let merged = session.config.aliases().aliases().over(&aliases)?;
        block_on(file.write(&text))?;
        let mut view = view(&self.name, &value, &file.origin(), &aliases);
        let ours = merged.iter().find(|(name, _)| *name == self.name);
        let origin = session.config.aliases().origin(&self.name);
        if let (Some(origin), Some((_, ours))) = (origin, ours)
            && *origin != file.origin()
            && ours != view.value
        {
            view.warning = Some(format!("{origin} sets {} too, and wins here", self.name));
        }
        if let Some(warning) = &view.warning {
            session.note(&format!("warning: {warning}"));
        }
        session.answer(&view, || {
            format!("{} is {} (in {})\n", view.name, view.value, view.from)
        })
    }
}

impl Unset {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let file = block_on(AliasFile::open(session, self.project.as_ref(), false))?;
        let before = file.aliases(&session.config, &file.text)?;
        let Some((_, value)) = before.iter().find(|(name, _)| *name == self.name) else {
            let message = format!("{} sets no alias {:?}", file.origin(), self.name);
            return Err(elsewhere(
                Error::not_found(message).into(),
                session,
                &self.name,
            ));
        };
        let (text, _) = file.edited(&session.config, &self.name, None)?;
        block_on(file.write(&text))?;
        let view = AliasView {
            name: self.name.clone(),
            value: value.to_owned(),
            path: None,
            from: file.origin().to_string(),
            warning: None,
        };
        session.answer(&view, || {
            format!("{} is no longer set in {}\n", view.name, view.from)
        })
    }
}

/// A file that sets aliases, as it is now.
struct AliasFile {
    place: Place,
    text: String,
}

enum Place {
    Project(Box<Project>),
    Config(PathBuf),
}

impl AliasFile {
    /// The project's own file, or the config file; neither has to be there. A project that is to be
    /// written to may begin with its aliases.
    async fn open(session: &Session, project: Option<&ProjectName>, writes: bool) -> Result<Self> {
        if let Some(name) = project {
            let project = match writes {
                true => session.root().await?.project(name.as_str())?,
                false => session.project(name).await?,
            };
            let text = own_text(&project).await?;
            let place = Place::Project(Box::new(project));
            return Ok(Self { place, text });
        }
        let none = || {
            Failure::usage(
                "there is no home folder with a config file; name one with TLC_CONFIG, or a project with --project",
            )
        };
        let path = session.config.file().ok_or_else(none)?.to_owned();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == IoKind::NotFound => String::new(),
            Err(err) => return Err(unwritable(&path, err)),
        };
        let place = Place::Config(path);
        Ok(Self { place, text })
    }

    fn origin(&self) -> AliasOrigin {
        match &self.place {
            Place::Project(_) => AliasOrigin::Project,
            Place::Config(path) => AliasOrigin::File(path.clone()),
        }
    }

    /// The aliases that the file sets if it has this text.
    fn aliases(&self, config: &Config, text: &str) -> Result<Aliases> {
        Ok(match &self.place {
            Place::Project(project) => project.parse_aliases(text)?,
            Place::Config(_) => config.aliases_in_file(text)?,
        })
    }

    /// The text with one entry changed, and the aliases it then sets.
    fn edited(
        &self,
        config: &Config,
        name: &str,
        value: Option<&str>,
    ) -> Result<(String, Aliases)> {
        let section = match &self.place {
            Place::Project(_) => None,
            Place::Config(_) => Some(SECTION),
        };
        // What cannot be read is said as such, and not as what cannot be edited.
        self.aliases(config, &self.text)?;
        let text = yaml::edited(&self.text, section, name, value).ok_or_else(|| {
            let origin = self.origin();
            Failure::from(Error::invalid(format!(
                "{origin} is written in a form that is not edited line by line"
            )))
            .hint("write one alias a line, as `NAME: PATH`, or change it with an editor")
        })?;
        let aliases = self.aliases(config, &text)?;
        Ok((text, aliases))
    }

    async fn write(&self, text: &str) -> Result<()> {
        match &self.place {
            Place::Project(project) => Ok(project.write_aliases_file(text).await?),
            Place::Config(path) => write_config(path, text).map_err(|err| unwritable(path, err)),
        }
    }
}

/// Puts the text in place of the file in one step, where the file is: a link stays a link.
fn write_config(path: &Path, text: &str) -> std::io::Result<()> {
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(_) => path.to_owned(),
    };
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut staging = target.as_os_str().to_owned();
    staging.push(format!(".{}", std::process::id()));
    fs::write(&staging, text)?;
    if let Ok(found) = fs::metadata(&target) {
        fs::set_permissions(&staging, found.permissions())?;
    }
    fs::rename(&staging, &target)
}

fn unwritable(path: &Path, err: std::io::Error) -> Failure {
    let message = format!("the config file {} cannot be changed", path.display());
    Error::new(ErrorKind::Unavailable, message)
        .with_source(err)
        .into()
}

/// A path from the current folder as an absolute one; a URL, and a path by another alias, as it is.
fn absolute(path: &str) -> Result<String> {
    if path.contains("://") || path.starts_with('<') || path.is_empty() {
        return Ok(path.to_owned());
    }
    let wrong = || Error::invalid(format!("{path:?} is neither a path nor a URL"));
    let path = std::path::absolute(path).map_err(|err| wrong().with_source(err))?;
    let text = path.to_str().ok_or_else(wrong)?;
    Ok(text.to_owned())
}

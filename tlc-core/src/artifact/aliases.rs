//! Moving the names of versions.

use super::Artifact;
use super::record::{AliasMove, ArtifactRecord, check_alias};
use crate::error::{Error, ErrorKind, Result};
use crate::format::artifact::Event;

/// When an alias may move. The default: whenever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AliasOptions {
    expected: Option<Option<u64>>,
}

impl AliasOptions {
    /// Whatever the alias names now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if it names this version when it moves: of two who say so at once, one moves it.
    #[must_use]
    pub fn only_from(self, version: u64) -> Self {
        Self {
            expected: Some(Some(version)),
        }
    }

    /// Only if there is no such alias.
    #[must_use]
    pub fn only_new(self) -> Self {
        Self {
            expected: Some(None),
        }
    }
}

impl Artifact {
    /// Lets an alias name a version from here on, and gives the move. One that names the version already stays, and no
    /// entry is written: then [`AliasMove::from`] is that version too. Reads the log and appends one entry to it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it cannot be an alias (see [`PutOptions::alias`](super::PutOptions::alias)),
    /// [`ErrorKind::NotFound`] if there is no such artifact or version, [`ErrorKind::Conflict`] if the alias does not name
    /// what the options say; those of the store.
    pub async fn set_alias(
        &self,
        alias: &str,
        version: u64,
        options: AliasOptions,
    ) -> Result<AliasMove> {
        check_alias(alias)?;
        self.move_alias(alias, Some(version), options).await
    }

    /// Takes an alias away. What it has named stays in its history.
    ///
    /// # Errors
    /// As [`Self::set_alias`]; [`ErrorKind::NotFound`] if there is no such alias.
    pub async fn remove_alias(&self, alias: &str, options: AliasOptions) -> Result<AliasMove> {
        self.move_alias(alias, None, options).await
    }

    async fn move_alias(
        &self,
        alias: &str,
        to: Option<u64>,
        options: AliasOptions,
    ) -> Result<AliasMove> {
        let mut history = self.history().await?;
        if history.record.versions.is_empty() {
            return Err(Error::not_found(format!("there is no artifact {self}")));
        }
        let event = |record: &ArtifactRecord| {
            let moves = moved(record, alias, to, options);
            let moves = moves.map_err(|err| err.context(format!("{self}: alias {alias} stays")))?;
            Ok(moves.then(|| Event::Alias {
                alias: alias.to_owned(),
                version: to,
            }))
        };
        let is_moved = history.append(event).await?;
        let found = history.record.alias(alias);
        let last = found.and_then(|alias| alias.moves.last()).cloned();
        let last = last.ok_or_else(|| Error::not_found(format!("{self} has no alias {alias}")))?;
        Ok(match is_moved {
            true => last,
            false => AliasMove {
                from: last.to,
                ..last
            },
        })
    }
}

/// Whether an alias moves when it is told to.
fn moved(
    record: &ArtifactRecord,
    alias: &str,
    to: Option<u64>,
    options: AliasOptions,
) -> Result<bool> {
    let now = record.alias(alias).and_then(|alias| alias.version);
    if let Some(expected) = options.expected
        && expected != now
    {
        let text = |version: Option<u64>| match version {
            Some(version) => format!("version {version}"),
            None => "none".to_owned(),
        };
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("it names {}, not {}", text(now), text(expected)),
        ));
    }
    match to {
        Some(version) if record.version(version).is_none() => {
            let newest = record.versions.len();
            Err(Error::not_found(format!(
                "there is no version {version}; the newest is {newest}"
            )))
        }
        None if now.is_none() => Err(Error::not_found("there is no such alias")),
        to => Ok(to != now),
    }
}

//! What an artifact is, folded from its log entries alone.

use crate::env::Micros;
use crate::error::{Error, Result};
use crate::format::artifact::{Entry, Event};
use crate::id::{ArtifactName, RunName};

use super::paths::is_manifest;

/// An artifact: its versions, and the names that they have or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// The artifact's name.
    pub name: ArtifactName,
    /// The versions: the first has number 1, and is the first.
    pub versions: Vec<VersionRecord>,
    /// The aliases by name, also those that were taken away.
    pub aliases: Vec<AliasRecord>,
}

/// One version of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// Its number.
    pub version: u64,
    /// When it was put.
    pub time: Micros,
    /// Who put it.
    pub author: String,
    /// The run that made it, if it is known.
    pub run: Option<RunName>,
    /// Why, possibly empty.
    pub message: String,
    /// How many files it has.
    pub n_files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// Bytes of chunks that were not in the project before; of a put that was cut off and done again, the rest.
    pub bytes_stored: u64,
    /// The file below the artifact's folder that says what is in it.
    pub manifest: String,
}

/// A name for a version, which moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRecord {
    /// The name.
    pub name: String,
    /// The version that it names; none if it was taken away.
    pub version: Option<u64>,
    /// All its moves, the first one first.
    pub moves: Vec<AliasMove>,
}

/// One move of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasMove {
    /// When.
    pub time: Micros,
    /// Who moved it.
    pub author: String,
    /// The version that it named before, if any.
    pub from: Option<u64>,
    /// The version that it named afterwards; none where it was taken away.
    pub to: Option<u64>,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactFile {
    /// Its names from the folder on, with `/` between them.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes, in hexadecimal.
    pub blake3: String,
    /// Whether it is a program.
    pub is_executable: bool,
}

/// What an artifact is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtifactRole {
    /// The run read it.
    Input,
    /// The run made it.
    Output,
}

impl ArtifactRole {
    /// The role in one lower-case word, as scripts see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// A version of an artifact that a run read or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactUse {
    /// The artifact.
    pub artifact: ArtifactName,
    /// The number of the version.
    pub version: u64,
    /// What it is to the run.
    pub role: ArtifactRole,
}

impl ArtifactRecord {
    pub(super) fn new(name: ArtifactName) -> Self {
        Self {
            name,
            versions: Vec::new(),
            aliases: Vec::new(),
        }
    }

    /// The alias of that name, also if it was taken away.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&AliasRecord> {
        self.aliases.iter().find(|alias| alias.name == name)
    }

    /// The version of that number.
    #[must_use]
    pub fn version(&self, number: u64) -> Option<&VersionRecord> {
        let position = usize::try_from(number.checked_sub(1)?).ok()?;
        self.versions.get(position)
    }

    /// The version that a text names: by its number, such as `3` or `v3`, or by an alias.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) saying what there is.
    pub fn resolve(&self, which: &str) -> Result<&VersionRecord> {
        let newest = self.versions.len();
        if let Some(number) = number(which) {
            return self.version(number).ok_or_else(|| {
                Error::not_found(format!("no version {number}; the newest is {newest}"))
            });
        }
        let named = self.alias(which).and_then(|alias| alias.version);
        named
            .and_then(|number| self.version(number))
            .ok_or_else(|| {
                let names = self.aliases.iter().filter(|alias| alias.version.is_some());
                let names: Vec<&str> = names.map(|alias| alias.name.as_str()).collect();
                let names = match names.is_empty() {
                    true => "it has none".to_owned(),
                    false => format!("it has {}", names.join(", ")),
                };
                Error::not_found(format!("no alias {which:?}; {names}"))
            })
    }

    /// Adds what one entry says.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it cannot follow those before it.
    pub(super) fn apply(&mut self, entry: Entry) -> Result<()> {
        let time = Micros::from_rfc3339(&entry.time)
            .ok_or_else(|| Error::corrupt(format!("{:?} is not a time", entry.time)))?;
        let author = entry.author;
        match entry.event {
            Event::Version {
                version,
                manifest,
                files,
                bytes,
                bytes_stored,
                message,
                run,
                aliases,
            } => {
                if version != self.versions.len() as u64 + 1 {
                    return Err(Error::corrupt(format!("it is not version {version}")));
                }
                if !is_manifest(&manifest) {
                    return Err(Error::corrupt(format!("{manifest:?} is no manifest")));
                }
                self.versions.push(VersionRecord {
                    version,
                    time,
                    author: author.clone(),
                    run: run.as_deref().map(str::parse).transpose()?,
                    message,
                    n_files: files,
                    bytes,
                    bytes_stored,
                    manifest,
                });
                for alias in aliases {
                    self.move_alias(alias, (time, &author), Some(version))?;
                }
                Ok(())
            }
            Event::Alias { alias, version } => self.move_alias(alias, (time, &author), version),
        }
    }

    fn move_alias(
        &mut self,
        name: String,
        (time, author): (Micros, &str),
        to: Option<u64>,
    ) -> Result<()> {
        check_alias(&name)
            .map_err(|err| Error::corrupt("an alias has a bad name").with_source(err))?;
        if to.is_some_and(|to| self.version(to).is_none()) {
            return Err(Error::corrupt(format!("alias {name} names no version")));
        }
        let author = author.to_owned();
        let place = self
            .aliases
            .binary_search_by(|alias| alias.name.as_str().cmp(&name));
        let alias = match place {
            Ok(at) => self.aliases.get_mut(at),
            Err(at) => {
                let alias = AliasRecord {
                    name,
                    version: None,
                    moves: Vec::new(),
                };
                self.aliases.insert(at, alias);
                self.aliases.get_mut(at)
            }
        };
        if let Some(alias) = alias {
            let from = std::mem::replace(&mut alias.version, to);
            alias.moves.push(AliasMove {
                time,
                author,
                from,
                to,
            });
        }
        Ok(())
    }
}

/// The number in `3` or `v3`.
fn number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// An alias is a name that cannot be taken for a number.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming it.
pub(super) fn check_alias(name: &str) -> Result<()> {
    let is_numbered = number(name).is_some() || name.starts_with(|c: char| c.is_ascii_digit());
    let checked: Result<ArtifactName> = name.parse();
    match checked {
        Ok(_) if !is_numbered => Ok(()),
        Ok(_) => Err(Error::invalid(format!(
            "{name:?} cannot be an alias: it may not begin with a digit, nor be v and digits, for these are versions"
        ))),
        Err(err) => Err(Error::invalid(format!("{name:?} cannot be an alias")).with_source(err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as words: `+best` is a version with an alias, `best=2` a move and `best=` the end of one.
    fn folded(text: &str) -> Result<ArtifactRecord> {
        let mut record = ArtifactRecord::new("model".parse().unwrap());
        for (at, word) in text.split_whitespace().enumerate() {
            let event = match word.split_once('=') {
                Some((alias, version)) => Event::Alias {
                    alias: alias.to_owned(),
                    version: version.parse().ok(),
                },
                None => Event::Version {
                    version: record.versions.len() as u64 + 1,
                    manifest: format!("manifests/{}.json", "0".repeat(64)),
                    files: 1,
                    bytes: 1,
                    bytes_stored: 1,
                    message: String::new(),
                    run: None,
                    aliases: word
                        .split('+')
                        .skip(1)
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned)
                        .collect(),
                },
            };
            record.apply(Entry {
                format: 1,
                stamp: "s".to_owned(),
                author: "ada".to_owned(),
                time: Micros(at as i64).to_rfc3339(),
                event,
                sum: None,
            })?;
        }
        Ok(record)
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match folded(text) {
            Err(err) => format!("{err:#}"),
            Ok(record) => {
                let number =
                    |version: Option<u64>| version.map(|n| n.to_string()).unwrap_or_default();
                let aliases = record.aliases.iter().map(|alias| {
                    let moves = alias
                        .moves
                        .iter()
                        .map(|m| format!("{}>{}", number(m.from), number(m.to)));
                    let moves: Vec<_> = moves.collect();
                    format!(
                        "{}={} {}",
                        alias.name,
                        number(alias.version),
                        moves.join(" ")
                    )
                });
                let aliases: Vec<_> = aliases.collect();
                format!("{} {}", record.versions.len(), aliases.join("; "))
            }
        };
        assert!(found.contains(expected), "{text:?} gave {found:?}");
    }

    #[test]
    fn aliases_move_and_their_moves_stay() {
        check("+ +", "2 ");
        check("+best + best=2 best= best=1", "2 best=1 >1 1>2 2> >1");
        check("+ +prod+best prod=1", "2 best=2 >2; prod=1 >2 2>1");
        check("best=1", "alias best names no version");
        check("+ best=2", "alias best names no version");
        check("+ 7a=1", "an alias has a bad name");
    }

    #[test]
    fn a_version_is_named_by_its_number_or_an_alias() {
        let record = folded("+ + + best=2 gone=1 gone=").unwrap();
        let resolve = |which: &str| match record.resolve(which) {
            Ok(version) => version.version.to_string(),
            Err(err) => err.to_string(),
        };
        assert_eq!(["1", "v3", "best"].map(resolve), ["1", "3", "2"]);
        assert_eq!(resolve("0"), "no version 0; the newest is 3");
        assert_eq!(resolve("4"), "no version 4; the newest is 3");
        for gone in ["gone", "v", "-1", ""] {
            assert_eq!(resolve(gone), format!("no alias {gone:?}; it has best"));
        }
    }

    #[test]
    fn an_alias_cannot_be_taken_for_a_number() {
        for good in ["best", "v2-final", "prod.eu", "vx"] {
            check_alias(good).unwrap();
        }
        for bad in ["", "3", "v3", "3d", "a/b", "..", "a b"] {
            let err = check_alias(bad).unwrap_err().to_string();
            assert!(err.contains(&format!("{bad:?}")), "{err}");
        }
    }

    #[test]
    fn a_version_whose_entry_names_a_strange_file_is_corrupt() {
        let mut record = ArtifactRecord::new("model".parse().unwrap());
        let mut apply = |version: u64, manifest: &str| {
            let event = Event::Version {
                version,
                manifest: manifest.to_owned(),
                files: 0,
                bytes: 0,
                bytes_stored: 0,
                message: String::new(),
                run: None,
                aliases: Vec::new(),
            };
            record.apply(Entry {
                format: 1,
                stamp: String::new(),
                author: String::new(),
                time: Micros(0).to_rfc3339(),
                event,
                sum: None,
            })
        };
        let good = format!("manifests/{}.json", "0".repeat(64));
        for bad in ["", "../log/0.json", "manifests/x.json", "/etc/passwd"] {
            assert!(apply(1, bad).is_err(), "{bad:?}");
        }
        assert!(apply(2, &good).is_err(), "a number is left out");
        apply(1, &good).unwrap();
        assert!(apply(1, &good).is_err(), "a number comes twice");
    }
}

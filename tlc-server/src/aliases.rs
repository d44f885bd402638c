//! Where aliases come from, and which of them wins.
//!
//! Later ones win: a project's `aliases.yaml`, which the library reads, the key `aliases` of the
//! config file, the variables `TLC_ALIAS_<NAME>`, and `--alias NAME=PATH`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use tlc_core::{Aliases, Error, Result};

use crate::config::Variables;

/// What the variables of aliases begin with.
const PREFIX: &str = "TLC_ALIAS_";

/// Names that another project gives to another folder before long.
const GENERAL: &[&str] = &[
    "BASE",
    "BUCKET",
    "CACHE",
    "CONFIG",
    "DATA",
    "DATASET",
    "DATASETS",
    "DIR",
    "DISK",
    "FILES",
    "FOLDER",
    "HOME",
    "IMAGES",
    "INPUT",
    "LABELS",
    "MNT",
    "MODEL",
    "MODELS",
    "OUTPUT",
    "PATH",
    "PROJECT",
    "ROOT",
    "STORAGE",
    "TEMP",
    "TEST",
    "TMP",
    "TRAIN",
    "USER",
    "VAL",
    "WORK",
    "WORKSPACE",
];

/// Who set an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasOrigin {
    /// The project's own `aliases.yaml`.
    Project,
    /// The key `aliases` of this config file.
    File(PathBuf),
    /// The variable of this name.
    Variable(String),
    /// `--alias`.
    Flag,
}

impl fmt::Display for AliasOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project => f.write_str("aliases.yaml of the project"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("--alias"),
        }
    }
}

/// The aliases of this machine and this call: for each name the one that wins, and who set it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    aliases: Aliases,
    origins: BTreeMap<String, AliasOrigin>,
}

impl Settings {
    /// Of all that was set, the later ones.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming who set an alias that is none.
    pub(crate) fn layered(
        set: impl IntoIterator<Item = (String, String, AliasOrigin)>,
    ) -> Result<Self> {
        let mut winners = BTreeMap::new();
        for (name, value, origin) in set {
            winners.insert(name, (value, origin));
        }
        let mut settings = Self::default();
        for (name, (value, origin)) in winners {
            let with = settings.aliases.with(&name, &value);
            settings.aliases =
                with.map_err(|err| err.context(format!("an alias from {origin} cannot be used")))?;
            settings.origins.insert(name, origin);
        }
        Ok(settings)
    }

    /// The aliases themselves.
    #[must_use]
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// Who set an alias; `None` if nobody did.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&AliasOrigin> {
        self.origins.get(name)
    }
}

/// The aliases that the environment sets. A variable that is set to nothing counts as not set.
pub(crate) fn of_variables(variables: &Variables) -> Vec<(String, String, AliasOrigin)> {
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    let alias = |(variable, value): (&String, &String)| {
        let name = variable.strip_prefix(PREFIX)?.to_owned();
        Some((name, value.clone(), AliasOrigin::Variable(variable.clone())))
    };
    set.filter_map(alias).collect()
}

/// `NAME=PATH`, as `--alias` takes it.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) for a text without an equals sign. Whether
/// it can be an alias is said elsewhere: the parser of arguments would repeat what may be a secret.
pub(crate) fn flag(text: &str) -> Result<(String, String)> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Error::invalid("write NAME=PATH, such as PHOTOS=/data/photos"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Why an alias may not do what its user expects, if it may not.
#[must_use]
pub fn warning(name: &str, aliases: &Aliases) -> Option<String> {
    if aliases.get(name).is_none() {
        return Some(format!(
            "<{name}> begins with an alias that is not set, so it stands for nothing yet"
        ));
    }
    GENERAL.contains(&name).then(|| {
        format!("<{name}> is so general a name that others may mean another folder by it; take one with the project's name in it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_variables_and_those_over_the_file() {
        let file = |name: &str, value: &str| {
            let origin = AliasOrigin::File("/c.yaml".into());
            (name.to_owned(), value.to_owned(), origin)
        };
        let mut set = vec![file("A", "/file"), file("B", "/file"), file("C", "/file")];
        let variables = [
            ("TLC_ALIAS_B", "/env"),
            ("TLC_ALIAS_C", "/env"),
            ("TLC_ALIAS_D", ""),
            ("B", "/x"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        set.extend(of_variables(&variables.into_iter().collect()));
        let (name, value) = flag("C=/flag").unwrap();
        set.push((name, value, AliasOrigin::Flag));
        let settings = Settings::layered(set).unwrap();
        let shown = |name: &str| {
            let origin = settings.origin(name).map(ToString::to_string);
            format!("{:?} {origin:?}", settings.aliases().get(name))
        };
        assert_eq!(shown("A"), "Some(\"/file\") Some(\"/c.yaml\")");
        assert_eq!(shown("B"), "Some(\"/env\") Some(\"TLC_ALIAS_B\")");
        assert_eq!(shown("C"), "Some(\"/flag\") Some(\"--alias\")");
        assert_eq!(shown("D"), "None None");
    }

    #[test]
    fn an_alias_that_is_none_is_said_with_who_set_it() {
        let set = |name: &str, value: &str| {
            let origin = AliasOrigin::Variable(format!("TLC_ALIAS_{name}"));
            let err = Settings::layered([(name.to_owned(), value.to_owned(), origin)]).unwrap_err();
            format!("{err:#}")
        };
        assert!(set("disk", "/x").starts_with("an alias from TLC_ALIAS_disk cannot be used"));
        assert!(set("A", "s3://a:hush@b/x").contains("credentials"));
        assert!(!set("A", "s3://a:hush@b/x").contains("hush"));
        assert!(flag("A").unwrap_err().to_string().contains("NAME=PATH"));
    }

    #[test]
    fn an_order_of_layers_in_which_a_circle_only_passes_by_is_fine() {
        let set = [("A", "<B>/x"), ("B", "<A>/y"), ("A", "/a")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned(), AliasOrigin::Flag));
        let settings = Settings::layered(set).unwrap();
        assert_eq!(settings.aliases().get("B"), Some("/a/y"));
    }

    #[test]
    fn general_names_and_unset_beginnings_are_warned_of() {
        let aliases = Aliases::new().with("DATA", "/d").unwrap();
        let aliases = aliases.with("ZOO_PHOTOS", "/p").unwrap();
        let aliases = aliases.with("RAW", "<NOT_SET>/raw").unwrap();
        assert!(warning("DATA", &aliases).unwrap().contains("general"));
        assert!(warning("RAW", &aliases).unwrap().contains("not set"));
        assert_eq!(warning("ZOO_PHOTOS", &aliases), None);
    }
}

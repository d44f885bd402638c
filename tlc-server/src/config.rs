//! Where the command and the examples look: the root, the author, the credentials.
//!
//! The one module of the project that reads the environment. [`Config::resolve`] is the rule, a pure
//! function of flags, variables and files; [`Config::from_env`] gives it the real ones.
//!
//! | what | from, first found wins |
//! |---|---|
//! | root | `--root`, `TLC_ROOT`, `root:` of the config file, `$XDG_DATA_HOME/tlc`, `~/.local/share/tlc` |
//! | author | `--author`, `author:` of the config file, `USER`, `LOGNAME`, `unknown` |
//! | single writer | `--single-writer`, `TLC_SINGLE_WRITER` (`true` or `1`), `single_writer:` of the config file, no |
//! | config file | `TLC_CONFIG`, `$XDG_CONFIG_HOME/tlc/config.yaml`, `~/.config/tlc/config.yaml` |
//! | store options | variables `AWS_…` for `s3://`, `GOOGLE_…` for `gs://`, `AZURE_…` for `az://`: for roots and for files in place |
//!
//! The config file is YAML with the keys `root`, `author` and `single_writer`; a relative `root` is taken from the
//! file's folder, and `~/` is the home folder. An unknown key is an error. A variable that is set to nothing counts as not set.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tlc_core::object_store::aws::AmazonS3ConfigKey;
use tlc_core::object_store::azure::AzureConfigKey;
use tlc_core::object_store::gcp::GoogleConfigKey;
use tlc_core::{Error, Result, RootOptions};

/// Variables of the environment by name.
pub type Variables = BTreeMap<String, String>;

/// What the command line says about where to look.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--root`.
    pub root: Option<String>,
    /// `--author`.
    pub author: Option<String>,
    /// `--single-writer`.
    pub single_writer: bool,
}

/// What decided where the root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The flag `--root`.
    Flag,
    /// The variable `TLC_ROOT`.
    Variable,
    /// The key `root` of this config file.
    File(PathBuf),
    /// Nothing: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("from --root"),
            Self::Variable => f.write_str("from TLC_ROOT"),
            Self::File(path) => write!(f, "from {}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// Where to look, and who is asking.
#[derive(Clone)]
pub struct Config {
    root: String,
    origin: Origin,
    author: String,
    single_writer: bool,
    store_options: Vec<(String, String)>,
}

impl Config {
    /// The configuration of this process: its environment, its config file, and the flag `--root`.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn from_env(root_flag: Option<String>) -> Result<Self> {
        Self::from_env_with(&Flags {
            root: root_flag,
            ..Flags::default()
        })
    }

    /// The configuration of this process, with all flags.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn from_env_with(flags: &Flags) -> Result<Self> {
        // A variable that is not Unicode is none of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::resolve(flags, &variables.collect(), &|path| {
            std::fs::read_to_string(path)
        })
    }

    /// The rule of this module, as a function of everything it depends on.
    ///
    /// The variables come as a whole and not by a lookup, because the options of a store are found by
    /// their prefix.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the config file and the key if
    /// the file is wrong, or if there is no home folder to put the default root in;
    /// [`ErrorKind::NotFound`](tlc_core::ErrorKind::NotFound) if `TLC_CONFIG` names no file.
    pub fn resolve(
        flags: &Flags,
        variables: &Variables,
        read_file: &dyn Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self> {
        let variable = |name: &str| {
            variables
                .get(name)
                .filter(|value| !value.is_empty())
                .cloned()
        };
        let file = ConfigFile::find(&variable, read_file)?;
        let (root, origin) = if let Some(root) = flags.root.clone() {
            (root, Origin::Flag)
        } else if let Some(root) = variable("TLC_ROOT") {
            (root, Origin::Variable)
        } else if let Some(root) = file.root {
            (root, Origin::File(file.path))
        } else {
            (default_root(&variable)?, Origin::Default)
        };
        let author = flags
            .author
            .clone()
            .or(file.author)
            .or_else(|| variable("USER"))
            .or_else(|| variable("LOGNAME"));
        let single_writer = match variable("TLC_SINGLE_WRITER") {
            _ if flags.single_writer => true,
            Some(text) => truth(&text)?,
            None => file.single_writer,
        };
        let store_options = store_options(variables);
        Ok(Self {
            root,
            origin,
            author: author.unwrap_or_else(|| "unknown".to_owned()),
            single_writer,
            store_options,
        })
    }

    /// The root: a URL, or a path of the local disk.
    #[must_use]
    pub fn root_url(&self) -> &str {
        &self.root
    }

    /// What decided where the root is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who makes the revisions.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Whether it is promised that only one process at a time writes.
    #[must_use]
    pub fn single_writer(&self) -> bool {
        self.single_writer
    }

    /// What a root is opened with: the author, the promise, and the options of its store.
    #[must_use]
    pub fn root_options(&self) -> RootOptions {
        let options = RootOptions::new()
            .author(&self.author)
            .single_writer(self.single_writer);
        self.store_options
            .iter()
            .fold(options, |options, (key, value)| options.option(key, value))
    }
}

impl fmt::Debug for Config {
    /// Names the store's options but not their values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.store_options.iter().map(|(key, _)| key).collect();
        f.debug_struct("Config")
            .field("origin", &self.origin)
            .field("author", &self.author)
            .field("store_options", &keys)
            .finish_non_exhaustive()
    }
}

/// What the config file says; nothing where there is none.
#[derive(Default)]
struct ConfigFile {
    path: PathBuf,
    root: Option<String>,
    author: Option<String>,
    single_writer: bool,
}

impl ConfigFile {
    fn find(
        variable: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self> {
        let named = variable("TLC_CONFIG").map(PathBuf::from);
        let is_named = named.is_some();
        let Some(path) = named.or_else(|| {
            folder(variable, "XDG_CONFIG_HOME", ".config")
                .map(|folder| folder.join("tlc/config.yaml"))
        }) else {
            return Ok(Self::default());
        };
        match read_file(&path) {
            Ok(text) => Self::parse(path, &text, variable("HOME").as_deref()),
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(Error::invalid(format!(
                "the config file {} cannot be read",
                path.display()
            ))
            .with_source(err)),
            Err(_) if is_named => Err(Error::not_found(format!(
                "there is no config file {}, which TLC_CONFIG names",
                path.display()
            ))),
            Err(_) => Ok(Self::default()),
        }
    }

    fn parse(path: PathBuf, text: &str, home: Option<&str>) -> Result<Self> {
        let shown = path.display();
        let entries: Option<BTreeMap<String, Value>> =
            serde_saphyr::from_str(text).map_err(|err| {
                Error::invalid(format!(
                    "the config file {shown} is not a YAML map with the keys root, author and single_writer"
                ))
                .with_source(err.to_string())
            })?;
        let mut file = Self::default();
        for (key, value) in entries.unwrap_or_default() {
            let is_not = |what: &str| {
                Error::invalid(format!("{key:?} in the config file {shown} is not {what}"))
            };
            match (key.as_str(), value) {
                ("root", Value::String(value)) => file.root = Some(located(&value, &path, home)),
                ("author", Value::String(value)) => file.author = Some(value),
                ("single_writer", Value::Bool(value)) => file.single_writer = value,
                ("root" | "author", _) => return Err(is_not("text")),
                ("single_writer", _) => return Err(is_not("true or false")),
                _ => {
                    return Err(Error::invalid(format!(
                        "the config file {shown} has the unknown key {key:?}; known are root, author and single_writer"
                    )));
                }
            }
        }
        file.path = path;
        Ok(file)
    }
}

/// What a variable says that is true or false.
fn truth(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(Error::invalid(format!(
            "TLC_SINGLE_WRITER={text:?} is neither true nor false"
        ))),
    }
}

/// The root of a config file: a URL as it is, a path from the home folder or from the file's own.
fn located(root: &str, file: &Path, home: Option<&str>) -> String {
    if root.contains("://") {
        return root.to_owned();
    }
    if let (Some(rest), Some(home)) = (root.strip_prefix("~/"), home) {
        return Path::new(home).join(rest).display().to_string();
    }
    file.parent()
        .unwrap_or(file)
        .join(root)
        .display()
        .to_string()
}

fn default_root(variable: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    folder(variable, "XDG_DATA_HOME", ".local/share")
        .map(|folder| folder.join("tlc").display().to_string())
        .ok_or_else(|| Error::invalid("there is no home folder to keep the data in; give a folder with --root or TLC_ROOT"))
}

/// A folder of the XDG base directories; a relative one is ignored, as their specification says.
fn folder(variable: &dyn Fn(&str) -> Option<String>, name: &str, in_home: &str) -> Option<PathBuf> {
    let own = variable(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    own.or_else(|| variable("HOME").map(|home| Path::new(&home).join(in_home)))
}

/// The variables that stores understand, by the stores' own keys: of every kind of store, since a table
/// of a root on one may refer to files on another. A store takes no key of another kind.
fn store_options(variables: &Variables) -> Vec<(String, String)> {
    let is_known = |name: &str| {
        let key = name.to_ascii_lowercase();
        (name.starts_with("AWS_") && key.parse::<AmazonS3ConfigKey>().is_ok())
            || (name.starts_with("GOOGLE_") && key.parse::<GoogleConfigKey>().is_ok())
            || (name.starts_with("AZURE_") && key.parse::<AzureConfigKey>().is_ok())
    };
    let ours = variables
        .iter()
        .filter(|(name, value)| !value.is_empty() && is_known(name));
    ours.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves from `flag` and lines of `NAME=value`; a line `PATH: text` is a file.
    fn resolve(flag: Option<&str>, lines: &str) -> Result<Config> {
        let mut variables = Variables::new();
        let mut files = BTreeMap::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix('/') {
                Some(file) => {
                    let (path, text) = file.split_once(": ").unwrap();
                    files.insert(PathBuf::from(format!("/{path}")), text.replace("; ", "\n"));
                }
                None => {
                    let (name, value) = line.split_once('=').unwrap();
                    variables.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        let flags = Flags {
            root: flag.map(str::to_owned),
            ..Flags::default()
        };
        Config::resolve(&flags, &variables, &|path| {
            files
                .get(path)
                .cloned()
                .ok_or_else(|| std::io::ErrorKind::NotFound.into())
        })
    }

    #[track_caller]
    fn check(flag: Option<&str>, lines: &str, expected: &str) {
        let found = match resolve(flag, lines) {
            Ok(config) => format!(
                "{} ({}), by {}",
                config.root_url(),
                config.origin(),
                config.author()
            ),
            Err(err) => format!("{}: {err}", err.kind().as_str()),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_that_names_a_root_wins() {
        let all = "HOME=/home/ada
            XDG_DATA_HOME=/data
            TLC_ROOT=s3://bucket/x
            /home/ada/.config/tlc/config.yaml: root: /configured; author: Ada";
        check(Some("/flag"), all, "/flag (from --root), by Ada");
        check(None, all, "s3://bucket/x (from TLC_ROOT), by Ada");
        let all = all.replace("TLC_ROOT=s3://bucket/x", "TLC_ROOT=");
        check(
            None,
            &all,
            "/configured (from /home/ada/.config/tlc/config.yaml), by Ada",
        );
        check(
            None,
            "HOME=/home/ada\nXDG_DATA_HOME=/data",
            "/data/tlc (the default), by unknown",
        );
        check(
            None,
            "HOME=/home/ada\nXDG_DATA_HOME=relative",
            "/home/ada/.local/share/tlc (the default), by unknown",
        );
        check(
            None,
            "",
            "invalid: there is no home folder to keep the data in; give a folder with --root or TLC_ROOT",
        );
    }

    #[test]
    fn the_author_is_configured_or_the_user() {
        check(
            Some("/r"),
            "USER=ada\nLOGNAME=login",
            "/r (from --root), by ada",
        );
        check(
            Some("/r"),
            "USER=\nLOGNAME=login",
            "/r (from --root), by login",
        );
    }

    #[test]
    fn the_config_file_is_found_where_it_is_named() {
        let files = "/named.yaml: author: Named
            /xdg/tlc/config.yaml: author: Xdg
            /home/.config/tlc/config.yaml: author: Home
            HOME=/home\n";
        check(Some("/r"), files, "/r (from --root), by Home");
        check(
            Some("/r"),
            &format!("{files}XDG_CONFIG_HOME=/xdg"),
            "/r (from --root), by Xdg",
        );
        check(
            Some("/r"),
            &format!("{files}TLC_CONFIG=/named.yaml"),
            "/r (from --root), by Named",
        );
        check(
            Some("/r"),
            &format!("{files}TLC_CONFIG=/absent.yaml"),
            "not found: there is no config file /absent.yaml, which TLC_CONFIG names",
        );
    }

    #[test]
    fn a_root_in_the_config_file_may_be_relative() {
        let check = |root: &str, expected: &str| {
            let config = resolve(
                None,
                &format!("HOME=/home\nTLC_CONFIG=/etc/tlc.yaml\n/etc/tlc.yaml: root: {root}"),
            );
            assert_eq!(config.unwrap().root_url(), expected);
        };
        check("data", "/etc/data");
        check("~/data", "/home/data");
        check("gs://bucket", "gs://bucket");
    }

    #[test]
    fn a_wrong_config_file_is_named_with_its_key() {
        let check = |text: &str, expected: &str| {
            let lines = format!("TLC_CONFIG=/c.yaml\n/c.yaml: {text}");
            let err = resolve(Some("/r"), &lines).unwrap_err();
            assert!(err.to_string().starts_with(expected), "{err:#}");
        };
        check(
            "rot: /x",
            "the config file /c.yaml has the unknown key \"rot\"; known are root, author and single_writer",
        );
        check("root: 7", "\"root\" in the config file /c.yaml is not text");
        check(
            "single_writer: maybe",
            "\"single_writer\" in the config file /c.yaml is not true or false",
        );
        check(
            "- a",
            "the config file /c.yaml is not a YAML map with the keys root, author and single_writer",
        );
        check(
            "root: [",
            "the config file /c.yaml is not a YAML map with the keys root, author and single_writer",
        );
    }

    #[test]
    fn one_writer_is_promised_by_flag_variable_or_file() {
        let check = |flag: bool, lines: &str, expected: &str| {
            let flags = Flags {
                root: Some("/r".to_owned()),
                single_writer: flag,
                ..Flags::default()
            };
            let variables = lines.lines().filter_map(|line| line.split_once('='));
            let variables = variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let found =
                Config::resolve(
                    &flags,
                    &variables,
                    &|_| Ok("single_writer: true".to_owned()),
                );
            let found = match found {
                Ok(config) => config.single_writer().to_string(),
                Err(err) => err.to_string(),
            };
            assert_eq!(found, expected, "{flag} {lines}");
        };
        check(false, "", "false");
        check(true, "TLC_SINGLE_WRITER=0", "true");
        check(false, "TLC_SINGLE_WRITER=yes", "true");
        check(false, "TLC_CONFIG=/c.yaml", "true");
        check(
            false,
            "TLC_CONFIG=/c.yaml\nTLC_SINGLE_WRITER=false",
            "false",
        );
        check(
            false,
            "TLC_SINGLE_WRITER=maybe",
            "TLC_SINGLE_WRITER=\"maybe\" is neither true nor false",
        );
    }

    #[test]
    fn an_empty_config_file_says_nothing() {
        check(
            Some("/r"),
            "TLC_CONFIG=/c.yaml\n/c.yaml: # nothing",
            "/r (from --root), by unknown",
        );
    }

    #[test]
    fn stores_get_the_variables_they_know_and_no_others() {
        let lines = "AWS_REGION=eu\nAWS_SECRET_ACCESS_KEY=hush\nAWS_PAGER=less\nGOOGLE_SERVICE_ACCOUNT=x\nAZURE_STORAGE_ACCOUNT_NAME=y\nREGION=z";
        // A root on this disk may refer to files in a bucket.
        let config = resolve(Some("/data"), lines).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        let keys = config.store_options.iter().map(|(key, _)| key.as_str());
        let keys: Vec<_> = keys.collect();
        let expected =
            "aws_region aws_secret_access_key azure_storage_account_name google_service_account";
        assert_eq!(keys.join(" "), expected);
    }
}

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
//! | spool | `TLC_SPOOL`, `~/.local/state/tlc/spool`: what runs have logged that is not in a store elsewhere yet |
//! | key for events of lineage | `OPENLINEAGE_API_KEY`, as other programs that send them have it |
//! | aliases | `--alias`, `TLC_ALIAS_<NAME>`, `aliases:` of the config file; below these, those of a project |
//! | store options | variables `AWS_…` for `s3://`, `GOOGLE_…` for `gs://`, `AZURE_…` for `az://` |
//!
//! The config file is YAML with the keys `root`, `author`, `single_writer` and `aliases`, a map of names and
//! paths; a relative path is taken from the file's folder, and `~/` is the home folder. An unknown key is an
//! error. A variable that is set to nothing counts as not set. The options of all stores are given to
//! each root, for its paths may lead to any of them; a store takes its own and no others.

use std::collections::BTreeMap;
#[cfg(unix)]
use std::ffi::OsStr;
use std::fmt;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tlc_core::object_store::aws::AmazonS3ConfigKey;
use tlc_core::object_store::azure::AzureConfigKey;
use tlc_core::object_store::gcp::GoogleConfigKey;
use tlc_core::{Aliases, Error, Result, RootOptions, Secrets};

use crate::aliases::{AliasOrigin, Settings, of_variables};

/// Variables of the environment by name.
pub type Variables = BTreeMap<String, String>;

/// Where programs are looked for if `PATH` is not set.
#[cfg(unix)]
const USUAL_FOLDERS: &str = "/usr/local/bin:/usr/bin:/bin";

/// Values of this process's environment that must be in nothing that is stored.
#[must_use]
pub fn secrets() -> Secrets {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    let variables: Vec<(String, String)> = variables.collect();
    Secrets::of(
        variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    )
}

/// The program that would be started for `name`: that file if it is a path, else the first one of that name in the folders of
/// `PATH`.
///
/// # Errors
/// [`ErrorKind::NotFound`](tlc_core::ErrorKind::NotFound) if there is none; [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if
/// it is there and may not be executed.
#[cfg(unix)]
pub fn find_program(name: &OsStr) -> Result<PathBuf> {
    let folders = std::env::vars_os().find_map(|(name, value)| (name == "PATH").then_some(value));
    let folders = folders.unwrap_or_else(|| USUAL_FOLDERS.into());
    let candidates: Vec<PathBuf> = match name.as_encoded_bytes().contains(&b'/') {
        true => vec![name.into()],
        false => std::env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .collect(),
    };
    let mode = |path: &PathBuf| {
        let file = path.metadata().ok().filter(std::fs::Metadata::is_file);
        file.map(|file| file.permissions().mode())
    };
    let found = |path: &&PathBuf| mode(path).is_some_and(|mode| mode & 0o111 != 0);
    match candidates.iter().find(found) {
        Some(found) => Ok(found.clone()),
        None if candidates.iter().any(|path| mode(path).is_some()) => Err(Error::invalid(format!(
            "{} is there, but may not be executed",
            name.display()
        ))),
        None => Err(Error::not_found(format!(
            "there is no program {}",
            name.display()
        ))),
    }
}

/// What the command line says about where to look.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--root`.
    pub root: Option<String>,
    /// `--author`.
    pub author: Option<String>,
    /// `--alias`, each as name and path.
    pub aliases: Vec<(String, String)>,
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
    aliases: Settings,
    spool: Option<String>,
    lineage_key: Option<String>,
    file: PathBuf,
    home: Option<String>,
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
        let of_flags = flags.aliases.iter().cloned();
        let of_flags = of_flags.map(|(name, value)| (name, value, AliasOrigin::Flag));
        let set = file.aliases.into_iter().chain(of_variables(variables));
        let aliases = Settings::layered(set.chain(of_flags))?;
        let (root, origin) = if let Some(root) = flags.root.clone() {
            (root, Origin::Flag)
        } else if let Some(root) = variable("TLC_ROOT") {
            (root, Origin::Variable)
        } else if let Some(root) = file.root {
            (root, Origin::File(file.path.clone()))
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
            aliases,
            spool: variable("TLC_SPOOL"),
            lineage_key: variable("OPENLINEAGE_API_KEY"),
            file: file.path,
            home: variable("HOME"),
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

    /// What lets events into a catalogue of lineage.
    #[must_use]
    pub fn lineage_key(&self) -> Option<&str> {
        self.lineage_key.as_deref()
    }

    /// The aliases of this machine and this call; those of a project lie below them.
    #[must_use]
    pub fn aliases(&self) -> &Settings {
        &self.aliases
    }

    /// Where the config file is, or would be; `None` where there is no home folder.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        (!self.file.as_os_str().is_empty()).then_some(self.file.as_path())
    }

    /// The aliases that the config file would set if it had this text.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the file and what is wrong in it.
    pub(crate) fn aliases_in_file(&self, text: &str) -> Result<Aliases> {
        let file = ConfigFile::parse(self.file.clone(), text, self.home.as_deref())?;
        Ok(Settings::layered(file.aliases)?.aliases().clone())
    }

    /// What a root is opened with: the author, the promise, the aliases, the spool and the options of its store.
    #[must_use]
    pub fn root_options(&self) -> RootOptions {
        let aliases = self.aliases.aliases().clone();
        let mut options = RootOptions::new()
            .author(&self.author)
            .single_writer(self.single_writer)
            .aliases(aliases);
        if let Some(spool) = &self.spool {
            options = options.spool(spool);
        }
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
            .field("aliases", &self.aliases)
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
    aliases: Vec<(String, String, AliasOrigin)>,
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
            Err(_) => Ok(Self {
                path,
                ..Self::default()
            }),
        }
    }

    fn parse(path: PathBuf, text: &str, home: Option<&str>) -> Result<Self> {
        let shown = path.display();
        let entries: Option<BTreeMap<String, Value>> =
            serde_saphyr::from_str(text).map_err(|err| {
                Error::invalid(format!(
                    "the config file {shown} is not a YAML map with the keys root, author, single_writer and aliases"
                ))
                .with_source(err.to_string())
            })?;
        let mut file = Self::default();
        let text = |key: &str, value: Value| match value {
            Value::String(value) => Ok(value),
            _ => Err(Error::invalid(format!(
                "{key:?} in the config file {shown} is not text"
            ))),
        };
        for (key, value) in entries.unwrap_or_default() {
            match (key.as_str(), value) {
                ("root", value) => file.root = Some(located(&text(&key, value)?, &path, home)),
                ("author", value) => file.author = Some(text(&key, value)?),
                ("single_writer", Value::Bool(value)) => file.single_writer = value,
                ("single_writer", _) => {
                    return Err(Error::invalid(format!(
                        "{key:?} in the config file {shown} is not true or false"
                    )));
                }
                ("aliases", Value::Null) => {}
                ("aliases", Value::Object(aliases)) => {
                    for (name, value) in aliases {
                        let value = located(&text(&name, value)?, &path, home);
                        file.aliases
                            .push((name, value, AliasOrigin::File(path.clone())));
                    }
                }
                ("aliases", _) => {
                    return Err(Error::invalid(format!(
                        "\"aliases\" in the config file {shown} is not a map of names and paths"
                    )));
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "the config file {shown} has the unknown key {key:?}; known are root, author, single_writer and aliases"
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

/// A path of a config file: a URL, or what begins with an alias, as it is; another path from the home
/// folder or from the file's own.
fn located(root: &str, file: &Path, home: Option<&str>) -> String {
    if root.contains("://") || root.starts_with('<') {
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

/// The variables that stores understand, by the stores' own keys.
fn store_options(variables: &Variables) -> Vec<(String, String)> {
    let is_known = |key: &str| match key.split_once('_').map_or("", |(store, _)| store) {
        "aws" => key.parse::<AmazonS3ConfigKey>().is_ok(),
        "google" => key.parse::<GoogleConfigKey>().is_ok(),
        "azure" => key.parse::<AzureConfigKey>().is_ok(),
        _ => false,
    };
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    set.filter(|(name, _)| name.chars().all(|c| !c.is_ascii_lowercase()))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(key, _)| is_known(key))
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
            "the config file /c.yaml has the unknown key \"rot\"; known are root, author, single_writer and aliases",
        );
        check("root: 7", "\"root\" in the config file /c.yaml is not text");
        check(
            "single_writer: maybe",
            "\"single_writer\" in the config file /c.yaml is not true or false",
        );
        check(
            "- a",
            "the config file /c.yaml is not a YAML map with the keys root, author, single_writer and aliases",
        );
        check(
            "root: [",
            "the config file /c.yaml is not a YAML map with the keys root, author, single_writer and aliases",
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
    fn stores_get_their_own_variables_and_no_others() {
        let lines = "OPENLINEAGE_API_KEY=hush\nAWS_REGION=eu\nAWS_SECRET_ACCESS_KEY=hush\nAWS_PAGER=less\nAWS_PROFILE=\nGOOGLE_SERVICE_ACCOUNT=x\nAZURE_STORAGE_ACCOUNT_NAME=y\nTIMEOUT=3";
        for root in ["s3://bucket", "/data"] {
            let config = resolve(Some(root), lines).unwrap();
            assert!(!format!("{config:?}").contains("hush"));
            assert_eq!(config.lineage_key(), Some("hush"));
            let keys = config.store_options.iter().map(|(key, _)| key.as_str());
            assert_eq!(
                keys.collect::<Vec<_>>().join(" "),
                "aws_region aws_secret_access_key azure_storage_account_name google_service_account"
            );
        }
    }

    #[test]
    fn aliases_are_read_from_the_file_and_the_environment() {
        let set = |text: &str| {
            let lines = format!(
                "HOME=/home\nTLC_ALIAS_B=/env\nTLC_CONFIG=/etc/tlc.yaml\n/etc/tlc.yaml: {text}"
            );
            resolve(Some("/r"), &lines).map(|config| format!("{:?}", config.aliases().aliases()))
        };
        assert_eq!(
            set("aliases:;   A: data;   B: /file;   C: ~/c;   D: <A>/d;   E: s3://e").unwrap(),
            "{\"A\": \"/etc/data\", \"B\": \"/env\", \"C\": \"/home/c\", \"D\": \"<A>/d\", \"E\": \"s3://e\"}"
        );
        assert_eq!(set("aliases:").unwrap(), "{\"B\": \"/env\"}");
        for (text, expected) in [
            (
                "aliases: [A]",
                "\"aliases\" in the config file /etc/tlc.yaml is not a map of names and paths",
            ),
            (
                "aliases:;   A: 7",
                "\"A\" in the config file /etc/tlc.yaml is not text",
            ),
            (
                "aliases:;   a: /x",
                "an alias from /etc/tlc.yaml cannot be used",
            ),
        ] {
            assert_eq!(set(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_config_file_has_a_place_before_it_is_there() {
        let file = |lines: &str| {
            let config = resolve(Some("/r"), lines).unwrap();
            config.file().map(|path| path.display().to_string())
        };
        assert_eq!(
            file("HOME=/home").as_deref(),
            Some("/home/.config/tlc/config.yaml")
        );
        assert_eq!(
            file("TLC_CONFIG=/c.yaml\n/c.yaml: # empty").as_deref(),
            Some("/c.yaml")
        );
        assert_eq!(file(""), None);
    }
}

//! Which file names what the user tracks in no repository, as Git finds it. Nothing else of the user's configuration counts.

use std::path::{Path, PathBuf};

use gix::config::{File, Source};

/// The file: `core.excludesFile` of the user's configuration, or else `ignore` beside it; `None` if there is none. `config` is where
/// programs keep their configuration, if not in `.config`.
pub(super) fn of_user(home: &Path, config: Option<&Path>) -> Option<PathBuf> {
    let config = config.map_or_else(|| home.join(".config"), Path::to_path_buf);
    let config = config.join("git");
    // The newer place counts less.
    let said = said(&home.join(".gitconfig"), home);
    let said = said.or_else(|| self::said(&config.join("config"), home));
    let file = said.unwrap_or_else(|| config.join("ignore"));
    file.is_file().then_some(file)
}

fn said(file: &Path, home: &Path) -> Option<PathBuf> {
    let file = File::from_path_no_includes(file.to_path_buf(), Source::User).ok()?;
    let path = file.string("core.excludesFile")?.to_string();
    Some(match path.strip_prefix("~/") {
        Some(path) => home.join(path),
        None => home.join(path),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_where_git_looks_for_it() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = |config: Option<&Path>| {
            let found = of_user(home.path(), config)?;
            let found = found.strip_prefix(home.path()).unwrap();
            Some(found.to_string_lossy().into_owned())
        };
        assert_eq!(found(None), None);
        write(".config/git/ignore", "*.log\n");
        assert_eq!(found(None).unwrap(), ".config/git/ignore");
        write("other/git/ignore", "*.log\n");
        let other = home.path().join("other");
        assert_eq!(found(Some(&other)).unwrap(), "other/git/ignore");
        write("a", "");
        write("b", "");
        write(".config/git/config", "[core]\n\texcludesFile = ~/a\n");
        assert_eq!(found(None).unwrap(), "a");
        let absolute = home.path().join("b");
        let text = format!("[core]\nexcludesfile = \"{}\"\n", absolute.display());
        write(".gitconfig", &text);
        assert_eq!(found(None).unwrap(), "b");
    }
}

//! Names, addresses of revisions, URLs of roots, aliases and the paths below them: one text, read as
//! each of these. What is accepted is printed as it was read, stays inside its folder, and comes back.

#![no_main]

use std::str::FromStr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tlc_core::{
    Aliases, ColumnName, Project, ProjectName, Revision, Root, RunName, StreamName, Table,
    TableName, block_on,
};
use tlc_fuzz::{let_panics_be_caught, project, small};

static SMALL: LazyLock<(Project, Table)> = LazyLock::new(|| {
    let project = project(&small());
    let table = block_on(project.table("train")).expect("a table");
    (project, table)
});

fuzz_target!(|text: &str| {
    let_panics_be_caught();
    folder::<ProjectName>(text);
    folder::<TableName>(text);
    folder::<RunName>(text);
    folder::<StreamName>(text);
    if let Ok(name) = text.parse::<ColumnName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(revision) = text.parse::<Revision>() {
        assert_eq!(
            revision.to_string().parse::<Revision>().ok(),
            Some(revision)
        );
    }
    let (project, table) = &*SMALL;
    if let Ok(revision) = block_on(table.resolve(text)) {
        assert_eq!(revision, Revision(0), "there is no other");
    }
    if let Ok(root) = block_on(Root::open(text)) {
        // A URL is a normal form: opened again, it is the same place.
        let again = block_on(Root::open(root.url().as_str())).expect("its own URL");
        assert_eq!((again.url(), again.path()), (root.url(), root.path()));
    }
    aliases(project, text);
});

/// A name that is a folder's is one segment of a path, and not a special one.
fn folder<T: FromStr + AsRef<str>>(text: &str) {
    let Ok(name) = text.parse::<T>() else {
        return;
    };
    let name = name.as_ref();
    assert_eq!(name, text);
    assert!(!name.is_empty() && name.len() <= 128);
    assert!(
        !name.contains(['/', '\\', '\0', ':']) && !name.starts_with('.') && !name.ends_with('.')
    );
}

fn aliases(project: &Project, text: &str) {
    drop(project.parse_aliases(text));
    let (value, path) = text.split_once('\n').unwrap_or(("/data/photos", text));
    let Ok(aliases) = Aliases::new().with("PHOTOS", value) else {
        return;
    };
    let stored = aliases.shorten(path);
    if stored != path {
        assert!(
            stored.starts_with("<PHOTOS>"),
            "{path:?} is stored as {stored:?}"
        );
        // The same place comes back; its spelling may have been another, but is settled now.
        let read = aliases.expand(&stored);
        assert_eq!(
            aliases.shorten(&read),
            stored,
            "{path:?} was read as {read:?}"
        );
    }
    let below = path.strip_prefix("<PHOTOS>");
    if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && let Ok(opened) = aliases.resolve(path)
    {
        assert!(
            !opened.starts_with('<'),
            "{path:?} would be opened as {opened:?}"
        );
    }
}

//! Branches and tags: names in the log, set by entries that are no revisions.

use super::MAIN;
use super::Table;
use super::commit::{ATTEMPTS_MAX, CommitOptions};
use super::history::check_ref_name;
use super::write::{new_entry, no_turn};
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    self,
    table::{Entry, ParentRef, RefKind, RefSet},
};
use crate::id::Revision;
use crate::log::Append;

/// A branch: a name that moves with each revision made on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Its newest revision.
    pub revision: Revision,
}

/// A tag: a name for one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The revision.
    pub revision: Revision,
    /// Who set it.
    pub author: String,
    /// When.
    pub time: Micros,
    /// Why.
    pub message: String,
}

impl Table {
    /// The branches, by name. Costs what [`Self::head`] costs.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn branches(&self) -> Result<Vec<Branch>> {
        self.refresh().await?;
        let branches = self.with_known(|known| {
            let branches = known.refs().branches.iter();
            let branch = |(name, head): (&String, &ParentRef)| Branch {
                name: name.clone(),
                revision: Revision(head.revision),
            };
            branches.map(branch).collect()
        });
        Ok(branches.unwrap_or_default())
    }

    /// The tags, by name. Reads the log back to where the oldest of them was set.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        self.refresh().await?;
        let names = self
            .with_known(|known| known.refs().tags.clone())
            .unwrap_or_default();
        let mut tags = Vec::with_capacity(names.len());
        for (name, target) in names {
            let found = self.ancestry(|known| {
                let mut sets = known
                    .iter()
                    .rev()
                    .filter(|loaded| sets_tag(&loaded.entry, &name));
                let set = sets.next().map(|loaded| tag(&name, &target, &loaded.entry));
                // A name that nothing set is one that a damaged checkpoint made up.
                set.or_else(|| (known.first() == 0).then(|| tag(&name, &target, &Entry::default())))
            });
            tags.push(found.await?);
        }
        Ok(tags)
    }

    /// Gives a revision a name that moves: commits to the branch build on it.
    ///
    /// One entry of the log, and no data.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a branch or tag has the name, [`ErrorKind::Invalid`] if it cannot be
    /// one, [`ErrorKind::NotFound`] for an unknown revision; those of the store.
    pub async fn create_branch(
        &self,
        name: &str,
        at: impl Into<Revision> + Send,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<()> {
        let at = at.into();
        self.name_revision(RefKind::Branch, name, at, options.into())
            .await
    }

    /// Gives a revision a name that stays.
    ///
    /// # Errors
    /// As [`Self::create_branch`].
    pub async fn create_tag(
        &self,
        name: &str,
        at: impl Into<Revision> + Send,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<()> {
        let at = at.into();
        self.name_revision(RefKind::Tag, name, at, options.into())
            .await
    }

    /// Takes a branch's name away. Its revisions stay, and can be read by their numbers.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such branch, [`ErrorKind::Invalid`] for `main`; those of
    /// the store.
    pub async fn drop_branch(
        &self,
        name: &str,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<()> {
        if name == MAIN {
            return Err(Error::invalid(
                "the branch main is there as long as its table",
            ));
        }
        self.drop_name(RefKind::Branch, name, options.into()).await
    }

    /// Takes a tag away.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such tag; those of the store.
    pub async fn drop_tag(
        &self,
        name: &str,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<()> {
        self.drop_name(RefKind::Tag, name, options.into()).await
    }

    async fn name_revision(
        &self,
        kind: RefKind,
        name: &str,
        at: Revision,
        options: CommitOptions,
    ) -> Result<()> {
        check_ref_name(name)?;
        self.refresh().await?;
        let target = self.entry(at.0).await?.named();
        self.set_ref(options, |table| {
            let taken = table.with_known(|known| known.refs().get(name).is_some());
            if taken == Some(true) {
                let message = format!(
                    "table {} has a branch or tag {name:?} already",
                    table.name()
                );
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            Ok(RefSet {
                kind,
                name: name.to_owned(),
                target: Some(target.clone()),
            })
        })
        .await
    }

    async fn drop_name(&self, kind: RefKind, name: &str, options: CommitOptions) -> Result<()> {
        self.refresh().await?;
        self.set_ref(options, |table| {
            let (what, found) = match kind {
                RefKind::Branch => (
                    "branch",
                    table.with_known(|known| known.refs().branches.contains_key(name)),
                ),
                RefKind::Tag => (
                    "tag",
                    table.with_known(|known| known.refs().tags.contains_key(name)),
                ),
            };
            match found {
                Some(true) => Ok(RefSet {
                    kind,
                    name: name.to_owned(),
                    target: None,
                }),
                _ => Err(table.no_ref(what, name)),
            }
        })
        .await
    }

    /// Appends an entry that sets one name; `change` decides anew each time the number is taken.
    async fn set_ref(
        &self,
        options: CommitOptions,
        change: impl Fn(&Self) -> Result<RefSet> + Send,
    ) -> Result<()> {
        let template = new_entry(&self.place().env, &options);
        for _ in 0..ATTEMPTS_MAX {
            let (position, _) = self.turn(MAIN).await?;
            let set = change(self)?;
            let entry = Entry {
                revision: position.number,
                next_row_id: position.next_row_id,
                next_column_id: Some(position.next_column_id),
                refs: vec![set],
                ..template.clone()
            };
            let bytes = format::encode(&entry)?;
            let own = self.loaded(entry.revision, &bytes)?;
            match self
                .inner
                .log
                .append(Revision(entry.revision), bytes)
                .await?
            {
                Append::Written => {
                    self.keep(&own);
                    self.checkpoint_if_due();
                    return Ok(());
                }
                Append::Taken => self.refresh().await?,
            }
        }
        Err(no_turn(self))
    }
}

fn sets_tag(entry: &Entry, name: &str) -> bool {
    let mut refs = entry.refs.iter();
    refs.any(|set| set.kind == RefKind::Tag && set.name == name)
}

fn tag(name: &str, target: &ParentRef, entry: &Entry) -> Tag {
    Tag {
        name: name.to_owned(),
        revision: Revision(target.revision),
        author: entry.author.clone(),
        time: Micros::from_rfc3339(&entry.time).unwrap_or_default(),
        message: entry.message.clone(),
    }
}

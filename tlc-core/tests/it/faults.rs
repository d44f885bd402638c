//! Every request of every operation fails once, before it acts or with its answer lost; afterwards
//! nothing is lost and nothing half-visible.

use std::sync::Arc;

use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    CommitOptions, ErrorKind, Merged, Patch, Project, Resolution, Result, Take, block_on, schema,
};

use crate::support::{animals, head, project_in, reader, table};

/// Runs `operation` with request 1, 2, 3, … failing until it succeeds without one failing. After
/// each, a clean reader sees `before` or `after`; `after` if the operation said it succeeded.
fn check(
    prepare: fn(&Project),
    operation: fn(&Project) -> Result<()>,
    observe: fn(&Project) -> String,
    before: &str,
    after: &str,
) {
    for when in [When::Before, When::After] {
        for k in 1.. {
            assert!(k < 200, "the operation never succeeds");
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let clean = project_in(Arc::clone(&store));
            prepare(&clean);
            let faults = Faults::at(k, when);
            let faulty = project_in(Arc::new(FaultyStore::new(
                Arc::clone(&store),
                Arc::clone(&faults),
            )));
            let outcome = operation(&faulty);
            let seen = observe(&project_in(Arc::clone(&store)));
            match &outcome {
                Ok(()) => assert_eq!(seen, after, "request {k} {when:?}: acknowledged and lost"),
                Err(err) => {
                    assert_eq!(
                        err.kind(),
                        ErrorKind::Unavailable,
                        "request {k} {when:?}: {err:?}"
                    );
                    // What makes it visible is the last request: none after it can fail.
                    assert!(
                        when == When::After || seen == before,
                        "request {k}: landed, and an error"
                    );
                    assert!(
                        seen == before || seen == after,
                        "request {k} {when:?} left {seen:?}"
                    );
                }
            }
            if faults.n_requests() < k {
                outcome.unwrap();
                break;
            }
            // Whatever failed, the next try goes through or finds its own work done.
            faults.heal();
            match operation(&faulty) {
                Ok(()) => {}
                Err(err) => assert_eq!(err.kind(), ErrorKind::Conflict, "{err:?}"),
            }
            assert_eq!(
                observe(&project_in(store)),
                after,
                "request {k} {when:?}: the retry"
            );
        }
    }
}

/// The rows of the head of `train`.
fn train(project: &Project) -> String {
    head(&block_on(project.table("train")).unwrap())
}

#[test]
fn making_a_table_is_all_or_nothing() {
    let create = |project: &Project| {
        block_on(project.create_table("train", reader(animals("0:1 1:1")), "new")).map(drop)
    };
    let observe = |project: &Project| {
        let tables = block_on(project.tables()).unwrap();
        match tables.is_empty() {
            true => "no table".to_owned(),
            false => train(project),
        }
    };
    check(|_| {}, create, observe, "no table", "0:0:1.0 1:1:1.0");
}

#[test]
fn a_commit_of_every_kind_is_all_or_nothing() {
    let prepare = |project: &Project| drop(table(project, "0:1 1:1 2:1"));
    let commit = |project: &Project| {
        let table = block_on(project.table("train"))?;
        let mut patch = block_on(table.at(0))?.patch();
        patch.set(0, "animal", "cow")?;
        patch.set(0, "weight", 0.0)?;
        patch.drop_rows(&[1]);
        patch.add_column(schema::text("note"), "x")?;
        block_on(table.commit(&patch, "everything")).map(drop)
    };
    check(
        prepare,
        commit,
        train,
        "0:0:1.0 1:1:1.0 2:2:1.0",
        "0:2:0.0:x 2:2:1.0:x",
    );
}

#[test]
fn a_commit_behind_another_is_all_or_nothing() {
    let prepare = |project: &Project| {
        let table = table(project, "0:1 1:1");
        let mut patch = block_on(table.head()).unwrap().patch();
        patch.set(1, "animal", "cow").unwrap();
        block_on(table.commit(&patch, "somebody else")).unwrap();
    };
    let commit = |project: &Project| {
        let table = block_on(project.table("train"))?;
        let mut patch = block_on(table.at(0))?.patch();
        patch.set(0, "animal", "dog")?;
        block_on(table.commit(&patch, "from an older snapshot")).map(drop)
    };
    check(prepare, commit, train, "0:0:1.0 1:2:1.0", "0:1:1.0 1:2:1.0");
}

/// `main` and a branch that both set cells, one of them the same; the branch also adds and drops rows.
fn parted(project: &Project) {
    let table = table(project, "0:1 1:1 2:1");
    block_on(table.create_branch("b", 0, "a branch")).unwrap();
    let commit = |branch: &str, change: &dyn Fn(&mut Patch)| {
        let mut patch = block_on(table.branch(branch)).unwrap().patch();
        change(&mut patch);
        block_on(table.commit(&patch, CommitOptions::new("a change").branch(branch))).unwrap();
    };
    commit("main", &|patch| {
        patch.set(0, "animal", "cow").unwrap();
        patch.set(1, "weight", 3.0).unwrap();
    });
    commit("b", &|patch| {
        patch.set(0, "animal", "dog").unwrap();
        patch.set(1, "animal", "cat").unwrap();
        patch.drop_rows(&[2]);
        patch.append(&animals("2:9")).unwrap();
        patch.add_column(schema::text("note"), "x").unwrap();
    });
}

/// The head of `main` and its parents' number.
fn line(project: &Project) -> String {
    let table = block_on(project.table("train")).unwrap();
    let newest = block_on(table.log_of(block_on(table.head()).unwrap().revision())).unwrap();
    format!("{} after {}", head(&table), newest[0].parents.len())
}

/// The revision that a merge or the like made.
fn done(merged: Result<Merged>) -> Result<()> {
    match merged? {
        Merged::Committed(_) => Ok(()),
        Merged::Conflicts(conflicts) => panic!("{conflicts:?}"),
    }
}

#[test]
fn a_merge_is_all_or_nothing() {
    let merge = |project: &Project| {
        let table = block_on(project.table("train"))?;
        let theirs = block_on(table.branch("b"))?.revision();
        let resolution = Resolution::all(Take::Theirs);
        done(block_on(table.merge(theirs, &resolution, "both")))
    };
    check(
        parted,
        merge,
        line,
        "0:2:1.0 1:1:3.0 2:2:1.0 after 1",
        "0:1:1.0:x 1:0:3.0:x 3:2:9.0:x after 2",
    );
}

#[test]
fn a_fast_forward_is_all_or_nothing() {
    let merge = |project: &Project| {
        let table = block_on(project.table("train"))?;
        let theirs = block_on(table.branch("b"))?.revision();
        let options = CommitOptions::new("forward").branch("behind");
        done(block_on(table.merge(theirs, &Resolution::new(), options)))
    };
    let prepare = |project: &Project| {
        parted(project);
        let table = block_on(project.table("train")).unwrap();
        block_on(table.create_branch("behind", 0, "a branch")).unwrap();
    };
    let observe = |project: &Project| {
        let table = block_on(project.table("train")).unwrap();
        crate::support::rows(&block_on(table.branch("behind")).unwrap())
    };
    check(
        prepare,
        merge,
        observe,
        "0:0:1.0 1:1:1.0 2:2:1.0",
        "0:1:1.0:x 1:0:1.0:x 3:2:9.0:x",
    );
}

#[test]
fn a_revert_and_a_cherry_pick_are_all_or_nothing() {
    let revert = |project: &Project| {
        let table = block_on(project.table("train"))?;
        let newest = block_on(table.head())?.revision();
        done(block_on(table.revert(2, 2, &Resolution::new(), "back"))).map_err(|err| {
            assert!(newest.0 >= 2, "{err}");
            err
        })
    };
    check(
        parted,
        revert,
        line,
        "0:2:1.0 1:1:3.0 2:2:1.0 after 1",
        "0:0:1.0 1:1:1.0 2:2:1.0 after 1",
    );
    let pick = |project: &Project| {
        let table = block_on(project.table("train"))?;
        let theirs = block_on(table.branch("b"))?.revision();
        done(block_on(table.cherry_pick(
            theirs,
            &Resolution::all(Take::Ours),
            "one of theirs",
        )))
    };
    check(
        parted,
        pick,
        line,
        "0:2:1.0 1:1:3.0 2:2:1.0 after 1",
        "0:2:1.0:x 1:0:3.0:x 3:2:9.0:x after 1",
    );
}

#[test]
fn a_branch_and_a_tag_are_all_or_nothing() {
    let prepare = |project: &Project| drop(table(project, "0:1"));
    let name = |project: &Project| {
        let table = block_on(project.table("train"))?;
        block_on(table.create_branch("b", 0, "a branch")).map(drop)
    };
    let observe = |project: &Project| {
        let table = block_on(project.table("train")).unwrap();
        let branches = block_on(table.branches()).unwrap();
        let names: Vec<String> = branches
            .iter()
            .map(|branch| branch.name.to_string())
            .collect();
        names.join(" ")
    };
    check(prepare, name, observe, "main", "b main");
    let tag = |project: &Project| {
        let table = block_on(project.table("train"))?;
        block_on(table.create_tag("v1", 0, "a tag")).map(drop)
    };
    let observe = |project: &Project| {
        let table = block_on(project.table("train")).unwrap();
        block_on(table.tags()).unwrap().len().to_string()
    };
    check(prepare, tag, observe, "0", "1");
}

/// `statement`, in a session of its own.
#[cfg(feature = "sql")]
fn execute(project: &Project, statement: &str) -> Result<()> {
    block_on(async {
        let sql = tlc_core::Sql::open(project.root()).await?;
        sql.execute(statement, "a statement").await.map(drop)
    })
}

#[cfg(feature = "sql")]
#[test]
fn a_statement_that_writes_is_all_or_nothing() {
    let prepare = |project: &Project| drop(table(project, "0:1 1:1 2:1"));
    check(
        prepare,
        |project| {
            execute(
                project,
                "UPDATE zoo.train SET weight = 0, animal = 'cow' WHERE animal > 0",
            )
        },
        train,
        "0:0:1.0 1:1:1.0 2:2:1.0",
        "0:0:1.0 1:2:0.0 2:2:0.0",
    );
    check(
        prepare,
        |project| execute(project, "DELETE FROM zoo.train WHERE animal = 1"),
        train,
        "0:0:1.0 1:1:1.0 2:2:1.0",
        "0:0:1.0 2:2:1.0",
    );
    const INSERT: &str = "INSERT INTO zoo.train SELECT 2 AS a, 9 AS b WHERE NOT EXISTS (SELECT 1 FROM zoo.train WHERE weight = 9)";
    check(
        prepare,
        |project| execute(project, INSERT),
        train,
        "0:0:1.0 1:1:1.0 2:2:1.0",
        "0:0:1.0 1:1:1.0 2:2:1.0 3:2:9.0",
    );
}

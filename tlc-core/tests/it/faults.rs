//! Every request of every operation fails once, before it acts or with its answer lost; afterwards
//! nothing is lost and nothing half-visible.

use std::sync::Arc;

use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{ErrorKind, Project, Result, block_on, schema};

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

//! Plans as bytes: what they give when they come back, and bytes that are no plans.

use std::sync::Arc;

use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use tlc_core::arrow::array::{ArrayRef, FixedSizeListArray, Int32Array, RecordBatch};
use tlc_core::arrow::datatypes::Float32Type;
use tlc_core::sql::{PlanCodec, SqlOptions};
use tlc_core::{ErrorKind, Project, Root, Rows, Sql, block_on};

use crate::sql::{root, zoo};
use crate::support::text;

const QUERIES: [&str; 34] = [
    "SELECT * FROM zoo.train",
    "SELECT * FROM zoo.\"train@0\" LIMIT 3",
    "SELECT name FROM zoo.train WHERE animal = 1 AND _rowid < 5",
    "SELECT name, label_name(animal) FROM zoo.train WHERE label_name(animal) IN ('cat', 'bird')",
    "SELECT count(*) FROM zoo.train",
    "SELECT animal, count(*), avg(weight) FROM zoo.train GROUP BY animal HAVING count(*) > 1",
    "SELECT _rowid FROM zoo.train ORDER BY _rowid DESC LIMIT 2",
    "SELECT t.name, s.run, s.loss FROM zoo.samples s JOIN zoo.train t ON t._rowid = s._rowid WHERE s.stream = 'val' AND s.epoch = 1",
    "SELECT a.name FROM zoo.train a WHERE a._rowid IN (SELECT _rowid FROM zoo.samples WHERE loss > 0.4)",
    "SELECT run, max(value) FROM zoo.scalars GROUP BY run",
    "SELECT name, status, parameters['lr'] FROM zoo.runs",
    "SELECT run, name, value FROM zoo.params",
    "SELECT \"table\", revision, message FROM zoo.revisions WHERE \"table\" = 'train'",
    "SELECT * FROM diff('zoo/train', 0, 2) WHERE change = 'cell'",
    "SELECT _rowid, revision FROM blame('zoo/train', 'animal')",
    "SELECT _rowid, message FROM blame('zoo/train', 'animal', 1) WHERE revision = 1",
    "SELECT kind, name, run, first, other FROM compare('zoo/first', 'second') WHERE kind = 'param'",
    "SELECT samples, first FROM compare_classes('zoo/first', 'second', 'val')",
    "SELECT s._rowid, s.first, s.other FROM compare_samples('zoo/fifth', 'sixth', 'val', 2) s",
    "SELECT epoch, mean, count FROM epoch_means('zoo/first', 'val', 'loss') WHERE epoch > 0",
    "SELECT t.name, w.mean FROM top_samples('zoo/first,second', 'train', 'loss', 2, 'lowest') w JOIN zoo.train t ON t._rowid = w._rowid",
    "SELECT label, predicted, count FROM confusion('zoo/second', 'val', 1, 'animal', 'correct')",
    "SELECT _rowid, flips FROM flips('zoo/third', 'val')",
    "SELECT * FROM forgotten('zoo/third', 'val', 5, 'label')",
    "SELECT * FROM embeddings('zoo/third', 'val', 1)",
    "SELECT _rowid, suggested FROM label_issues('zoo/fourth', 'val', 1, 5)",
    "SELECT label, count, rate FROM label_noise('zoo/fourth', 'val', 1, 'label', 'probabilities')",
    "SELECT _rowid, score FROM area_under_margin('zoo/fourth', 'val', 3, 'none', 'probabilities') WHERE score < 0",
    "SELECT _rowid, mean FROM loss_trend('zoo/fourth', 'val', 'all', 'loss')",
    "SELECT * FROM near_duplicates('zoo/fourth', 'val', 1)",
    "SELECT * FROM nearest('zoo/fourth', 'val', 1, '3, 4', 2)",
    "SELECT o._rowid FROM outliers('zoo/fourth', 'val', 0, 'all', 'embedding') o WHERE o.distance > 100",
    "SELECT a._rowid FROM zoo.train a JOIN zoo.\"train@0\" b ON a._rowid = b._rowid AND a.animal <> b.animal",
    "SELECT name FROM zoo.train WHERE name LIKE '%a%' UNION ALL SELECT name FROM zoo.\"Odd-Name\"",
];

/// Rows as lines, in no order.
fn sorted(rows: &[RecordBatch]) -> Vec<String> {
    let lines = rows.iter().map(text);
    let mut lines: Vec<String> = lines
        .flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

/// A run of which one sample is forgotten and one learned, with vectors.
fn log_classes(project: &Project) {
    let run = project.start_run("third").unwrap();
    for (epoch, predicted) in [(0, vec![2, 0]), (1, vec![1, 1])] {
        let rows = Rows::new("val", epoch, vec![4_u64, 5]).unwrap();
        let vectors = [Some([Some(0.5), None]), None];
        let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
        let columns: [(&str, ArrayRef); 3] = [
            ("predicted", Arc::new(Int32Array::from(predicted))),
            ("label", Arc::new(Int32Array::from(vec![2, 1]))),
            ("embedding", Arc::new(vectors)),
        ];
        run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
            .unwrap();
    }
    run.finish().unwrap();
}

/// Two runs of which two samples became better.
fn log_losses(project: &Project) {
    for (name, losses) in [("fifth", vec![2, 2, 2]), ("sixth", vec![1, 2, 1])] {
        let run = project.start_run(name).unwrap();
        let rows = Rows::new("val", 1, vec![0_u64, 1, 2]).unwrap();
        let losses: ArrayRef = Arc::new(Int32Array::from(losses));
        run.samples(
            &rows,
            &RecordBatch::try_from_iter([("loss", losses)]).unwrap(),
        )
        .unwrap();
        run.finish().unwrap();
    }
}

/// A run of which one sample has a wrong label, two are the same and one is far away.
fn log_doubts(project: &Project) {
    let run = project.start_run("fourth").unwrap();
    let lists = |of: fn(u8) -> [f32; 2]| -> ArrayRef {
        let rows = (0..12).map(|row| Some(of(row).map(Some)));
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, 2))
    };
    for epoch in 0..2 {
        let rows = Rows::new("val", epoch, (0..12).collect::<Vec<u64>>()).unwrap();
        let labels = (0..12).map(|row| if row == 5 { 0 } else { row % 2 });
        let columns: [(&str, ArrayRef); 4] = [
            (
                "probabilities",
                lists(|row| if row % 2 == 0 { [0.9, 0.1] } else { [0.1, 0.9] }),
            ),
            ("label", Arc::new(Int32Array::from_iter_values(labels))),
            ("loss", Arc::new(Int32Array::from(vec![1; 12]))),
            (
                "embedding",
                lists(|row| {
                    [
                        if row == 0 {
                            -500.0
                        } else {
                            f32::from(row.min(10))
                        },
                        0.0,
                    ]
                }),
            ),
        ];
        run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
            .unwrap();
    }
    run.finish().unwrap();
}

fn context(root: &Root, partitions: usize) -> SessionContext {
    let options = SqlOptions::new().partitions(partitions);
    block_on(Sql::open_with(root, options)).unwrap().context()
}

/// The bytes of both plans of a query.
fn encoded(root: &Root, query: &str) -> (Vec<u8>, Vec<u8>) {
    let (codec, context) = (PlanCodec::new(root), context(root, 3));
    block_on(async {
        let state = context.state();
        let plan = state.create_logical_plan(query).await.unwrap();
        let logical = codec
            .encode_logical(&state.optimize(&plan).unwrap())
            .unwrap();
        let plan = state.create_physical_plan(&plan).await.unwrap();
        (
            logical.to_vec(),
            codec.encode_physical(plan).unwrap().to_vec(),
        )
    })
}

#[test]
fn a_plan_that_comes_back_from_bytes_gives_the_same_rows() {
    let root = root("memory:///");
    let project = zoo(&root);
    log_classes(&project);
    log_doubts(&project);
    log_losses(&project);
    let codec = PlanCodec::new(&root);
    for query in QUERIES {
        let context = context(&root, 2);
        let expected = block_on(async { context.sql(query).await?.collect().await }).unwrap();
        let expected = sorted(&expected);
        assert!(!expected.is_empty(), "{query}");
        let (logical, physical) = encoded(&root, query);
        let rows = block_on(async {
            let plan = codec.decode_logical(&logical, &context.task_ctx()).unwrap();
            context.execute_logical_plan(plan).await?.collect().await
        });
        assert_eq!(sorted(&rows.unwrap()), expected, "{query}");
        let rows = block_on(async {
            let plan = codec
                .decode_physical(&physical, &context.task_ctx())
                .unwrap();
            let again = codec.encode_physical(plan).unwrap();
            let plan = codec.decode_physical(&again, &context.task_ctx()).unwrap();
            collect(plan, context.task_ctx()).await
        });
        assert_eq!(sorted(&rows.unwrap()), expected, "{query}");
    }
}

#[test]
fn a_plan_stays_with_the_revision_it_was_made_for_and_names_no_place() {
    let root = root("memory:///");
    let project = zoo(&root);
    let (codec, context) = (PlanCodec::new(&root), context(&root, 1));
    let (logical, physical) = encoded(&root, "SELECT name FROM zoo.train WHERE animal = 2");
    let train = block_on(project.table("train")).unwrap();
    let mut patch = block_on(train.head()).unwrap().patch();
    patch.set(0, "animal", 2).unwrap();
    block_on(train.commit(&patch, "later")).unwrap();
    for bytes in [&logical, &physical] {
        assert!(
            !String::from_utf8_lossy(bytes).contains("memory:"),
            "the root's URL is in a plan"
        );
    }
    let rows = block_on(async {
        let plan = codec
            .decode_physical(&physical, &context.task_ctx())
            .unwrap();
        collect(plan, context.task_ctx()).await
    });
    assert_eq!(sorted(&rows.unwrap()), ["b", "c"]);
    let elsewhere = PlanCodec::new(&crate::sql::root("memory:///"));
    let plan = elsewhere
        .decode_physical(&physical, &context.task_ctx())
        .unwrap();
    let err = block_on(collect(plan, context.task_ctx())).unwrap_err();
    assert_eq!(tlc_core::Error::from(err).kind(), ErrorKind::NotFound);
}

#[test]
fn bytes_that_are_no_plan_are_refused() {
    let root = root("memory:///");
    zoo(&root);
    let (codec, context) = (PlanCodec::new(&root), context(&root, 1));
    let task = context.task_ctx();
    for bytes in [&b"no plan"[..], &[0xff; 4_000], b"{\"project\":\"zoo\"}"] {
        let err = codec.decode_physical(bytes, &task).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        let err = codec.decode_logical(bytes, &task).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
    }
    // Whatever one wrong byte makes of a plan, the answer is a plan or an error.
    for query in [QUERIES[2], QUERIES[7]] {
        let (logical, physical) = encoded(&root, query);
        for at in 0..physical.len().max(logical.len()) {
            for wrong in [0, 0x7f, 0xff] {
                let mut bytes = physical.clone();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= wrong;
                }
                drop(codec.decode_physical(&bytes, &task));
                drop(codec.decode_physical(physical.get(..at).unwrap_or_default(), &task));
                let mut bytes = logical.clone();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= wrong;
                }
                drop(codec.decode_logical(&bytes, &task));
            }
        }
    }
}

#[test]
fn a_plan_that_writes_or_reads_other_files_is_refused() {
    let root = root("memory:///");
    zoo(&root);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let path = path.to_str().unwrap();
    let (codec, context) = (PlanCodec::new(&root), context(&root, 1));
    let copy = format!("COPY (SELECT name FROM zoo.train) TO '{path}' STORED AS PARQUET");
    let plan = block_on(context.state().create_logical_plan(&copy)).unwrap();
    let bytes = codec.encode_logical(&plan).unwrap();
    assert_eq!(
        codec
            .decode_logical(&bytes, &context.task_ctx())
            .unwrap_err()
            .kind(),
        ErrorKind::Invalid
    );
    let plan = block_on(context.state().create_physical_plan(&plan)).unwrap();
    let bytes = codec.encode_physical(plan).unwrap();
    let err = codec
        .decode_physical(&bytes, &context.task_ctx())
        .unwrap_err();
    assert!(err.to_string().contains("writes"), "{err:#}");
    block_on(async { context.sql(&copy).await?.collect().await }).unwrap();
    let read =
        block_on(context.read_parquet(path, datafusion::prelude::ParquetReadOptions::default()))
            .unwrap();
    let bytes = codec.encode_logical(read.logical_plan()).unwrap();
    assert_eq!(
        codec
            .decode_logical(&bytes, &context.task_ctx())
            .unwrap_err()
            .kind(),
        ErrorKind::Invalid
    );
    let plan = block_on(read.create_physical_plan()).unwrap();
    let bytes = codec.encode_physical(plan).unwrap();
    assert_eq!(
        codec
            .decode_physical(&bytes, &context.task_ctx())
            .unwrap_err()
            .kind(),
        ErrorKind::Invalid
    );
}

//! Burn's training loop, and what it leaves in a run.
#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy takes their helpers for something else"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use burn::data::dataloader::DataLoader as _;
use burn::prelude::{Device, Tensor};
use burn::tensor::{DType, TensorData};
use burn::train::Interrupter;
use burn::train::logger::MetricLogger as _;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, NumericMetricUpdate, Split};
use burn::train::metric::{
    AccuracyMetric, LossMetric, Metric, MetricDefinition, MetricEntry, MetricId, NumericEntry,
    SerializedEntry,
};
use tlc_burn_example::{
    Batch, Recorder, RunLogger, TableLoader, Training, collect, to_data, to_record, train,
};
use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, FixedSizeListArray, Float32Array, Int32Array, RecordBatch,
    RecordBatchIterator, UInt8Array,
};
use tlc_core::arrow::compute::{cast, concat_batches};
use tlc_core::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, UInt64Type};
use tlc_core::testing::{Adapter, adapter_contract};
use tlc_core::{
    Collector, CommitOptions, Error, Loader, Project, Rows, Run, RunStatus, Snapshot, block_on,
    schema,
};

fn project() -> Project {
    block_on(Project::open("memory:///", "demo")).unwrap()
}

/// Images of 28 × 28 × channels: the one bright stripe of each says its class.
fn stripes(project: &Project, name: &str, n_rows: usize, n_channels: usize) -> Snapshot {
    let class = |row: usize| row * 7 % 10;
    let pixel = |row: usize, x: usize| if x / 2 == class(row) + 2 { 255 } else { 0 };
    let pixels = (0..n_rows).flat_map(|row| {
        (0..28 * 28 * n_channels).map(move |position| pixel(row, position / n_channels % 28))
    });
    let pixels = UInt8Array::from_iter_values(pixels);
    let image = schema::tensor("image", DataType::UInt8, &[28, 28, n_channels]);
    let DataType::FixedSizeList(item, length) = image.data_type().clone() else {
        unreachable!("a tensor is a list of one length");
    };
    let classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let fields = vec![
        image,
        schema::label("label", classes),
        schema::weight("weight"),
    ];
    let label = (0..n_rows).map(|row| i32::try_from(class(row)).unwrap());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeListArray::new(
            item,
            length,
            Arc::new(pixels),
            None,
        )),
        Arc::new(Int32Array::from_iter_values(label)),
        Arc::new(Float32Array::from_value(1.0, n_rows)),
    ];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let schema = rows.schema();
    let rows = RecordBatchIterator::new([Ok(rows)], schema);
    let table = project.create_table(name, rows, CommitOptions::new("import"));
    block_on(block_on(table).unwrap().head()).unwrap()
}

fn options() -> Training {
    Training {
        seed: 1,
        epochs: 2,
        digits: 90,
        batch: 20,
        lr: 0.01,
    }
}

/// The points of a scalar: step and value, in the order of the steps.
fn points(project: &Project, run: &str, name: &str) -> Vec<(i64, f64)> {
    let mut points = Vec::new();
    for batch in block_on(project.scalars(&run.parse().unwrap())).unwrap() {
        let names = cast(batch.column_by_name("name").unwrap(), &DataType::Utf8).unwrap();
        let steps = batch["step"].as_primitive::<Int64Type>();
        let values = batch["value"].as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            if names.as_string::<i32>().value(row) == name {
                points.push((steps.value(row), values.value(row)));
            }
        }
    }
    points.sort_by_key(|(step, _)| *step);
    points
}

/// The sample metrics of an epoch.
fn samples(project: &Project, stream: &str, epoch: i64) -> RecordBatch {
    let (run, stream) = ("r".parse().unwrap(), stream.parse().unwrap());
    let batches = block_on(project.samples(&run, &stream, epoch)).unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn mean(batch: &RecordBatch, column: &str) -> f64 {
    let column = cast(&batch[column], &DataType::Float32).unwrap();
    let column = cast(&column, &DataType::Float64).unwrap();
    let values = column.as_primitive::<Float64Type>();
    values.iter().flatten().sum::<f64>() / values.len() as f64
}

#[test]
fn a_training_leaves_burns_metrics_and_each_sample_in_the_run() {
    let project = project();
    let (rows, held_out) = (
        stripes(&project, "train", 100, 1),
        stripes(&project, "valid", 30, 1),
    );
    let lines = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&lines);
    let say = move |line: &str| said.lock().unwrap().push(line.to_owned());
    let record = train(&project, "r", [&rows, &held_out], &options(), say).unwrap();

    assert_eq!(record.status, RunStatus::Completed);
    assert_eq!(record.inputs.len(), 2);
    assert_eq!(record.params["digits"], "90");
    assert_eq!(record.last["progress"], 1.0);
    let batches = points(&project, "r", "train/batch/loss");
    let steps: Vec<i64> = batches.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (0..10).collect::<Vec<_>>());
    assert_eq!(points(&project, "r", "valid/batch/accuracy").len(), 2);

    for (stream, n_rows) in [("train", 90), ("valid", 30)] {
        let (losses, accuracies) = (
            points(&project, "r", &format!("{stream}/loss")),
            points(&project, "r", &format!("{stream}/accuracy")),
        );
        for epoch in [0, 1] {
            let samples = samples(&project, stream, i64::from(epoch));
            let ids = samples["_rowid"].as_primitive::<UInt64Type>().values();
            let ids: BTreeSet<u64> = ids.iter().copied().collect();
            assert_eq!((samples.num_rows(), ids.len()), (n_rows, n_rows));
            // What Burn makes of all samples together is the mean of what each of them is.
            let at = usize::try_from(epoch).unwrap();
            for (found, column) in [(&losses, "loss"), (&accuracies, "correct")] {
                let (step, value) = found[at];
                assert_eq!(step, i64::from(epoch));
                let expected = mean(&samples, column);
                assert!((value - expected).abs() < 1e-4, "{value} {expected}");
            }
        }
        assert!(losses[1].1 < losses[0].1, "{losses:?}");
    }
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 2);
    let expected = format!("valid/accuracy {:.4}", record.last["valid/accuracy"]);
    assert!(lines[1].contains(&expected), "{lines:?}");
}

#[test]
fn rows_that_cannot_be_read_stop_the_training_and_fail_the_run() {
    let project = project();
    let coloured = stripes(&project, "train", 20, 3);
    let err = train(&project, "r", [&coloured, &coloured], &options(), |_| {}).unwrap_err();
    assert!(err.to_string().contains("not grey"), "{err}");
    let record = block_on(project.run("r")).unwrap();
    assert_eq!(record.status, RunStatus::Failed);
}

/// A run, and a loader of ten rows in batches of four.
fn loader() -> (Project, Interrupter, TableLoader) {
    let project = project();
    let rows = stripes(&project, "train", 10, 1);
    let run = Arc::new(project.start_run("r").unwrap());
    let interrupter = Interrupter::new();
    let recorder = Recorder {
        run: Arc::clone(&run),
        interrupter: interrupter.clone(),
    };
    let loader = Loader::new(&rows).batch_size(4).run(&run, "train").unwrap();
    let loader = TableLoader::new(loader, recorder, Device::default()).unwrap();
    (project, interrupter, loader)
}

fn labels(batch: &Batch) -> Vec<i64> {
    let labels = batch.labels.clone().into_data().convert::<i64>();
    labels.try_to_vec().unwrap()
}

#[test]
fn a_loader_gives_rows_as_burn_asks_for_them() {
    let (project, _, loader) = loader();
    let mut batches = loader.iter();
    let first = batches.next().unwrap().unwrap();
    assert_eq!(first.images.dims(), [4, 1, 28, 28]);
    let brightest: f32 = first.images.clone().max().into_scalar();
    assert_eq!(brightest, 1.0);
    assert_eq!(labels(&first), [0, 7, 4, 1]);
    let progress = batches.progress();
    assert_eq!((progress.items_processed, progress.items_total), (4, 10));
    assert_eq!(
        batches
            .map(|batch| labels(&batch.unwrap()).len())
            .sum::<usize>(),
        6
    );

    let part = loader.to_device(&Device::default()).slice(3, 9);
    assert_eq!(part.num_items(), 6);
    let mut parts = Vec::new();
    for batch in part.iter() {
        let batch = batch.unwrap();
        let labels = labels(&batch);
        batch.record(&Tensor::zeros([labels.len(), 10], &Device::default()));
        parts.push(labels);
    }
    assert_eq!(parts, [vec![1], vec![8, 5, 2, 9], vec![6]]);
    let smaller = part.slice(1, 2);
    let parts: Vec<Vec<i64>> = smaller
        .iter()
        .map(|batch| labels(&batch.unwrap()))
        .collect();
    assert_eq!(parts, [vec![8]]);

    // The second epoch that was begun, of which only that part was recorded.
    drop((first, loader, part, smaller));
    let samples = samples(&project, "train", 1);
    let ids = samples["_rowid"].as_primitive::<UInt64Type>().values();
    assert_eq!(ids[..], [3, 4, 5, 6, 7, 8]);
}

#[test]
fn what_cannot_be_recorded_stops_the_training() {
    let (_project, interrupter, loader) = loader();
    let batch = loader.iter().next().unwrap().unwrap();
    let logits = |n| Tensor::<2>::zeros([n, 10], &Device::default());
    batch.record(&logits(4));
    assert!(!interrupter.should_stop());
    batch.record(&logits(3));
    let reason = interrupter.get_message().unwrap();
    assert!(reason.contains("\"logits\" of shape [3, 10]"), "{reason}");
}

/// A metric's values in one update.
fn update<M: Metric>(metric: &M, entries: &[Option<NumericEntry>]) -> MetricsUpdate {
    let id = MetricId::new(metric.name());
    let text = SerializedEntry::new(String::new(), String::new());
    let of = |entry: &Option<NumericEntry>| {
        let named = MetricEntry::new(id.clone(), text.clone());
        NumericMetricUpdate::new(named, entry.clone(), None)
    };
    MetricsUpdate::new(Vec::new(), entries.iter().map(of).collect())
}

#[test]
fn an_epoch_is_what_burn_says_it_is_or_the_mean_of_its_batches() {
    let project = project();
    let run = Arc::new(project.start_run("r").unwrap());
    let mut logger = RunLogger::new(Arc::clone(&run));
    let (loss, accuracy) = (LossMetric::new(), AccuracyMetric::new());
    logger.log_metric_definition(MetricDefinition::new(MetricId::new(loss.name()), &loss));
    let definition = MetricDefinition::new(MetricId::new(accuracy.name()), &accuracy);
    logger.log_metric_definition(definition);
    let weighted = |aggregated_value, count| {
        Some(NumericEntry::Aggregated {
            aggregated_value,
            count,
        })
    };
    let split = Split::Valid;
    for entry in [weighted(1.0, 30), weighted(5.0, 10), None] {
        logger.log(update(&loss, &[entry]), 1, &split);
    }
    logger.log(update(&accuracy, &[weighted(50.0, 4)]), 1, &split);
    logger.log(
        update(&accuracy, &[Some(NumericEntry::Final(75.0))]),
        1,
        &split,
    );
    logger.log_epoch_summary(EpochSummary::new(1, split.clone()));
    let tagged = Split::Test(Some(Arc::new("hard".to_owned())));
    logger.log(
        update(&loss, &[Some(NumericEntry::Value(f64::NAN))]),
        1,
        &tagged,
    );

    let value = |entries: Vec<NumericEntry>| entries.first().map(NumericEntry::current);
    assert_eq!(
        value(logger.read_numeric("Loss", 1, &split).unwrap()),
        Some(2.0)
    );
    assert_eq!(
        value(logger.read_numeric("Accuracy", 1, &split).unwrap()),
        Some(75.0)
    );
    for (name, epoch, split) in [
        ("Loss", 2, &split),
        ("Loss", 1, &Split::Train),
        ("Other", 1, &split),
    ] {
        assert!(logger.read_numeric(name, epoch, split).unwrap().is_empty());
    }
    drop(logger);
    Arc::into_inner(run).unwrap().finish().unwrap();
    let points = |name| points(&project, "r", name);
    assert_eq!(points("valid/batch/loss"), [(0, 1.0), (1, 5.0)]);
    assert_eq!(points("valid/batch/accuracy"), [(2, 0.5)]);
    assert_eq!(points("valid/loss"), [(0, 2.0)]);
    assert_eq!(points("valid/accuracy"), [(0, 0.75)]);
    assert!(points("test/hard/batch/loss")[0].1.is_nan());
}

/// The adapter of this example, as the contract of all adapters calls it.
struct Burn;

impl Adapter for Burn {
    type Tensor = TensorData;

    fn to_tensor(&self, field: &Field, values: &ArrayRef) -> Result<TensorData, Error> {
        to_data(field, values)
    }

    fn to_record(&self, tensors: &[(&str, &TensorData)]) -> Result<RecordBatch, Error> {
        to_record(tensors)
    }

    fn transposed(&self, tensor: &TensorData) -> Result<TensorData, Error> {
        let tensor = Tensor::<3>::from_data(tensor.clone(), &Device::default());
        Ok(tensor.swap_dims(0, 1).into_data())
    }

    fn log(&self, run: &Run, rows: &Rows, tensors: &[(&str, &TensorData)]) -> Result<(), Error> {
        let as_it_is = |outputs: &RecordBatch| Ok(outputs.clone());
        let as_it_is: &dyn Collector = &as_it_is;
        collect(run, rows, as_it_is, tensors)
    }
}

#[test]
fn the_contract_of_adapters_is_kept() {
    adapter_contract(&Burn).unwrap();
}

#[test]
fn what_burn_stores_otherwise_becomes_what_arrow_has() {
    let data = TensorData::new(vec![1.0_f32, -2.0], [2]);
    for dtype in [DType::F16, DType::BF16, DType::Flex32] {
        let data = data.clone().convert_dtype(dtype);
        let record = to_record(&[("x", &data)]).unwrap();
        let expected = Float32Array::from(vec![1.0, -2.0]);
        assert_eq!(record.column(0).as_ref(), &expected, "{dtype:?}");
    }
    let device = Device::default();
    let truths = Tensor::<1>::from_data(data, &device).greater_scalar(0.0);
    let record = to_record(&[("x", &truths.into_data())]).unwrap();
    let truths = record.column(0).as_boolean();
    assert!(truths.value(0) && !truths.value(1));
}

//! Tensors out of tables, tensors into runs, and a training loop around both.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::loss::cross_entropy;
use candle_nn::{Module as _, Optimizer as _, SGD, VarBuilder, VarMap, linear, seq};
use tlc_candle::{
    Batch, Epoch, Loader, ModelExt as _, RunExt as _, Taps, to_arrow, to_record, to_tensor,
};
use tlc_core::arrow::array::{
    Array as _, ArrayRef, BooleanArray, FixedSizeListArray, Float16Array, Float32Array,
    Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch, RecordBatchIterator, StringArray,
    UInt8Array, UInt16Array, UInt64Array,
};
use tlc_core::arrow::compute::cast;
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::collect::{Classification, CollectorExt as _, Embedding};
use tlc_core::loader::Weighted;
use tlc_core::schema::{self, Role};
use tlc_core::testing::{Adapter, adapter_contract};
use tlc_core::{
    ArtifactSource, Collector as _, CommitOptions, Error, ErrorKind, Project, PutOptions, Rows,
    Run, RunStatus, Snapshot, block_on,
};

const CPU: Device = Device::Cpu;

fn snapshot(project: &Project, fields: Vec<Field>, columns: Vec<ArrayRef>) -> Snapshot {
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let schema = rows.schema();
    let reader = RecordBatchIterator::new([Ok(rows)], schema);
    let table =
        block_on(project.create_table("train", reader, CommitOptions::new("import"))).unwrap();
    block_on(table.head()).unwrap()
}

fn project() -> Project {
    block_on(Project::open("memory:///", "demo")).unwrap()
}

/// The only batch of a table of one column.
fn batch_of(field: Field, values: ArrayRef) -> Batch {
    let snapshot = snapshot(&project(), vec![field], vec![values]);
    Loader::new(&snapshot, &CPU)
        .batch_size(100)
        .epoch(0)
        .next()
        .unwrap()
        .unwrap()
}

/// Type, shape and values of a tensor as text.
fn text(tensor: &Tensor) -> String {
    let values = tensor
        .flatten_all()
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    format!("{} {:?} {values:?}", tensor.dtype().as_str(), tensor.dims())
}

fn lists(items: ArrayRef, length: i32) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(item, length, items, None))
}

#[test]
fn a_column_becomes_the_tensor_that_a_model_expects() {
    let check = |values: ArrayRef, expected: &str| {
        let field = Field::new("x", values.data_type().clone(), true);
        assert_eq!(text(&to_tensor(&field, &values, &CPU).unwrap()), expected);
    };
    let halves = cast(&Float32Array::from(vec![0.5, 2.0]), &DataType::Float16).unwrap();
    assert!(halves.as_any().is::<Float16Array>());
    check(halves, "f16 [2] [0.5, 2.0]");
    check(
        Arc::new(Float32Array::from(vec![0.5, 2.0])),
        "f32 [2] [0.5, 2.0]",
    );
    check(Arc::new(Float64Array::from(vec![0.1])), "f64 [1] [0.1]");
    check(
        Arc::new(BooleanArray::from(vec![true, false])),
        "u8 [2] [1.0, 0.0]",
    );
    check(Arc::new(UInt8Array::from(vec![255])), "u8 [1] [255.0]");
    check(Arc::new(UInt16Array::from(vec![7])), "u32 [1] [7.0]");
    check(Arc::new(Int8Array::from(vec![-1])), "i64 [1] [-1.0]");
    check(
        Arc::new(Int32Array::from(vec![-1, 5])),
        "i64 [2] [-1.0, 5.0]",
    );
    check(Arc::new(UInt64Array::from(vec![5])), "i64 [1] [5.0]");
    check(
        lists(Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0])), 2),
        "f32 [2, 2] [1.0, 2.0, 3.0, 4.0]",
    );
    let sliced = lists(Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0])), 2).slice(1, 1);
    check(sliced, "f32 [1, 2] [3.0, 4.0]");
}

#[test]
fn a_fixed_shape_is_the_shape_of_the_tensor() {
    let field = schema::tensor("x", DataType::UInt8, &[2, 1, 3]);
    let values = lists(Arc::new(UInt8Array::from_iter_values(0..12)), 6);
    let tensor = to_tensor(&field, &values, &CPU).unwrap();
    assert_eq!(tensor.dims(), [2, 2, 1, 3]);
}

#[test]
fn what_makes_no_tensor_is_named() {
    let check = |field: Field, values: ArrayRef, expected: &str| {
        let err = batch_of(field, values).tensor("x").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains(expected), "{err:#}");
    };
    let column = |data_type| Field::new("x", data_type, true);
    check(
        column(DataType::Utf8),
        Arc::new(StringArray::from(vec!["a"])),
        "\"x\" of type Utf8",
    );
    check(
        column(DataType::Int32),
        Arc::new(Int32Array::from(vec![Some(1), None])),
        "row 1 has no value",
    );
    check(
        schema::label("x", ["a"]),
        Arc::new(Int32Array::from(vec![0, -1])),
        "\"x\" holds a value",
    );
    check(
        column(DataType::UInt64),
        Arc::new(UInt64Array::from(vec![u64::MAX])),
        "\"x\" holds a value",
    );
    let err = batch_of(column(DataType::Int32), Arc::new(Int32Array::from(vec![1])))
        .tensor("y")
        .unwrap_err();
    assert_eq!(
        err.to_string(),
        "the batch has no column \"y\"; its columns are x"
    );
    assert_eq!(err.kind(), ErrorKind::NotFound);
}

#[test]
fn labels_are_what_cross_entropy_takes_and_null_weights_are_one() {
    let label = batch_of(
        schema::label("x", ["a", "b"]),
        Arc::new(Int32Array::from(vec![1, 0])),
    );
    assert_eq!(text(&label.tensor("x").unwrap()), "u32 [2] [1.0, 0.0]");
    let weight = batch_of(
        schema::weight("x"),
        Arc::new(Float32Array::from(vec![Some(0.5), None])),
    );
    assert_eq!(text(&weight.tensor("x").unwrap()), "f32 [2] [0.5, 1.0]");
}

#[test]
fn images_are_scaled_and_their_channels_come_first() {
    let field = schema::with_role(
        schema::tensor("x", DataType::UInt8, &[1, 2, 3]),
        Role::Image,
    );
    let batch = batch_of(
        field,
        lists(
            Arc::new(UInt8Array::from(vec![0, 51, 102, 153, 204, 255])),
            6,
        ),
    );
    assert_eq!(
        text(&batch.tensor("x").unwrap()),
        "u8 [1, 1, 2, 3] [0.0, 51.0, 102.0, 153.0, 204.0, 255.0]"
    );
    let image = batch.image("x").unwrap();
    assert_eq!(
        (image.dtype(), image.dims()),
        (DType::F32, &[1, 3, 1, 2][..])
    );
    let values = image.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (found, expected) in values.iter().zip([0.0, 0.6, 0.2, 0.8, 0.4, 1.0]) {
        assert!((found - expected).abs() < 1e-6, "{values:?}");
    }
    let grey = batch_of(
        schema::tensor("x", DataType::UInt8, &[2, 1, 1]),
        lists(Arc::new(UInt8Array::from(vec![0, 255])), 2),
    );
    assert_eq!(
        text(&grey.image("x").unwrap()),
        "f32 [1, 1, 2, 1] [0.0, 1.0]"
    );
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    for (field, values) in [
        (schema::weight("x"), Arc::clone(&floats)),
        (
            schema::tensor("x", DataType::Float32, &[1, 1, 1]),
            lists(floats, 1),
        ),
    ] {
        let err = batch_of(field, values).image("x").unwrap_err();
        assert!(err.to_string().contains("no images"), "{err}");
    }
}

/// This crate, as the contract of all adapters calls it.
struct Candle;

impl Adapter for Candle {
    type Tensor = Tensor;

    fn to_tensor(&self, field: &Field, values: &ArrayRef) -> Result<Tensor, Error> {
        to_tensor(field, values, &CPU)
    }

    fn to_record(&self, tensors: &[(&str, &Tensor)]) -> Result<RecordBatch, Error> {
        to_record(tensors)
    }

    fn transposed(&self, tensor: &Tensor) -> Result<Tensor, Error> {
        Ok(tensor.transpose(0, 1).unwrap())
    }

    fn log(&self, run: &Run, rows: &Rows, tensors: &[(&str, &Tensor)]) -> Result<(), Error> {
        run.sample_tensors(rows, tensors)
    }
}

#[test]
fn the_contract_of_adapters_is_kept() {
    adapter_contract(&Candle).unwrap();
}

#[test]
fn half_floats_widen_and_small_integers_stay() {
    let tensor = Tensor::new(&[1_f32, -2.0], &CPU).unwrap();
    let check = |dtype, expected| {
        let array = to_arrow(&tensor.to_dtype(dtype).unwrap()).unwrap();
        assert_eq!(array.data_type(), &expected);
        assert_eq!(
            cast(&array, &DataType::Float64).unwrap().as_ref(),
            &Float64Array::from(vec![1.0, -2.0])
        );
    };
    check(DType::F16, DataType::Float32);
    check(DType::BF16, DataType::Float32);
    check(DType::I16, DataType::Int16);
    check(DType::I32, DataType::Int32);
}

#[test]
fn a_tensor_that_is_no_column_is_named() {
    let scalar = Tensor::new(1_f32, &CPU).unwrap();
    let err = format!("{:#}", to_record(&[("loss", &scalar)]).unwrap_err());
    assert!(
        err.contains("\"loss\"") && err.contains("no dimension"),
        "{err}"
    );
}

#[test]
fn the_loader_is_built_as_in_the_core() {
    let x: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let weight: ArrayRef = Arc::new(Float32Array::from_iter_values(
        (0..10_u8).map(|n| f32::from(n % 2)),
    ));
    let project = project();
    let fields = vec![Field::new("x", DataType::Int64, true), schema::weight("w")];
    let snapshot = snapshot(&project, fields, vec![x, weight]);
    let run = project.start_run("r").unwrap();
    let loader = Loader::new(&snapshot, &CPU)
        .columns(["x"])
        .unwrap()
        .batch_size(2)
        .cache_bytes_max(0);
    let loader = loader.shuffle(1).drop_last().run(&run, "val").unwrap();
    assert_eq!(
        (loader.n_samples().unwrap(), loader.n_batches().unwrap()),
        (5, 2)
    );
    let batches: Vec<Batch> = loader.epoch(1).collect::<Result<_, _>>().unwrap();
    for batch in &batches {
        let ids: Vec<i64> = batch
            .rows
            .row_ids
            .values()
            .iter()
            .map(|row_id| row_id.cast_signed())
            .collect();
        assert_eq!(batch.tensor("x").unwrap().to_vec1::<i64>().unwrap(), ids);
        assert_eq!(batch.rows.stream.as_str(), "val");
    }
    assert_eq!(
        batches
            .iter()
            .map(|batch| batch.rows.step)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    let row_ids = |epoch: Epoch| -> Vec<u64> {
        epoch
            .flat_map(|batch| batch.unwrap().rows.row_ids.values().to_vec())
            .collect()
    };
    let whole = row_ids(loader.epoch(1));
    assert_eq!(row_ids(loader.epoch_from(1, 1)), whole[2..]);
    let two = loader.clone().weighted(Weighted::WithoutReplacement {
        seed: 3,
        size: Some(2),
    });
    let drawn = row_ids(two.epoch(0));
    assert!(drawn.len() == 2 && drawn[0] != drawn[1], "{drawn:?}");
    assert_eq!((two.n_samples().unwrap(), two.n_batches().unwrap()), (2, 1));
    assert_eq!(two.n_batches_in(4).unwrap(), 1);
    let drawn: Vec<u64> = loader
        .weighted(3)
        .epoch(0)
        .flat_map(|batch| batch.unwrap().rows.row_ids.values().to_vec())
        .collect();
    assert!(drawn.iter().all(|row| row % 2 == 1), "{drawn:?}");
    assert!(
        drawn.iter().collect::<BTreeSet<_>>().len() < drawn.len(),
        "with replacement: {drawn:?}"
    );
    assert_eq!(
        run.finish().unwrap().inputs,
        [(snapshot.table().name().clone(), snapshot.revision())]
    );
}

#[test]
fn folds_are_those_of_the_core_on_the_loaders_device() {
    let x: ArrayRef = Arc::new(Int64Array::from_iter_values(0..60));
    let snapshot = snapshot(
        &project(),
        vec![Field::new("x", DataType::Int64, true)],
        vec![x],
    );
    let rows = |loader: &Loader| -> Vec<i64> {
        let values = loader.epoch(0).map(|batch| {
            batch
                .unwrap()
                .tensor("x")
                .unwrap()
                .to_vec1::<i64>()
                .unwrap()
        });
        values.flatten().collect()
    };
    let of_core = |loader: &tlc_core::Loader| -> Vec<i64> {
        let rows = loader.epoch(0).map(|batch| batch.unwrap().rows.row_ids);
        let ids = rows.flat_map(|ids| ids.values().to_vec());
        ids.map(u64::cast_signed).collect()
    };
    let loader = Loader::new(&snapshot, &CPU).shuffle(1);
    let core = tlc_core::Loader::new(&snapshot).shuffle(1);
    let folds = loader.folds(3, 5).unwrap();
    assert_eq!(folds.len(), 3);
    for ((train, held_out), core) in folds.zip(core.folds(3, 5).unwrap()) {
        assert_eq!(rows(&train), of_core(&core.0));
        assert_eq!(rows(&held_out), of_core(&core.1));
        assert_eq!(train.n_samples().unwrap() + rows(&held_out).len(), 60);
    }
    let err = loader.folds(1, 5).err().unwrap();
    assert_eq!(err.kind(), ErrorKind::Invalid);
}

/// Points in the plane; class 1 above the line y = x, and one label that is wrong.
fn points(n: u64, wrong: u64) -> (Vec<Field>, Vec<ArrayRef>) {
    let coordinate = |k: u64| ((k * 2_654_435_761 % 1_000) as f32) / 500.0 - 1.0;
    let xy: Vec<f32> = (0..n)
        .flat_map(|row| [coordinate(2 * row + 1), coordinate(3 * row + 2)])
        .collect();
    let label = xy
        .chunks(2)
        .zip(0..)
        .map(|(xy, row)| i32::from((xy[1] > xy[0]) != (row == wrong)));
    let label: ArrayRef = Arc::new(Int32Array::from_iter_values(label));
    let fields = vec![
        schema::tensor("xy", DataType::Float32, &[2]),
        schema::label("side", ["below", "above"]),
    ];
    (
        fields,
        vec![lists(Arc::new(Float32Array::from(xy)), 2), label],
    )
}

#[test]
fn a_training_loop_leaves_its_loss_and_its_samples_in_the_run() -> Result<(), Box<dyn StdError>> {
    const EPOCHS: i64 = 5;
    let project = project();
    let (fields, columns) = points(400, 17);
    let snapshot = snapshot(&project, fields, columns);
    let weights = VarMap::new();
    let model = linear(2, 2, VarBuilder::from_varmap(&weights, DType::F32, &CPU))?;
    let mut optimizer = SGD::new(weights.all_vars(), 1.0)?;
    let mut losses = Vec::new();

    let run = project.start_run("line")?;
    let loader = Loader::new(&snapshot, &CPU)
        .batch_size(32)
        .shuffle(7)
        .run(&run, "train")?;
    for epoch in 0..EPOCHS {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            let label = batch.tensor("side")?;
            let logits = model.forward(&batch.tensor("xy")?)?;
            let loss = cross_entropy(&logits, &label)?;
            optimizer.backward_step(&loss)?;
            sum += loss.to_scalar::<f32>()? * label.dim(0)? as f32;
            run.collect_tensors(
                &batch,
                &Classification,
                &[("logits", &logits), ("label", &label)],
            )?;
        }
        losses.push(f64::from(sum) / 400.0);
    }
    let record = run.finish()?;

    assert!(losses[4] < losses[0] / 1.5, "{losses:?}");
    assert_eq!(record.status, RunStatus::Completed);
    // The core computes the loss of each sample by itself; their mean must be Candle's.
    assert!(
        (record.last["train/loss"] - losses[4]).abs() < 1e-4,
        "{losses:?} {record:?}"
    );
    assert!(record.last["train/accuracy"] > 0.9);
    assert_eq!(
        record.inputs,
        [(snapshot.table().name().clone(), snapshot.revision())]
    );
    assert_eq!(record.streams.len(), 1);
    let epochs: Vec<i64> = block_on(project.sample_files(&"line".parse()?))?
        .iter()
        .map(|file| file.epoch)
        .collect();
    assert!(
        (0..EPOCHS).all(|epoch| epochs.contains(&epoch)),
        "{epochs:?}"
    );
    Ok(())
}

#[test]
fn an_open_tap_keeps_the_last_output_of_its_layer_once_and_without_gradients()
-> Result<(), Box<dyn StdError>> {
    let taps = Taps::default();
    let doubled = taps.layer("doubled", |x: &Tensor| x * 2.0);
    let model = seq().add(doubled).add_fn(|x| x + 1.0);
    let x = |value: f64| Var::from_vec(vec![value; 2], (2, 1), &CPU);

    let (first, last) = (x(1.0)?, x(3.0)?);
    assert_eq!(text(&model.forward(&first)?), "f64 [2, 1] [3.0, 3.0]");
    assert!(taps.output("doubled").is_err(), "closed at first");
    taps.open();
    model.forward(&first)?;
    let loss = model.forward(&last)?.sum_all()?;
    assert!(loss.backward()?.get(&last).is_some());
    let kept = taps.output("doubled")?;
    assert_eq!(text(&kept), "f64 [2, 1] [6.0, 6.0]");
    assert!(kept.sum_all()?.backward()?.get(&last).is_none());

    taps.keep("mine", &first);
    let err = taps.output("doubled").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert_eq!(
        err.to_string(),
        "no output of a layer \"doubled\" is kept, only of [mine]; open the taps before the forward pass"
    );
    taps.close();
    assert!(taps.output("mine").is_err(), "forgotten");
    taps.keep("mine", &first);
    taps.open();
    assert!(taps.output("mine").is_err(), "nothing from before");
    Ok(())
}

#[test]
fn what_a_tap_kept_is_an_embedding_of_each_sample() -> Result<(), Box<dyn StdError>> {
    let (project, taps) = (project(), Taps::default());
    let weights = VarMap::new();
    let weights = VarBuilder::from_varmap(&weights, DType::F32, &CPU);
    let model = seq()
        .add(taps.layer("features", |x: &Tensor| x * 2.0))
        .add(linear(2, 2, weights)?);
    let x = Tensor::new(&[[1_f32, 2.0], [3.0, 4.0]], &CPU)?;
    let label = Tensor::new(&[0_u32, 1], &CPU)?;
    let run = project.start_run("r")?;
    let rows = Rows::new("val", 0, vec![4, 7])?;

    taps.open();
    let logits = model.forward(&x)?;
    let features = taps.output("features")?;
    let outputs = [
        ("logits", &logits),
        ("label", &label),
        ("features", &features),
    ];
    let collector = Classification.and(Embedding::new("features"));
    run.collect_tensors(&rows, &collector, &outputs)?;
    let stream = run.finish()?.streams.remove(0);

    let field = stream.schema.field_with_name("embedding")?;
    assert_eq!(Role::of(field), Some(Role::Embedding));
    let collected = collector.collect(&to_record(&outputs)?)?;
    let column = collected.column_by_name("embedding").ok_or("no column")?;
    let embedding = to_tensor(field, column, &CPU)?;
    assert_eq!(text(&embedding), "f32 [2, 2] [2.0, 4.0, 6.0, 8.0]");
    Ok(())
}

/// A model of one layer, and its variables.
fn model(inputs: usize, outputs: usize) -> Result<(candle_nn::Linear, VarMap), Box<dyn StdError>> {
    let weights = VarMap::new();
    let builder = VarBuilder::from_varmap(&weights, DType::F32, &CPU);
    Ok((linear(inputs, outputs, builder)?, weights))
}

#[test]
fn a_model_is_saved_by_a_run_and_loaded_by_its_alias() -> Result<(), Box<dyn StdError>> {
    let project = project();
    let x = Tensor::new(&[[1_f32, -2.0, 3.0]], &CPU)?;
    let (first, weights) = model(3, 2)?;
    let (second, mut others) = model(3, 2)?;
    let expected = text(&first.forward(&x)?);
    assert_ne!(text(&second.forward(&x)?), expected);

    let run = project.start_run("first")?;
    let put = run.save_model("lenet", &weights, PutOptions::new("trained").alias("best"))?;
    assert_eq!((put.version, put.bytes_stored), (1, put.bytes));
    assert_eq!(
        project.save_model("lenet", &weights, "again")?.bytes_stored,
        0
    );
    assert_eq!(run.load_model("lenet@best", &mut others)?.number(), 1);
    assert_eq!(text(&second.forward(&x)?), expected);
    let tensors = project.load_tensors("lenet", &CPU)?;
    let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    assert_eq!(names, ["bias", "weight"]);
    assert_eq!(tensors["weight"].dims(), [2, 3]);
    let uses = run.finish()?.artifacts;
    let uses: Vec<_> = uses
        .iter()
        .map(|used| (used.version, used.role.as_str()))
        .collect();
    assert_eq!(uses, [(1, "output"), (1, "input")]);
    Ok(())
}

#[test]
fn a_model_that_does_not_fit_is_left_alone() -> Result<(), Box<dyn StdError>> {
    let project = project();
    project.save_model("lenet", &model(3, 2)?.1, "")?;
    let (wide, mut weights) = model(4, 2)?;
    let before = text(wide.weight());
    let err = project.load_model("lenet", &mut weights).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    let expected = "variable weight: it has the shape [2, 4], and in demo/lenet@1 [2, 3]";
    assert_eq!(err.to_string(), expected);
    assert_eq!(text(wide.weight()), before);

    let mut deep = VarMap::new();
    let builder = VarBuilder::from_varmap(&deep, DType::F32, &CPU);
    linear(3, 2, builder.pp("layer"))?;
    let err = project.load_model("lenet", &mut deep).unwrap_err();
    assert!(
        err.to_string().contains("demo/lenet@1 does not have it"),
        "{err}"
    );

    let text_file = ArtifactSource::bytes("notes.txt", b"none".to_vec());
    block_on(project.put_artifact("notes", text_file, ""))?;
    let lie = ArtifactSource::bytes("x.safetensors", b"none".to_vec());
    block_on(project.put_artifact("lie", lie, ""))?;
    for (name, kind) in [
        ("notes", ErrorKind::Invalid),
        ("lie", ErrorKind::Invalid),
        ("lenet@best", ErrorKind::NotFound),
        ("absent", ErrorKind::NotFound),
    ] {
        let err = project.load_tensors(name, &CPU).unwrap_err();
        assert_eq!(err.kind(), kind, "{name}: {err:?}");
    }
    Ok(())
}

//! Tensors out of tables, tensors into runs, and a training loop around both, on every device there is.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::Arc;

use tch::nn::{self, Module as _, OptimizerConfig as _, Sgd, VarStore, linear, seq};
use tch::{Cuda, Device, Kind, Tensor};
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, FixedSizeListArray, Float16Array,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchIterator, StringArray, UInt8Array, UInt16Array, UInt64Array,
};
use tlc_core::arrow::compute::cast;
use tlc_core::arrow::datatypes::{DataType, Field, Float32Type, Schema};
use tlc_core::collect::{Classification, CollectorExt as _, Embedding};
use tlc_core::loader::Weighted;
use tlc_core::schema::{self, Role};
use tlc_core::testing::{Adapter, adapter_contract};
use tlc_core::{
    ArtifactSource, Collector as _, CommitOptions, Error, ErrorKind, Project, PutOptions, Rows,
    Run, RunStatus, Snapshot, block_on,
};
use tlc_tch::{
    Batch, Epoch, Loader, ModelExt as _, RunExt as _, Taps, to_arrow, to_record, to_tensor,
};

const CPU: Device = Device::Cpu;

/// The CPU, and the first GPU where libtorch can use one.
fn devices() -> Vec<Device> {
    let gpu = Cuda::is_available().then_some(Device::Cuda(0));
    [CPU].into_iter().chain(gpu).collect()
}

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
fn batch_of(field: Field, values: ArrayRef, device: Device) -> Batch {
    let snapshot = snapshot(&project(), vec![field], vec![values]);
    Loader::new(&snapshot, device)
        .batch_size(100)
        .epoch(0)
        .next()
        .unwrap()
        .unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.f_flatten(0, -1).unwrap().f_to_device(CPU).unwrap();
    Vec::try_from(flat.f_to_kind(Kind::Double).unwrap()).unwrap()
}

/// Type, shape and values of a tensor as text.
fn text(tensor: &Tensor) -> String {
    let kind = tensor.f_kind().unwrap();
    format!("{kind:?} {:?} {:?}", tensor.size(), numbers(tensor))
}

fn lists(items: ArrayRef, length: i32) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(item, length, items, None))
}

#[test]
fn a_column_becomes_the_tensor_that_a_model_expects() {
    if devices() == [CPU] {
        println!("libtorch sees no GPU here: all of these tests are on the CPU alone");
    }
    let check = |values: ArrayRef, expected: &str| {
        let field = Field::new("x", values.data_type().clone(), true);
        for device in devices() {
            let tensor = to_tensor(&field, &values, device).unwrap();
            assert_eq!(tensor.device(), device);
            assert_eq!(text(&tensor), expected);
        }
    };
    let halves = cast(&Float32Array::from(vec![0.5, 2.0]), &DataType::Float16).unwrap();
    assert!(halves.as_any().is::<Float16Array>());
    check(halves, "Half [2] [0.5, 2.0]");
    check(
        Arc::new(Float32Array::from(vec![0.5, 2.0])),
        "Float [2] [0.5, 2.0]",
    );
    check(Arc::new(Float64Array::from(vec![0.1])), "Double [1] [0.1]");
    check(
        Arc::new(BooleanArray::from(vec![true, false])),
        "Bool [2] [1.0, 0.0]",
    );
    check(Arc::new(UInt8Array::from(vec![255])), "Uint8 [1] [255.0]");
    check(Arc::new(UInt16Array::from(vec![7])), "Int64 [1] [7.0]");
    check(Arc::new(Int8Array::from(vec![-1])), "Int8 [1] [-1.0]");
    check(Arc::new(Int16Array::from(vec![-300])), "Int16 [1] [-300.0]");
    check(
        Arc::new(Int32Array::from(vec![-1, 5])),
        "Int [2] [-1.0, 5.0]",
    );
    check(Arc::new(UInt64Array::from(vec![5])), "Int64 [1] [5.0]");
    check(
        lists(Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0])), 2),
        "Float [2, 2] [1.0, 2.0, 3.0, 4.0]",
    );
    let sliced = lists(Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0])), 2).slice(1, 1);
    check(sliced, "Float [1, 2] [3.0, 4.0]");
    let truths = lists(
        Arc::new(BooleanArray::from(vec![true, false, false, true])),
        2,
    );
    check(truths.slice(1, 1), "Bool [1, 2] [0.0, 1.0]");
}

#[test]
fn a_fixed_shape_is_the_shape_of_the_tensor() {
    let field = schema::tensor("x", DataType::UInt8, &[2, 1, 3]);
    let values = lists(Arc::new(UInt8Array::from_iter_values(0..12)), 6);
    let tensor = to_tensor(&field, &values, CPU).unwrap();
    assert_eq!(tensor.size(), [2, 2, 1, 3]);
}

#[test]
fn what_makes_no_tensor_is_named() {
    let check = |field: Field, values: ArrayRef, expected: &str| {
        let err = batch_of(field, values, CPU).tensor("x").unwrap_err();
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
        Arc::new(Int32Array::from(vec![None, Some(0)])),
        "row 0 has no value",
    );
    check(
        column(DataType::UInt64),
        Arc::new(UInt64Array::from(vec![u64::MAX])),
        "\"x\" holds a value",
    );
    let batch = batch_of(
        column(DataType::Int32),
        Arc::new(Int32Array::from(vec![1])),
        CPU,
    );
    let err = batch.tensor("y").unwrap_err();
    assert_eq!(
        err.to_string(),
        "the batch has no column \"y\"; its columns are x"
    );
    assert_eq!(err.kind(), ErrorKind::NotFound);
}

#[test]
fn a_device_that_is_not_there_is_an_error_and_no_panic() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let field = Field::new("x", DataType::Int64, true);
    let err = to_tensor(&field, &values, Device::Cuda(99)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert_eq!(err.to_string(), "column \"x\" cannot become a tensor");
    assert!(StdError::source(&err).is_some());
}

#[test]
fn labels_are_what_cross_entropy_takes_and_null_weights_are_one() {
    for device in devices() {
        let label = batch_of(
            schema::label("x", ["a", "b"]),
            Arc::new(Int32Array::from(vec![1, 0])),
            device,
        );
        let label = label.tensor("x").unwrap();
        assert_eq!(text(&label), "Int64 [2] [1.0, 0.0]");
        let logits = Tensor::zeros([2, 2], (Kind::Float, device));
        let loss = numbers(&logits.cross_entropy_for_logits(&label));
        assert!((loss[0] - 2_f64.ln()).abs() < 1e-6, "{loss:?}");
        let weight = batch_of(
            schema::weight("x"),
            Arc::new(Float32Array::from(vec![Some(0.5), None])),
            device,
        );
        assert_eq!(text(&weight.tensor("x").unwrap()), "Float [2] [0.5, 1.0]");
    }
}

#[test]
fn images_are_scaled_and_their_channels_come_first() {
    for device in devices() {
        let field = schema::with_role(
            schema::tensor("x", DataType::UInt8, &[1, 2, 3]),
            Role::Image,
        );
        let bytes = UInt8Array::from(vec![0, 51, 102, 153, 204, 255]);
        let batch = batch_of(field, lists(Arc::new(bytes), 6), device);
        assert_eq!(
            text(&batch.tensor("x").unwrap()),
            "Uint8 [1, 1, 2, 3] [0.0, 51.0, 102.0, 153.0, 204.0, 255.0]"
        );
        let image = batch.image("x").unwrap();
        assert_eq!(image.f_kind().unwrap(), Kind::Float);
        assert_eq!(image.size(), [1, 3, 1, 2]);
        for (found, expected) in numbers(&image).iter().zip([0.0, 0.6, 0.2, 0.8, 0.4, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{image:?}");
        }
        let grey = batch_of(
            schema::tensor("x", DataType::UInt8, &[2, 1, 1]),
            lists(Arc::new(UInt8Array::from(vec![0, 255])), 2),
            device,
        );
        assert_eq!(
            text(&grey.image("x").unwrap()),
            "Float [1, 1, 2, 1] [0.0, 1.0]"
        );
    }
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    for (field, values) in [
        (schema::weight("x"), Arc::clone(&floats)),
        (
            schema::tensor("x", DataType::Float32, &[1, 1, 1]),
            lists(floats, 1),
        ),
    ] {
        let err = batch_of(field, values, CPU).image("x").unwrap_err();
        assert!(err.to_string().contains("no images"), "{err}");
    }
}

/// This crate, as the contract of all adapters calls it, with tensors on a device.
struct Tch(Device);

impl Adapter for Tch {
    type Tensor = Tensor;

    fn to_tensor(&self, field: &Field, values: &ArrayRef) -> Result<Tensor, Error> {
        let tensor = to_tensor(field, values, self.0)?;
        assert_eq!(tensor.device(), self.0);
        Ok(tensor)
    }

    fn to_record(&self, tensors: &[(&str, &Tensor)]) -> Result<RecordBatch, Error> {
        to_record(tensors)
    }

    fn transposed(&self, tensor: &Tensor) -> Result<Tensor, Error> {
        Ok(tensor.transpose(0, 1))
    }

    fn log(&self, run: &Run, rows: &Rows, tensors: &[(&str, &Tensor)]) -> Result<(), Error> {
        run.sample_tensors(rows, tensors)
    }
}

#[test]
fn the_contract_of_adapters_is_kept() {
    for device in devices() {
        adapter_contract(&Tch(device)).unwrap();
    }
}

#[test]
fn views_that_repeat_or_negate_are_copied_as_they_look() {
    for device in devices() {
        let tensor = Tensor::from_slice2(&[&[1_f32, 2.0, 3.0], &[4.0, 5.0, 6.0]]);
        let tensor = tensor.to_device(device);
        let check = |view: &Tensor, expected: &[f32]| {
            let array = to_arrow(view).unwrap();
            let values = array.as_fixed_size_list().values();
            assert_eq!(values.as_primitive::<Float32Type>().values(), expected);
        };
        check(
            &tensor.narrow(1, 1, 1).expand([2, 2], false),
            &[2.0, 2.0, 5.0, 5.0],
        );
        // What such a view looks like is the negative of what lies in memory.
        check(
            &tensor.internal_neg_view(),
            &[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0],
        );
    }
}

#[test]
fn short_floats_widen_and_gradients_are_not_asked_for() {
    for device in devices() {
        let tensor = Tensor::from_slice(&[1_f32, -2.0]).to_device(device);
        for kind in [
            Kind::Half,
            Kind::BFloat16,
            Kind::Float8e5m2,
            Kind::Float8e4m3fn,
            Kind::Float8e5m2fnuz,
            Kind::Float8e4m3fnuz,
        ] {
            let array = to_arrow(&tensor.to_kind(kind)).unwrap();
            let expected = Float32Array::from(vec![1.0, -2.0]);
            assert_eq!(array.as_ref(), &expected, "{kind:?}");
        }
        let tracked = tensor.set_requires_grad(true).to_kind(Kind::Half);
        assert!(tracked.requires_grad());
        assert_eq!(to_arrow(&tracked).unwrap().len(), 2);
    }
}

#[test]
fn a_tensor_that_is_no_column_is_named() {
    let check = |tensor: Tensor, expected: &str| {
        let err = to_record(&[("loss", &tensor)]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        let err = format!("{err:#}");
        assert!(err.contains("\"loss\"") && err.contains(expected), "{err}");
    };
    let ones = Tensor::ones([2, 2], (Kind::Float, CPU));
    check(Tensor::from(1_f32), "no dimension");
    check(Tensor::new(), "cannot be read");
    let lengths = Tensor::from_slice2(&[&[2_i64], &[1]]);
    check(
        Tensor::internal_nested_from_padded(&ones, &lengths, false),
        "cannot be read",
    );
    check(ones.to_kind(Kind::ComplexFloat), "no type for ComplexFloat");
    check(
        ones.quantize_per_tensor(0.1, 0, Kind::QInt8),
        "no type for QInt8",
    );
    check(
        ones.to_sparse(None, None::<i64>, None),
        "values cannot be read",
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
    let loader = Loader::new(&snapshot, CPU)
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
        assert_eq!(
            Vec::<i64>::try_from(batch.tensor("x").unwrap()).unwrap(),
            ids
        );
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
    for device in devices() {
        train(device)?;
    }
    Ok(())
}

fn train(device: Device) -> Result<(), Box<dyn StdError>> {
    const EPOCHS: i64 = 5;
    let project = project();
    let (fields, columns) = points(400, 17);
    let snapshot = snapshot(&project, fields, columns);
    let weights = VarStore::new(device);
    let model = linear(weights.root(), 2, 2, nn::LinearConfig::default());
    let mut optimizer = Sgd::default().build(&weights, 1.0)?;
    let mut losses = Vec::new();

    let run = project.start_run("line")?;
    let loader = Loader::new(&snapshot, device)
        .batch_size(32)
        .shuffle(7)
        .run(&run, "train")?;
    for epoch in 0..EPOCHS {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            let label = batch.tensor("side")?;
            let logits = model.forward(&batch.tensor("xy")?);
            let loss = logits.cross_entropy_for_logits(&label);
            optimizer.backward_step(&loss);
            sum += f64::try_from(&loss)? * label.size1()? as f64;
            run.collect_tensors(
                &batch,
                &Classification,
                &[("logits", &logits), ("label", &label)],
            )?;
        }
        losses.push(sum / 400.0);
    }
    let record = run.finish()?;

    assert!(losses[4] < losses[0] / 1.5, "{losses:?}");
    assert_eq!(record.status, RunStatus::Completed);
    // The core computes the loss of each sample by itself; their mean must be libtorch's.
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
fn an_open_tap_keeps_the_last_output_of_its_layer_once_and_without_gradients() {
    for device in devices() {
        let taps = Taps::default();
        let doubled = taps.layer("doubled", nn::func(|x| x * 2.0));
        let model = seq().add(doubled).add_fn(|x| x + 1.0);
        let x = |value: f64| {
            let x = Tensor::full([2, 1], value, (Kind::Float, device));
            x.set_requires_grad(true)
        };

        assert_eq!(text(&model.forward(&x(1.0))), "Float [2, 1] [3.0, 3.0]");
        assert!(taps.output("doubled").is_err(), "closed at first");
        taps.open();
        for value in [2.0, 3.0] {
            assert!(model.forward(&x(value)).requires_grad());
        }
        let kept = taps.output("doubled").unwrap();
        assert_eq!(text(&kept), "Float [2, 1] [6.0, 6.0]");
        assert_eq!((kept.requires_grad(), kept.device()), (false, device));

        taps.keep("mine", &x(5.0));
        let err = taps.output("doubled").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotFound);
        assert_eq!(
            err.to_string(),
            "no output of a layer \"doubled\" is kept, only of [mine]; open the taps before the forward pass"
        );
        taps.close();
        assert!(taps.output("mine").is_err(), "forgotten");
        taps.keep("mine", &x(5.0));
        taps.open();
        assert!(taps.output("mine").is_err(), "nothing from before");
    }
}

#[test]
fn what_a_tap_kept_is_an_embedding_of_each_sample() -> Result<(), Box<dyn StdError>> {
    let (project, taps) = (project(), Taps::default());
    let weights = VarStore::new(CPU);
    let model = seq()
        .add(taps.layer("features", nn::func(|x| x * 2.0)))
        .add(linear(weights.root(), 2, 2, nn::LinearConfig::default()));
    let x = Tensor::from_slice2(&[&[1_f32, 2.0], &[3.0, 4.0]]);
    let label = Tensor::from_slice(&[0_i64, 1]);
    let run = project.start_run("r")?;
    let rows = Rows::new("val", 0, vec![4, 7])?;

    taps.open();
    let logits = model.forward(&x);
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
    let embedding = to_tensor(field, column, CPU)?;
    assert_eq!(text(&embedding), "Float [2, 2] [2.0, 4.0, 6.0, 8.0]");
    Ok(())
}

#[test]
fn a_model_is_saved_by_a_run_and_loaded_by_its_alias() -> Result<(), Box<dyn StdError>> {
    for device in devices() {
        let project = project();
        let x = Tensor::f_from_slice(&[1_f32, -2.0, 3.0])?.f_to_device(device)?;
        let (weights, mut others) = (VarStore::new(device), VarStore::new(device));
        let first = linear(weights.root(), 3, 2, Default::default());
        let second = linear(others.root(), 3, 2, Default::default());
        let expected = numbers(&first.forward(&x));
        assert_ne!(numbers(&second.forward(&x)), expected);

        let run = project.start_run("first")?;
        let options = PutOptions::new("trained").alias("best");
        let put = run.save_model("lenet", &weights, options)?;
        assert_eq!((put.version, put.bytes_stored), (1, put.bytes));
        assert_eq!(
            project.save_model("lenet", &weights, "again")?.bytes_stored,
            0
        );
        assert_eq!(run.load_model("lenet@best", &mut others)?.number(), 1);
        assert_eq!(numbers(&second.forward(&x)), expected);
        let tensors = project.load_tensors("lenet", &device)?;
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        assert_eq!(names, ["bias", "weight"]);
        assert_eq!(tensors["weight"].size(), [2, 3]);
        let uses = run.finish()?.artifacts;
        let uses: Vec<_> = uses
            .iter()
            .map(|used| (used.version, used.role.as_str()))
            .collect();
        assert_eq!(uses, [(1, "output"), (1, "input")]);
    }
    Ok(())
}

#[test]
fn a_model_that_does_not_fit_is_left_alone() -> Result<(), Box<dyn StdError>> {
    let project = project();
    let weights = VarStore::new(CPU);
    linear(weights.root(), 3, 2, Default::default());
    project.save_model("lenet", &weights, "")?;
    let mut wide = VarStore::new(CPU);
    let layer = linear(wide.root(), 4, 2, Default::default());
    let before = numbers(&layer.ws);
    let err = project.load_model("lenet", &mut wide).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    let expected = "variable weight: it has the shape [2, 4], and in demo/lenet@1 [2, 3]";
    assert_eq!(err.to_string(), expected);
    assert_eq!(numbers(&layer.ws), before);

    let mut deep = VarStore::new(CPU);
    linear(deep.root() / "layer", 3, 2, Default::default());
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

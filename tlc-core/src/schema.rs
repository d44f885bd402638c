//! A table's schema: Arrow's, plus what a column *means*.
//!
//! The meaning is a [`Role`], kept in Arrow field metadata, which Parquet carries along. A tool that
//! does not know the vocabulary sees ordinary columns. The vocabulary:
//!
//! | key | value | on |
//! |---|---|---|
//! | `tlc.role` | `label`, `prediction`, `weight`, `image`, `embedding`, `boxes`, `instances`, `text` | every column with a role |
//! | `tlc.classes` | JSON `[{"name":"cat","color":"#1f77b4"}, …]`; the position is the stored integer; a class that became part of another says `"merged_into": 0` | label, prediction |
//! | `tlc.media_type` | a media type such as `image/png` | image as encoded bytes |
//! | `ARROW:extension:name` | `arrow.fixed_shape_tensor`, Arrow's canonical extension type | embedding, image as raw pixels |
//! | `PARQUET:field_id` | the column's id, given once and never reused | every column of a table |
//!
//! An image column holds URLs if it is text, an encoded image a row if it is binary, and raw pixels
//! if it is a fixed-shape tensor of bytes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, Int64Array, ListArray, RecordBatch,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};
use crate::id::ColumnName;

/// The metadata key of a column's role.
pub const ROLE_KEY: &str = "tlc.role";
/// The metadata key of a column's classes.
pub const CLASSES_KEY: &str = "tlc.classes";
/// The metadata key of the media type of encoded images.
pub const MEDIA_TYPE_KEY: &str = "tlc.media_type";
/// The field of a list's structs that tells its elements apart.
pub(crate) const ELEMENT_ID: &str = "id";
/// Parquet's own key for a column's id.
pub(crate) const FIELD_ID_KEY: &str = "PARQUET:field_id";
/// Arrow's keys for extension types.
const EXTENSION_NAME_KEY: &str = "ARROW:extension:name";
const EXTENSION_METADATA_KEY: &str = "ARROW:extension:metadata";
/// Arrow's canonical type for arrays of one shape.
const TENSOR: &str = "arrow.fixed_shape_tensor";

/// The colours that classes get when none are given: ten that colour-blind people can tell apart in
/// pairs (Tableau 10), over and over.
const PALETTE: [&str; 10] = [
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7",
    "#9c755f", "#bab0ac",
];

/// What a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A category, stored as an integer and shown as its class's name.
    Label,
    /// A category that a model gave; otherwise like a label.
    Prediction,
    /// How much a row counts in training. Zero leaves the row out without dropping it.
    Weight,
    /// An image: its URL, its encoded bytes, or its pixels.
    Image,
    /// A vector of a model's own making.
    Embedding,
    /// A list of boxes on an image.
    Boxes,
    /// A list of objects in an image, each with a shape of its own.
    Instances,
    /// Text for a person or a language model to read.
    Text,
}

impl Role {
    const ALL: [Self; 8] = [
        Self::Label,
        Self::Prediction,
        Self::Weight,
        Self::Image,
        Self::Embedding,
        Self::Boxes,
        Self::Instances,
        Self::Text,
    ];

    /// The role as the metadata spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Prediction => "prediction",
            Self::Weight => "weight",
            Self::Image => "image",
            Self::Embedding => "embedding",
            Self::Boxes => "boxes",
            Self::Instances => "instances",
            Self::Text => "text",
        }
    }

    /// The role of a column; `None` for an ordinary one, and for a role this version does not know.
    #[must_use]
    pub fn of(field: &Field) -> Option<Self> {
        let name = field.metadata().get(ROLE_KEY)?;
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether a column of this type can have the role.
    fn fits(self, data_type: &DataType) -> bool {
        match self {
            Self::Label | Self::Prediction => data_type.is_integer(),
            Self::Weight => data_type.is_numeric(),
            Self::Image => {
                let raw = matches!(data_type, DataType::FixedSizeList(item, _) if *item.data_type() == DataType::UInt8);
                raw || is_text(data_type)
                    || matches!(data_type, DataType::Binary | DataType::LargeBinary)
            }
            Self::Embedding => {
                matches!(data_type, DataType::FixedSizeList(item, _) if item.data_type().is_floating())
            }
            Self::Boxes | Self::Instances => {
                matches!(data_type, DataType::List(_) | DataType::LargeList(_))
            }
            Self::Text => is_text(data_type),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

/// One class of a label: position in the list is the integer that cells hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// What people see.
    pub name: String,
    /// `#rrggbb`.
    pub color: String,
    /// The class that this one became part of. Its number is not given again.
    pub merged_into: Option<usize>,
}

/// A label column: 32-bit integers, shown by the names in `classes`, in colours of a fixed palette.
///
/// ```
/// use tlc_core::schema;
///
/// let field = schema::label("animal", ["cat", "dog"]);
/// assert_eq!(schema::classes(&field)?[1].name, "dog");
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[must_use]
pub fn label<S: Into<String>>(name: &str, classes: impl IntoIterator<Item = S>) -> Field {
    categories(name, Role::Label, &colored(classes))
}

/// A label column whose classes have colours of their own.
#[must_use]
pub fn label_with(name: &str, classes: &[Class]) -> Field {
    categories(name, Role::Label, classes)
}

/// A column of classes that a model predicted.
#[must_use]
pub fn prediction<S: Into<String>>(name: &str, classes: impl IntoIterator<Item = S>) -> Field {
    categories(name, Role::Prediction, &colored(classes))
}

/// A weight column: 32-bit floats.
#[must_use]
pub fn weight(name: &str) -> Field {
    with_role(Field::new(name, DataType::Float32, true), Role::Weight)
}

/// A column of encoded images, one a row, such as `image/png`.
#[must_use]
pub fn image(name: &str, media_type: &str) -> Field {
    let field = Field::new(name, DataType::Binary, true);
    with_metadata(
        with_role(field, Role::Image),
        [(MEDIA_TYPE_KEY, media_type.to_owned())],
    )
}

/// A column of images that stay where they are: their URLs.
#[must_use]
pub fn image_url(name: &str) -> Field {
    with_role(Field::new(name, DataType::Utf8, true), Role::Image)
}

/// A column of vectors of `n` 32-bit floats.
#[must_use]
pub fn embedding(name: &str, n: u16) -> Field {
    with_role(
        tensor(name, DataType::Float32, &[usize::from(n)]),
        Role::Embedding,
    )
}

/// A column of text.
#[must_use]
pub fn text(name: &str) -> Field {
    with_role(Field::new(name, DataType::Utf8, true), Role::Text)
}

/// A column of boxes: a list a row of an `id`, which tells the boxes of a row apart, `x_min, y_min,
/// x_max, y_max` in pixels, and a class.
#[must_use]
pub fn boxes<S: Into<String>>(name: &str, classes: impl IntoIterator<Item = S>) -> Field {
    let corner = |name: &str| Field::new(name, DataType::Float32, false);
    let class = categories("label", Role::Label, &colored(classes));
    let one = Fields::from(vec![
        Field::new(ELEMENT_ID, DataType::Int64, false),
        corner("x_min"),
        corner("y_min"),
        corner("x_max"),
        corner("y_max"),
        class,
    ]);
    let item = Field::new_list_field(DataType::Struct(one), true);
    with_role(
        Field::new(name, DataType::List(Arc::new(item)), true),
        Role::Boxes,
    )
}

/// A column of arrays of one shape, as Arrow's canonical `arrow.fixed_shape_tensor`, row-major.
///
/// An array of more than `i32::MAX` elements does not exist in Arrow; its length is cut to that.
#[must_use]
pub fn tensor(name: &str, item: DataType, shape: &[usize]) -> Field {
    let length = i32::try_from(shape.iter().product::<usize>()).unwrap_or(i32::MAX);
    let item = Arc::new(Field::new_list_field(item, true));
    let field = Field::new(name, DataType::FixedSizeList(item, length), true);
    let shape = json!({ "shape": shape }).to_string();
    with_metadata(
        field,
        [
            (EXTENSION_NAME_KEY, TENSOR.to_owned()),
            (EXTENSION_METADATA_KEY, shape),
        ],
    )
}

/// The shape of one value of a tensor column; `None` if the column is not one, or not of its length.
#[must_use]
pub fn shape(field: &Field) -> Option<Vec<usize>> {
    let DataType::FixedSizeList(_, length) = field.data_type() else {
        return None;
    };
    let metadata = field.metadata();
    if metadata
        .get(EXTENSION_NAME_KEY)
        .is_none_or(|name| name != TENSOR)
    {
        return None;
    }
    let value: Json = serde_json::from_str(metadata.get(EXTENSION_METADATA_KEY)?).ok()?;
    let shape = value.get("shape")?.as_array()?;
    let shape: Vec<usize> = shape
        .iter()
        .map(|n| usize::try_from(n.as_u64()?).ok())
        .collect::<Option<_>>()?;
    let elements = shape
        .iter()
        .try_fold(1_usize, |product, n| product.checked_mul(*n))?;
    (i32::try_from(elements) == Ok(*length)).then_some(shape)
}

/// `field` with a role, in place of the one it had.
#[must_use]
pub fn with_role(field: Field, role: Role) -> Field {
    with_metadata(field, [(ROLE_KEY, role.as_str().to_owned())])
}

/// `field` as an ordinary column. Its classes and media type go with the role.
#[must_use]
pub fn without_role(field: Field) -> Field {
    let mut metadata = field.metadata().clone();
    for key in [ROLE_KEY, CLASSES_KEY, MEDIA_TYPE_KEY] {
        metadata.remove(key);
    }
    field.with_metadata(metadata)
}

/// `field`, if its type fits its role.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming column, type and role.
pub(crate) fn checked_role(field: Field) -> Result<Field> {
    match Role::of(&field) {
        Some(role) if !role.fits(field.data_type()) => {
            let (data_type, role) = (field.data_type(), role.as_str());
            Err(Error::invalid(format!(
                "column {:?} of type {data_type} cannot have the role {role:?}",
                field.name()
            )))
        }
        _ => Ok(field),
    }
}

/// The number that cells of a class hold: its own, or that of the class that it became part of.
pub(crate) fn class_number(classes: &[Class], name: &str) -> Option<usize> {
    let own = classes.iter().position(|class| class.name == name)?;
    Some(current(classes, own))
}

/// The number of the class that a number stands for, after all that were made part of others: itself if it is none's, or if nothing became of it.
/// A list of classes that leads in a circle is left somewhere on it.
///
/// ```
/// use tlc_core::schema::{Class, current};
///
/// let class = |name: &str, merged_into| {
///     let (name, color) = (name.to_owned(), "#4e79a7".to_owned());
///     Class { name, color, merged_into }
/// };
/// let classes = [class("cat", None), class("kitten", Some(0))];
/// assert_eq!([current(&classes, 0), current(&classes, 1), current(&classes, 7)], [0, 0, 7]);
/// ```
#[must_use]
pub fn current(classes: &[Class], number: usize) -> usize {
    let mut number = number;
    // A class is merged into one that is there, so no walk is longer than the list.
    for _ in 0..classes.len() {
        match classes.get(number).and_then(|class| class.merged_into) {
            Some(into) => number = into,
            None => break,
        }
    }
    number
}

/// A colour of the palette for the class at `position`.
pub(crate) fn palette(position: usize) -> &'static str {
    PALETTE[position % PALETTE.len()]
}

/// `field` with the classes of a label, in place of those it had.
#[must_use]
pub fn with_classes(field: Field, classes: &[Class]) -> Field {
    let classes: Vec<Json> = classes
        .iter()
        .map(|class| match class.merged_into {
            None => json!({ "name": class.name, "color": class.color }),
            Some(into) => {
                json!({ "name": class.name, "color": class.color, "merged_into": into })
            }
        })
        .collect();
    with_metadata(field, [(CLASSES_KEY, Json::from(classes).to_string())])
}

/// The classes of a label or a prediction; empty if it names none.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column if its metadata is not the
/// vocabulary's JSON.
pub fn classes(field: &Field) -> Result<Vec<Class>> {
    let Some(text) = field.metadata().get(CLASSES_KEY) else {
        return Ok(Vec::new());
    };
    let wrong = || {
        Error::invalid(format!(
            "the classes of column {:?} are not a list of names and colours",
            field.name()
        ))
    };
    let list: Vec<Json> = serde_json::from_str(text).map_err(|err| wrong().with_source(err))?;
    let class = |(position, class): (usize, &Json)| {
        let name = class.get("name")?.as_str()?.to_owned();
        let color = class
            .get("color")
            .and_then(Json::as_str)
            .unwrap_or(palette(position));
        let into = class.get("merged_into").and_then(Json::as_u64);
        Some(Class {
            name,
            color: color.to_owned(),
            merged_into: into.and_then(|into| usize::try_from(into).ok()),
        })
    };
    list.iter()
        .enumerate()
        .map(class)
        .collect::<Option<_>>()
        .ok_or_else(wrong)
}

fn colored<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Vec<Class> {
    let colors = PALETTE.iter().cycle();
    names
        .into_iter()
        .zip(colors)
        .map(|(name, color)| Class {
            name: name.into(),
            color: (*color).to_owned(),
            merged_into: None,
        })
        .collect()
}

fn categories(name: &str, role: Role, classes: &[Class]) -> Field {
    with_classes(
        with_role(Field::new(name, DataType::Int32, true), role),
        classes,
    )
}

fn with_metadata<const N: usize>(field: Field, entries: [(&str, String); N]) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.extend(entries.map(|(key, value)| (key.to_owned(), value)));
    field.with_metadata(metadata)
}

/// The id of a table's column.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID_KEY)?.parse().ok()
}

/// `field` under another id.
pub(crate) fn with_field_id(field: &Field, id: i32) -> Field {
    with_metadata(field.clone(), [(FIELD_ID_KEY, id.to_string())])
}

/// The schema that a new table gets from the one of its rows: names and roles checked, every column
/// nullable and with an id of its own, and types that Parquet gives back as they were.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column that cannot be one.
pub(crate) fn for_table(schema: &Schema) -> Result<SchemaRef> {
    if schema.fields().is_empty() {
        return Err(Error::invalid("a table needs at least one column"));
    }
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (position, field) in schema.fields().iter().enumerate() {
        if !names.insert(field.name()) {
            return Err(Error::invalid(format!(
                "two columns have the name {:?}",
                field.name()
            )));
        }
        let id = i32::try_from(position + 1)
            .map_err(|err| Error::invalid("too many columns").with_source(err))?;
        fields.push(with_field_id(&for_column(field)?, id));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A column as a table keeps it.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if its name or its role is impossible.
pub(crate) fn for_column(field: &Field) -> Result<Field> {
    let name: ColumnName = field.name().parse()?;
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        // Two dictionaries of one column need not fit into one; Parquet makes its own in any case.
        DataType::Dictionary(_, value) => (**value).clone(),
        DataType::Null => {
            return Err(Error::invalid(format!(
                "column {:?} has only nulls; give it a type",
                name.as_str()
            )));
        }
        other => other.clone(),
    };
    if !is_storable(&data_type) {
        let name = name.as_str();
        return Err(Error::invalid(format!(
            "column {name:?} of type {data_type} cannot be stored; cast it to another type"
        )));
    }
    classes(field)?;
    let kept: HashMap<_, _> = field.metadata().clone();
    checked_role(Field::new(name.as_str(), data_type, true).with_metadata(kept))
}

/// Whether Parquet gives values of the type back as they were.
fn is_storable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) | DataType::Interval(_) | DataType::RunEndEncoded(..) => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => is_storable(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_storable(field.data_type())),
        _ => true,
    }
}

/// `batch` with the columns of `schema`, by name, in its order and types.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column that is missing, unknown, or
/// whose values do not fit.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let own = batch.schema();
    if let Some(unknown) = own
        .fields()
        .iter()
        .find(|field| schema.field_with_name(field.name()).is_err())
    {
        return Err(Error::invalid(format!(
            "the table has no column {:?}; it has {}",
            unknown.name(),
            names(schema)
        )));
    }
    let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
        Some(values) => fit(values, field),
        None => Err(Error::invalid(format!(
            "the rows lack the column {:?}",
            field.name()
        ))),
    };
    let columns = schema
        .fields()
        .iter()
        .map(column)
        .collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// `values` in the type of `field`; never rounded, wrapped or turned into null. The same holds for
/// what lies in lists and structs; a struct must have the same names, in any order.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column and the first value that
/// does not fit.
pub(crate) fn fit(values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if values.data_type() == field.data_type() {
        return Ok(Arc::clone(values));
    }
    if field.data_type().is_integer() && is_any_text(values.data_type()) {
        return class_numbers(values, field);
    }
    if let Some(fitted) = fit_nested(values, field)? {
        return Ok(fitted);
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(values, field.data_type(), &options)
        .map_err(|err| unfit(values, field).with_source(err))?;
    if may_lose(values.data_type(), field.data_type()) {
        let back = cast_with_options(&cast, values.data_type(), &options)?;
        if back.to_data() != values.to_data() {
            return Err(unfit(values, field));
        }
    }
    Ok(cast)
}

fn unfit(values: &ArrayRef, field: &Field) -> Error {
    let (from, to) = (values.data_type(), field.data_type());
    Error::invalid(format!(
        "a value of type {from} does not fit column {:?} of type {to}",
        field.name()
    ))
}

/// [`fit`] for lists and structs, whose parts have to fit one by one; `None` for anything else.
fn fit_nested(values: &ArrayRef, field: &Field) -> Result<Option<ArrayRef>> {
    let within = |part: &Field| {
        let name = format!("{}.{}", field.name(), part.name());
        part.clone().with_name(name)
    };
    let wrong = |err| unfit(values, field).with_source(err);
    let nulls = values.nulls().cloned();
    let fitted: ArrayRef = match (values.data_type(), field.data_type()) {
        (DataType::Struct(from), DataType::Struct(to)) => {
            if from.len() != to.len() {
                return Err(unfit(values, field));
            }
            let own = values.as_struct();
            let part = |part: &FieldRef| match own.column_by_name(part.name()) {
                Some(values) => fit(values, &within(part)),
                None => Err(unfit(values, field)),
            };
            let parts = to.iter().map(part).collect::<Result<_>>()?;
            Arc::new(StructArray::try_new(to.clone(), parts, nulls).map_err(wrong)?)
        }
        (DataType::List(_), DataType::List(to)) => {
            let list = values.as_list::<i32>();
            let items = fit(&items(list), &within(to))?;
            let offsets = OffsetBuffer::from_lengths(list.offsets().lengths());
            Arc::new(ListArray::try_new(Arc::clone(to), offsets, items, nulls).map_err(wrong)?)
        }
        (DataType::FixedSizeList(_, n), DataType::FixedSizeList(to, length)) if n == length => {
            let items = fit(values.as_fixed_size_list().values(), &within(to))?;
            let list = FixedSizeListArray::try_new(Arc::clone(to), *n, items, nulls);
            Arc::new(list.map_err(wrong)?)
        }
        (DataType::List(item), DataType::FixedSizeList(_, length)) => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let same_items = DataType::FixedSizeList(Arc::clone(item), *length);
            let list = cast_with_options(values, &same_items, &options).map_err(wrong)?;
            return fit(&list, field).map(Some);
        }
        _ => return Ok(None),
    };
    Ok(Some(fitted))
}

/// The items of the lists that are there, without those that a slice of them has left out.
fn items(list: &ListArray) -> ArrayRef {
    let at = |offset: Option<&i32>| offset.and_then(|at| usize::try_from(*at).ok());
    let start = at(list.value_offsets().first()).unwrap_or(0);
    let end = at(list.value_offsets().last()).unwrap_or(0);
    list.values().slice(start, end - start)
}

/// Whether a cast between the types may change a value without an error. Floats may be rounded to
/// narrower floats: a weight of 0.1 is as good in 32 bits as in 64.
fn may_lose(from: &DataType, to: &DataType) -> bool {
    let exact = |data_type: &DataType| data_type.is_primitive();
    exact(from) && exact(to) && !(from.is_floating() && to.is_floating())
}

/// Text in any of Arrow's forms, dictionaries of text among them.
fn is_any_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_any_text(value),
        DataType::Utf8View => true,
        other => is_text(other),
    }
}

/// The integers of classes given by name.
fn class_numbers(names: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let classes = classes(field)?;
    let number = |name: Option<&str>| {
        let Some(name) = name else { return Ok(None) };
        let position = class_number(&classes, name);
        let known = || {
            classes
                .iter()
                .map(|class| class.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match position.map(i64::try_from) {
            Some(Ok(position)) => Ok(Some(position)),
            _ if classes.is_empty() => Err(Error::invalid(format!(
                "{name:?} does not fit column {:?}, which holds integers",
                field.name()
            ))),
            _ => Err(Error::invalid(format!(
                "column {:?} has no class {name:?}; its classes are {}",
                field.name(),
                known()
            ))),
        }
    };
    let names = arrow::compute::cast(names, &DataType::Utf8)?;
    let numbers = names
        .as_string::<i32>()
        .iter()
        .map(number)
        .collect::<Result<Vec<_>>>()?;
    fit(&(Arc::new(Int64Array::from(numbers)) as ArrayRef), field)
}

/// The position of a column.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming it and the columns there are.
pub(crate) fn column_index(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_missing| {
        Error::not_found(format!(
            "no column {name:?}; the columns are {}",
            names(schema)
        ))
    })
}

fn names(schema: &Schema) -> String {
    schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Float64Array};
    use arrow::datatypes::{Int8Type, Int32Type, IntervalUnit};

    use super::*;

    #[test]
    fn roles_and_classes_are_read_back() {
        let field = label("animal", ["cat", "dog"]);
        assert_eq!(Role::of(&field), Some(Role::Label));
        let names: Vec<_> = classes(&field)
            .unwrap()
            .into_iter()
            .map(|class| class.name)
            .collect();
        assert_eq!(names, ["cat", "dog"]);
        assert_eq!(shape(&embedding("e", 64)), Some(vec![64]));
        assert_eq!(
            shape(&tensor("t", DataType::UInt8, &[28, 28, 1])),
            Some(vec![28, 28, 1])
        );
        assert_eq!(shape(&weight("w")), None);
    }

    #[test]
    fn a_role_needs_a_type_that_fits() {
        let wrong = with_role(Field::new("animal", DataType::Utf8, true), Role::Label);
        let err = for_column(&wrong).unwrap_err();
        assert!(err.to_string().contains("\"animal\""), "{err}");
        for right in [
            image("a", "image/png"),
            image_url("b"),
            embedding("c", 2),
            boxes("d", ["x"]),
            text("e"),
        ] {
            assert!(for_column(&right).is_ok(), "{right:?}");
        }
    }

    #[test]
    fn a_table_refuses_columns_it_could_not_tell_apart() {
        let twice = Schema::new(vec![weight("w"), weight("w")]);
        assert!(for_table(&twice).unwrap_err().to_string().contains("\"w\""));
        assert!(for_table(&Schema::empty()).is_err());
        let ids: Vec<_> = for_table(&Schema::new(vec![weight("a"), text("b")]))
            .unwrap()
            .fields()
            .iter()
            .map(|field| field_id(field))
            .collect();
        assert_eq!(ids, [Some(1), Some(2)]);
    }

    #[test]
    fn values_are_cast_only_where_nothing_is_lost() {
        let byte = Field::new("b", DataType::Int8, true);
        let fits = |values: ArrayRef| fit(&values, &byte).is_ok();
        assert!(fits(Arc::new(Int64Array::from(vec![Some(5), None]))));
        assert!(!fits(Arc::new(Int64Array::from(vec![300]))));
        assert!(fits(Arc::new(Float64Array::from(vec![3.0]))));
        assert!(!fits(Arc::new(Float64Array::from(vec![3.5]))));
        let single = Field::new("f", DataType::Float32, true);
        let large: ArrayRef = Arc::new(Int64Array::from(vec![16_777_217]));
        assert!(fit(&large, &single).is_err(), "an integer is not rounded");
    }

    #[test]
    fn what_lies_in_lists_is_not_rounded_either() {
        let list = |values: Vec<f64>| {
            let items: ArrayRef = Arc::new(Float64Array::from(values));
            let item = Arc::new(Field::new_list_field(DataType::Float64, true));
            let offsets = OffsetBuffer::from_lengths([items.len()]);
            Arc::new(ListArray::new(item, offsets, items, None)) as ArrayRef
        };
        let byte = Arc::new(Field::new_list_field(DataType::Int8, true));
        let two = DataType::FixedSizeList(Arc::clone(&byte), 2);
        for to in [DataType::List(byte), two.clone()] {
            let field = Field::new("l", to, true);
            let fitted = fit(&list(vec![1.0, 2.0]), &field).unwrap();
            assert_eq!(fitted.data_type(), field.data_type());
            let err = fit(&list(vec![1.0, 2.5]), &field).unwrap_err();
            assert!(err.to_string().contains("\"l.item\""), "{err}");
        }
        let three = list(vec![1.0, 2.0, 3.0]);
        assert!(fit(&three, &Field::new("l", two, true)).is_err());
    }

    #[test]
    fn a_struct_fits_by_its_names_and_a_label_in_it_by_its_classes() {
        let to = boxes("b", ["cat", "dog"]);
        let DataType::List(item) = to.data_type() else {
            unreachable!("boxes are a list")
        };
        let one = |names: [&str; 6], label: &str| {
            let half = |_| Arc::new(Float64Array::from(vec![0.5])) as ArrayRef;
            let mut columns: Vec<ArrayRef> = names[..4].iter().map(half).collect();
            columns.push(Arc::new(Int64Array::from(vec![7])));
            columns.push(Arc::new(arrow::array::StringArray::from(vec![label])));
            let batch = RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap();
            Arc::new(StructArray::from(batch)) as ArrayRef
        };
        let names = ["y_max", "x_min", "y_min", "x_max", "id", "label"];
        let fitted = fit(&one(names, "dog"), item).unwrap();
        assert_eq!(fitted.data_type(), item.data_type());
        let labels = fitted.as_struct().column_by_name("label").unwrap();
        assert_eq!(labels.as_primitive::<Int32Type>().values().to_vec(), [1]);
        let err = fit(&one(names, "cow"), item).unwrap_err();
        assert!(err.to_string().contains("cat, dog"), "{err}");
        let other = ["y_max", "x_min", "y_min", "z", "id", "label"];
        assert!(fit(&one(other, "dog"), item).is_err());
    }

    #[test]
    fn class_names_in_a_dictionary_are_names_and_not_numbers() {
        let names: DictionaryArray<Int8Type> = ["7", "9"].into_iter().collect();
        let names: ArrayRef = Arc::new(names);
        let numbers = fit(&names, &label("digit", ["9", "8", "7"])).unwrap();
        assert_eq!(
            numbers.as_primitive::<Int32Type>().values().to_vec(),
            [2, 0]
        );
    }

    #[test]
    fn types_that_parquet_would_change_are_refused() {
        let interval = DataType::Interval(IntervalUnit::YearMonth);
        let nested = DataType::List(Arc::new(Field::new_list_field(interval.clone(), true)));
        for data_type in [interval, nested] {
            let err = for_column(&Field::new("i", data_type, true)).unwrap_err();
            assert!(err.to_string().contains("\"i\""), "{err}");
        }
        let text = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let kept = for_column(&Field::new("t", text, true)).unwrap();
        assert_eq!(*kept.data_type(), DataType::Utf8);
    }
}

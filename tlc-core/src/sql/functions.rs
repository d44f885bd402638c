//! The functions that SQL gets from us: `label_name(column)`, and the doors to
//! [table functions](super::calls).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::catalog::TableFunction;
use datafusion::common::{Result as EngineResult, exec_err, internal_err};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{Error, Result};
use crate::project::Root;
use crate::schema;

use super::calls::{Callable, Function};

/// Adds our functions to those of the engine.
pub(super) fn register(builder: &mut SessionStateBuilder, root: &Root) {
    builder
        .scalar_functions()
        .get_or_insert_default()
        .push(label_name());
    let calls = Function::ALL.map(|function| {
        let name = function.name().to_owned();
        let callable = Arc::new(Callable::new(root, function));
        (name.clone(), Arc::new(TableFunction::new(name, callable)))
    });
    builder
        .table_functions()
        .get_or_insert_default()
        .extend(calls);
}

/// The function `label_name`.
pub(super) fn label_name() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(LabelName::new()))
}

/// `label_name(column)`: the name of the class that a cell of a label column holds.
///
/// The classes are in the column's metadata, so the argument is a column of a table as it is. A
/// number without a class has no name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LabelName {
    signature: Signature,
}

impl LabelName {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for LabelName {
    fn name(&self) -> &'static str {
        "label_name"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> EngineResult<DataType> {
        internal_err!("label_name is planned from fields")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> EngineResult<FieldRef> {
        if let [field] = args.arg_fields {
            class_names(field)?;
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        let ([field], [numbers]) = (&args.arg_fields[..], &args.args[..]) else {
            return exec_err!("label_name takes one column");
        };
        let names = class_names(field)?;
        let numbers = arrow::compute::cast(&numbers.to_array(args.number_rows)?, &DataType::Int64)?;
        let name = |number: Option<i64>| {
            names
                .get(usize::try_from(number?).ok()?)
                .map(String::as_str)
        };
        let found: StringArray = numbers
            .as_primitive::<Int64Type>()
            .iter()
            .map(name)
            .collect();
        Ok(ColumnarValue::Array(Arc::new(found) as ArrayRef))
    }
}

fn class_names(field: &Field) -> Result<Vec<String>> {
    let classes = schema::classes(field)?;
    if classes.is_empty() {
        let name = field.name();
        return Err(Error::invalid(format!(
            "label_name needs a column with classes, and {name:?} has none"
        )));
    }
    let name = |number| {
        let class = classes.get(schema::current(&classes, number));
        class.map(|class| class.name.clone()).unwrap_or_default()
    };
    Ok((0..classes.len()).map(name).collect())
}

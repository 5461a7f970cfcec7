//! A graph that is put together node by node.

use super::proto::{
    AttributeProto, Dimension, FLOAT, GraphProto, NodeProto, OF_FLOAT, OF_INT, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::error::{Error, Result};

/// The name of the dimension that may have any size.
const BATCH: &str = "batch";

/// A graph under construction; values go by their names.
#[derive(Default)]
pub(super) struct Graph {
    pub proto: GraphProto,
}

impl Graph {
    /// Adds the input, of any number of rows of this shape; returns its name.
    pub fn input(&mut self, name: &str, shape: &[usize], words: &str) -> String {
        self.proto.input.push(value(name, shape, words));
        name.into()
    }

    /// Adds an operation on values; returns the name of what it makes.
    pub fn node(&mut self, operation: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = format!("{operation}_{}", self.proto.node.len());
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operation.into(),
            attribute: attributes,
        });
        name
    }

    /// Makes what the last operation makes the output, under this name: any number of rows of so many values.
    pub fn output(&mut self, name: &str, width: usize, words: &str) {
        if let Some(last) = self.proto.node.last_mut() {
            last.output = vec![name.into()];
        }
        self.proto.output.push(value(name, &[width], words));
    }

    /// Adds constants; returns their name.
    ///
    /// # Errors
    /// Values that f32 does not hold.
    pub fn constant(&mut self, name: String, shape: &[usize], values: &[f64]) -> Result<String> {
        let found = values.iter().find(|&&value| !(value as f32).is_finite());
        if let Some(found) = found {
            let text = format!("expected values up to {:e} for f32, found {found:e} in {name}", f32::MAX);
            return Err(Error::config("--onnx", text));
        }
        self.proto.initializer.push(TensorProto {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: FLOAT,
            name: name.clone(),
            raw_data: values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        });
        Ok(name)
    }

    /// Adds an operation on a value and a number of a formula; returns the name of what it makes.
    ///
    /// # Errors
    /// A number that f32 does not hold.
    pub fn with(&mut self, operation: &str, value: &str, number: f64) -> Result<String> {
        let name = format!("{number:e}");
        if self.proto.initializer.iter().all(|constant| constant.name != name) {
            self.constant(name.clone(), &[], &[number])?;
        }
        Ok(self.node(operation, &[value, &name], Vec::new()))
    }
}

/// A number that an operation is made with.
pub(super) fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto { name: name.into(), f: Some(value as f32), i: None, r#type: OF_FLOAT }
}

/// A whole number that an operation is made with.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), f: None, i: Some(value), r#type: OF_INT }
}

/// The type of any number of rows of this shape.
fn value(name: &str, shape: &[usize], words: &str) -> ValueInfoProto {
    let batch = Dimension { dim_value: None, dim_param: Some(BATCH.into()) };
    let size = |&n: &usize| Dimension { dim_value: Some(n as i64), dim_param: None };
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(shape.iter().map(size)).collect() };
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: Some(shape) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor) });
    ValueInfoProto { name: name.into(), r#type, doc_string: words.into() }
}

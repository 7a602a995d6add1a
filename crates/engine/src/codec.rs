//! Plans as bytes. Each node of ours brings its own wire form; this file knows no node itself.

use std::fmt;
use std::sync::Arc;

use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_execution::TaskContext;
use datafusion_physical_plan::ExecutionPlan;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::function::FunctionRegistry;

/// The wire form of one kind of node.
pub struct NodeWire {
    /// The node's name in the bytes.
    pub name: &'static str,
    /// The node's own fields as bytes; `None` if the node is of another kind.
    pub encode: fn(&dyn ExecutionPlan) -> Option<Result<Vec<u8>>>,
    /// The node, from its fields and its children.
    pub decode: fn(&[u8], &[Arc<dyn ExecutionPlan>], &Arc<FunctionRegistry>) -> Result<Arc<dyn ExecutionPlan>>,
}

/// The nodes that every Tidemill process knows.
const NODES: &[&NodeWire] = &[&crate::operator::stage_wire::WIRE, &crate::operator::text_scan::WIRE];

/// Encodes and decodes plans; functions are looked up in one registry.
pub struct NodeCodec {
    functions: Arc<FunctionRegistry>,
}

impl NodeCodec {
    /// A codec that finds functions in `functions`.
    pub fn new(functions: Arc<FunctionRegistry>) -> Self {
        Self { functions }
    }

    /// A plan as bytes.
    pub fn encode_plan(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
        Ok(physical_plan_to_bytes_with_extension_codec(plan, self)?.to_vec())
    }

    /// A plan from bytes.
    pub fn decode_plan(&self, bytes: &[u8]) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(physical_plan_from_bytes_with_extension_codec(bytes, &TaskContext::default(), self)?)
    }
}

impl fmt::Debug for NodeCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeCodec")
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    node: String,
    fields: Vec<u8>,
}

impl PhysicalExtensionCodec for NodeCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let envelope: Envelope = from_wire(bytes)?;
        let wire = NODES.iter().find(|wire| wire.name == envelope.node).ok_or_else(|| {
            Error::usage(format!(
                "node {} is not known here: driver and workers must run the same program",
                envelope.node
            ))
        })?;
        Ok((wire.decode)(&envelope.fields, inputs, &self.functions)?)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> DfResult<()> {
        // The buffer is used again by others if this fails: nothing is written before all is encoded.
        for wire in NODES {
            if let Some(fields) = (wire.encode)(node.as_ref()) {
                buffer.extend(to_wire(&Envelope { node: wire.name.to_string(), fields: fields? })?);
                return Ok(());
            }
        }
        Err(DataFusionError::NotImplemented(format!("{} has no wire form", node.name())))
    }
}

/// A value in the form in which plans travel.
pub fn to_wire<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| Error::internal("a plan can't be encoded").with_source(error))
}

/// A value from the form in which plans travel.
pub fn from_wire<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|error| Error::data("a plan that arrived is damaged").with_source(error))
}

//! The untyped form of an RDD, and transformations of it that are made once and applied to every batch.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;

use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Function, Operator};
use tidemill_engine::lineage::{Deps, Lineage};

use crate::context::SparkContext;

/// Which partitioner placed the rows, as far as it matters: equal values place equal keys alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The number of partitions.
    pub partitions: usize,
    /// The key type.
    pub key: TypeId,
    /// Which custom partitioner; `None` is by hash.
    pub custom: Option<usize>,
}

/// An RDD without its type: lineage, and how its keys are placed.
#[derive(Clone)]
pub struct Dataset {
    /// How it is computed.
    pub lineage: Arc<Lineage>,
    /// How its keys are placed, if that is known.
    pub placement: Option<Placement>,
}

impl Dataset {
    /// A data set whose keys may lie anywhere.
    pub fn new(lineage: Arc<Lineage>) -> Self {
        Self { lineage, placement: None }
    }

    /// The number of its partitions.
    pub fn partitions(&self) -> usize {
        self.lineage.partitions()
    }

    /// One operator on top, partition by partition.
    pub fn op(&self, function: &Arc<Function>) -> Self {
        Self::new(Lineage::op(Arc::clone(function), vec![Arc::clone(&self.lineage)], Deps::Aligned))
    }

    /// Says how the keys are placed.
    pub fn placed(mut self, placement: Option<Placement>) -> Self {
        self.placement = placement;
        self
    }
}

type Apply = dyn Fn(&[Dataset]) -> Result<Dataset> + Send + Sync;

/// A transformation: its closures are registered, and it can be applied to any number of data sets.
pub struct Transform<U> {
    apply: Arc<Apply>,
    name: &'static str,
    call_site: CallSite,
    output: PhantomData<fn() -> U>,
}

impl<U> Clone for Transform<U> {
    fn clone(&self) -> Self {
        let (apply, output) = (Arc::clone(&self.apply), PhantomData);
        Self { apply, name: self.name, call_site: self.call_site, output }
    }
}

impl<U> Transform<U> {
    /// A transformation with a name and the place in the user's program that made it.
    #[track_caller]
    pub fn new(name: &'static str, apply: impl Fn(&[Dataset]) -> Result<Dataset> + Send + Sync + 'static) -> Self {
        Self { apply: Arc::new(apply), name, call_site: CallSite::here(), output: PhantomData }
    }

    /// A transformation of one data set by one operator.
    #[track_caller]
    pub fn narrow(name: &'static str, function: Arc<Function>) -> Self {
        Self::new(name, move |inputs| Ok(one(inputs)?.op(&function)))
    }

    /// A transformation of one data set by one operator that leaves keys where they are.
    #[track_caller]
    pub fn narrow_placed(name: &'static str, function: Arc<Function>) -> Self {
        Self::new(name, move |inputs| {
            let input = one(inputs)?;
            Ok(input.op(&function).placed(input.placement))
        })
    }

    /// This transformation, then another.
    pub fn then<W>(self, next: Transform<W>) -> Transform<W> {
        let (first, second) = (self.apply, next.apply);
        Transform {
            apply: Arc::new(move |inputs| second(&[first(inputs)?])),
            name: self.name,
            call_site: self.call_site,
            output: PhantomData,
        }
    }

    /// The same transformation under another name.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Applies it.
    pub fn apply(&self, inputs: &[Dataset]) -> Result<Dataset> {
        (self.apply)(inputs)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The place that made it.
    pub fn call_site(&self) -> CallSite {
        self.call_site
    }

    /// Its untyped content.
    pub fn untyped(&self) -> Arc<dyn Fn(&[Dataset]) -> Result<Dataset> + Send + Sync> {
        Arc::clone(&self.apply)
    }
}

/// The one input.
pub fn one(inputs: &[Dataset]) -> Result<&Dataset> {
    inputs.first().ok_or_else(|| Error::internal("a transformation got no input"))
}

/// The two inputs.
pub fn two(inputs: &[Dataset]) -> Result<(&Dataset, &Dataset)> {
    match inputs {
        [left, right] => Ok((left, right)),
        _ => Err(Error::internal(format!("a transformation of two inputs got {}", inputs.len()))),
    }
}

/// Runs on the driver the part of a closure's work that is done there; a panic in it becomes an error, as in a task.
pub(crate) fn in_driver<R>(name: &str, call_site: CallSite, step: impl FnOnce() -> R) -> Result<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).map_err(|panic| {
        let message = tidemill_engine::function::panic_message(&*panic);
        Error::usage(format!("the closure of {name} at {call_site} panicked: {message}"))
    })
}

/// A data set whose every use is this error.
pub fn failed(sc: &SparkContext, error: Error) -> Dataset {
    struct Fails(Error, Arc<Function>);
    impl tidemill_engine::lineage::Values for Fails {
        fn partitions(&self) -> usize {
            1
        }
        fn rows(&self) -> usize {
            usize::MAX
        }
        fn chunks(self: Arc<Self>, _: usize) -> tidemill_engine::lineage::Chunks {
            Box::new(std::iter::once(Err(self.0.clone())))
        }
        fn encode(&self, _: usize) -> Result<arrow::array::RecordBatch> {
            Err(self.0.clone())
        }
        fn decoder(&self) -> Arc<Function> {
            Arc::clone(&self.1)
        }
    }
    let decoder = crate::op::narrow::decode_values::<()>(sc.functions());
    Dataset::new(Lineage::values(Arc::new(Fails(error, decoder))))
}

/// Registers an operator whose output rows are `U`.
#[track_caller]
pub fn register<U: tidemill_engine::chunk::Data>(
    sc: &SparkContext,
    name: &'static str,
    operator: impl Operator + 'static,
) -> Arc<Function> {
    let output = tidemill_engine::chunk::Rows::<U>::ELEMENT;
    crate::op::narrow::prepare_actions::<U>(sc.functions());
    sc.functions().register(name, CallSite::here(), output, Arc::new(operator))
}

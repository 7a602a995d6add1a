//! The registry of closures. A closure never travels: its [`FunctionId`] does, and the same program finds the same
//! closure behind it.
//!
//! Ids are given in the order in which the program builds its graph, so that running the graph-building code again,
//! in another process, gives every closure the same id. Closures made while a batch is planned (inside `transform`)
//! are numbered within that node and batch. Those made in the body of an output operation belong to the driver alone.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::batch::BatchStamp;
use crate::chunk::{Chunk, Element};
use crate::error::{Error, Result};
use crate::time::Time;

/// Whether a consumer wants more chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// Nothing further is needed, from any input.
    Enough,
}

/// Where an operator puts its output.
pub type Emit<'a> = dyn FnMut(Chunk) -> Result<Flow> + 'a;

/// What a task knows about itself.
#[derive(Debug, Clone, Copy)]
pub struct TaskInfo {
    /// The partition of the operator's output that it computes.
    pub partition: usize,
    /// The batch that its plan runs for, if it runs for one.
    pub batch: Option<BatchStamp>,
}

/// A narrow operator: one task for each partition of its output, fed with chunks of its inputs, in order.
pub trait Operator: Send + Sync {
    /// A new task.
    fn open(&self, task: TaskInfo) -> Result<Box<dyn OperatorTask>>;
}

/// One partition's run of an [`Operator`].
pub trait OperatorTask: Send {
    /// Takes a chunk of input number `input`.
    fn push(&mut self, input: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow>;

    /// All inputs have ended.
    fn finish(&mut self, _out: &mut Emit<'_>) -> Result<()> {
        Ok(())
    }
}

/// An operator without memory: a function of each chunk.
pub struct PerChunk<F>(pub F);

impl<F> Operator for PerChunk<F>
where
    F: Fn(Chunk, &mut Emit<'_>) -> Result<Flow> + Clone + Send + Sync + 'static,
{
    fn open(&self, _task: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        Ok(Box::new(PerChunk(self.0.clone())))
    }
}

impl<F> OperatorTask for PerChunk<F>
where
    F: Fn(Chunk, &mut Emit<'_>) -> Result<Flow> + Send,
{
    fn push(&mut self, _input: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow> {
        (self.0)(chunk, out)
    }
}

/// Which closure; stable from one run of the same program to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FunctionId {
    /// The n-th closure of the graph.
    Graph(u32),
    /// The n-th closure made while a node planned a batch.
    Planned {
        /// The node, numbered within its graph.
        node: u32,
        /// The batch.
        time: Time,
        /// The order within both.
        ordinal: u32,
    },
    /// No closure of the user's: an operator that its name and types define.
    Builtin(u64),
    /// A builtin that takes a number, such as a limit.
    BuiltinOf {
        /// The builtin, by its name and types.
        key: u64,
        /// The number.
        argument: u64,
    },
    /// A closure that only the driver has.
    Driver(u64),
}

/// Where in the user's program an operator was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallSite(Place);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Rust(&'static Location<'static>),
    /// In a program of another language.
    Named(&'static str),
}

impl CallSite {
    /// The place that called the `#[track_caller]` function that asks; within [`CallSite::within`], what that was told.
    #[track_caller]
    pub fn here() -> Self {
        Self(NAMED_PLACE.get().map_or(Place::Rust(Location::caller()), Place::Named))
    }

    /// Runs `body`; what it makes is said to be made at `place`, in a program that is not Rust's: `count.py:12`.
    pub fn within<R>(place: &'static str, body: impl FnOnce() -> R) -> R {
        struct Guard(Option<&'static str>);
        impl Drop for Guard {
            fn drop(&mut self) {
                NAMED_PLACE.set(self.0);
            }
        }
        let _guard = Guard(NAMED_PLACE.replace(Some(place)));
        body()
    }
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::Rust(location) => write!(f, "{}:{}", location.file(), location.line()),
            Place::Named(place) => f.write_str(place),
        }
    }
}

impl fmt::Debug for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A registered operator.
pub struct Function {
    id: FunctionId,
    name: &'static str,
    call_site: CallSite,
    output: &'static dyn Element,
    operator: Arc<dyn Operator>,
    registry: Weak<FunctionRegistry>,
    /// Of a builtin: the widest scope in which it was made.
    scope: Mutex<Scope>,
}

/// Where else a function can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Wherever the graph is built.
    Graph,
    /// Wherever this node plans this batch.
    Planned(u32, Time),
    /// Nowhere.
    Driver,
}

impl Function {
    /// Where else it can be found.
    pub fn reach(&self) -> Reach {
        match *self.scope.lock() {
            Scope::Graph => Reach::Graph,
            Scope::Planned { node, time } => Reach::Planned(node, time),
            Scope::Driver => Reach::Driver,
        }
    }

    fn made_again_in(&self, scope: Scope) {
        let mut own = self.scope.lock();
        *own = own.widened_by(scope);
    }

    /// Its id, which is what travels.
    pub fn id(&self) -> FunctionId {
        self.id
    }

    /// The operator's name: `flat_map`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where the user's program made it.
    pub fn call_site(&self) -> CallSite {
        self.call_site
    }

    /// What its output consists of.
    pub fn output(&self) -> &'static dyn Element {
        self.output
    }

    /// What runs.
    pub fn operator(&self) -> &dyn Operator {
        self.operator.as_ref()
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            // Where a builtin was first made says nothing about the program.
            FunctionId::Builtin(_) | FunctionId::BuiltinOf { .. } => f.write_str(self.name),
            _ => write!(f, "{} at {}", self.name, self.call_site),
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            let mut inner = registry.inner.lock();
            // A later run of the same planning may have taken the id over.
            if inner.functions.get(&self.id).is_some_and(|entry| entry.strong_count() == 0) {
                inner.functions.remove(&self.id);
            }
        }
    }
}

/// In whose name closures are being registered on this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Graph,
    Planned { node: u32, time: Time },
    Driver,
}

impl Scope {
    /// The wider one; of two plannings the later, whose plans are still to come.
    fn widened_by(self, other: Scope) -> Scope {
        match (self, other) {
            (Scope::Graph, _) | (_, Scope::Driver) => self,
            _ => other,
        }
    }
}

thread_local! {
    static SCOPE: Cell<Scope> = const { Cell::new(Scope::Graph) };
    static NEXT_IN_SCOPE: Cell<u32> = const { Cell::new(0) };
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    static NAMED_PLACE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

struct ScopeGuard(Scope, u32);

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        SCOPE.set(self.0);
        NEXT_IN_SCOPE.set(self.1);
    }
}

fn enter(scope: Scope) -> ScopeGuard {
    ScopeGuard(SCOPE.replace(scope), NEXT_IN_SCOPE.replace(0))
}

/// Runs `body`; closures that it registers are numbered within this node and batch.
pub fn while_planning<R>(node: u32, time: Time, body: impl FnOnce() -> R) -> R {
    let _guard = enter(Scope::Planned { node, time });
    body()
}

/// Runs `body`; closures that it registers belong to the driver alone.
pub fn on_driver<R>(body: impl FnOnce() -> R) -> R {
    let _guard = enter(Scope::Driver);
    body()
}

/// Runs one step of a task of `function`, turning a panic in it into an error that says whose it was.
pub fn in_task<R>(function: &Function, step: impl FnOnce() -> Result<R>) -> Result<R> {
    let outer = IN_TASK.replace(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step));
    IN_TASK.set(outer);
    result.unwrap_or_else(|panic| Err(panic_error(&format!("the closure of {function:?}"), panic)))
}

/// A panic as an error that says whose it was; the error itself, if that is what was thrown.
fn panic_error(whose: &str, panic: Box<dyn std::any::Any + Send>) -> Error {
    match panic.downcast::<Error>() {
        Ok(error) => *error,
        Err(panic) => Error::usage(format!("{whose} panicked: {}", panic_message(&*panic))),
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// The result of `body`; a panic in it is an error that says whose it was.
pub fn catch_panic<R>(whose: &str, body: impl FnOnce() -> Result<R>) -> Result<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_error(whose, panic)))
}

/// An error where the caller is inside a task: RDDs and contexts are the driver's.
pub fn forbid_in_task() -> Result<()> {
    if IN_TASK.get() {
        return Err(Error::usage(
            "It appears that you are attempting to run an action on an RDD from inside a transformation or a task. \
             RDD actions can only be invoked by the driver; collect or broadcast the data first (SPARK-5063)",
        ));
    }
    Ok(())
}

type Resolver = Box<dyn Fn(u32, Time) -> Result<()> + Send + Sync>;

/// All closures of one context.
#[derive(Default)]
pub struct FunctionRegistry {
    inner: Mutex<Inner>,
    resolver: RwLock<Option<Resolver>>,
}

#[derive(Default)]
struct Inner {
    next_graph: u32,
    next_driver: u64,
    sealed: bool,
    fingerprint: crc32fast::Hasher,
    functions: HashMap<FunctionId, Weak<Function>>,
    builtins: HashMap<u64, Arc<Function>>,
    families: HashMap<u64, Family>,
}

/// A builtin that takes a number; one function is made for each use.
#[derive(Clone)]
struct Family {
    name: &'static str,
    output: &'static dyn Element,
    make: Arc<dyn Fn(u64) -> Arc<dyn Operator> + Send + Sync>,
    scope: Scope,
}

impl Inner {
    /// What is made on this thread now belongs to the driver once the graph is complete.
    fn scope(&self) -> Scope {
        match SCOPE.get() {
            Scope::Graph if self.sealed => Scope::Driver,
            scope => scope,
        }
    }
}

impl FunctionRegistry {
    /// Registers a closure. The caller keeps it alive; the registry only finds it.
    pub fn register(
        self: &Arc<Self>,
        name: &'static str,
        call_site: CallSite,
        output: &'static dyn Element,
        operator: Arc<dyn Operator>,
    ) -> Arc<Function> {
        let mut inner = self.inner.lock();
        let scope = inner.scope();
        let id = match scope {
            Scope::Graph => {
                inner.next_graph += 1;
                let line = format!("{} {name} {call_site} {}\n", inner.next_graph, output.type_name());
                inner.fingerprint.update(line.as_bytes());
                FunctionId::Graph(inner.next_graph)
            }
            Scope::Planned { node, time } => {
                let ordinal = NEXT_IN_SCOPE.replace(NEXT_IN_SCOPE.get() + 1);
                FunctionId::Planned { node, time, ordinal }
            }
            Scope::Driver => {
                inner.next_driver += 1;
                FunctionId::Driver(inner.next_driver)
            }
        };
        let (registry, scope) = (Arc::downgrade(self), Mutex::new(scope));
        let function = Arc::new(Function { id, name, call_site, output, operator, registry, scope });
        inner.functions.insert(id, Arc::downgrade(&function));
        function
    }

    /// The operator that `name` and `types` define, made at first need and kept.
    #[track_caller]
    pub fn builtin(
        self: &Arc<Self>,
        name: &'static str,
        types: &str,
        output: &'static dyn Element,
        operator: impl FnOnce() -> Arc<dyn Operator>,
    ) -> Arc<Function> {
        let call_site = CallSite::here();
        let key = stable_hash(&[name, types]);
        let mut inner = self.inner.lock();
        let made = inner.scope();
        let function = inner.builtins.entry(key).or_insert_with(|| {
            let (id, scope) = (FunctionId::Builtin(key), Mutex::new(made));
            Arc::new(Function { id, name, call_site, output, operator: operator(), registry: Weak::new(), scope })
        });
        function.made_again_in(made);
        Arc::clone(function)
    }

    /// The operator that `name` and `types` define for a number, such as a limit. Once this was called for one number,
    /// ids with any number are found. Nothing is kept per number.
    #[track_caller]
    pub fn builtin_of(
        self: &Arc<Self>,
        name: &'static str,
        types: &str,
        output: &'static dyn Element,
        argument: u64,
        make: impl Fn(u64) -> Arc<dyn Operator> + Send + Sync + 'static,
    ) -> Arc<Function> {
        let key = stable_hash(&[name, types]);
        let mut inner = self.inner.lock();
        let scope = inner.scope();
        let family = inner.families.entry(key).or_insert_with(|| Family { name, output, make: Arc::new(make), scope });
        family.scope = family.scope.widened_by(scope);
        let family = family.clone();
        drop(inner);
        Arc::new(family.function(key, argument))
    }

    /// The function behind an id that came from elsewhere, with what was said there of its reach.
    pub fn lookup_within(&self, id: FunctionId, reach: Reach) -> Result<Arc<Function>> {
        if let (None, Reach::Planned(node, time), Some(resolve)) = (self.find(id), reach, self.resolver.read().as_ref())
        {
            resolve(node, time)?;
        }
        self.lookup(id)
    }

    /// The closure behind an id that came from elsewhere.
    pub fn lookup(&self, id: FunctionId) -> Result<Arc<Function>> {
        if let Some(found) = self.find(id) {
            return Ok(found);
        }
        if let (FunctionId::Planned { node, time, .. }, Some(resolve)) = (id, self.resolver.read().as_ref()) {
            resolve(node, time)?;
        }
        self.find(id).ok_or_else(|| {
            Error::usage(format!(
                "function {id:?} is not registered in this process: driver and workers must run the same program"
            ))
        })
    }

    fn find(&self, id: FunctionId) -> Option<Arc<Function>> {
        let inner = self.inner.lock();
        match id {
            FunctionId::Builtin(key) => inner.builtins.get(&key).cloned(),
            FunctionId::BuiltinOf { key, argument } => {
                let family = inner.families.get(&key).cloned();
                drop(inner);
                family.map(|family| Arc::new(family.function(key, argument)))
            }
            _ => inner.functions.get(&id).and_then(Weak::upgrade),
        }
    }

    /// Sets what plans a node's batch again when a closure made by that planning is asked for.
    pub fn set_resolver(&self, resolver: impl Fn(u32, Time) -> Result<()> + Send + Sync + 'static) {
        *self.resolver.write() = Some(Box::new(resolver));
    }

    /// The graph is complete: closures from here on belong to the driver, or to the planning of a batch.
    pub fn seal(&self) {
        self.inner.lock().sealed = true;
    }

    /// A number that is the same for the same graph: compared before plans are exchanged.
    pub fn fingerprint(&self) -> u32 {
        self.inner.lock().fingerprint.clone().finalize()
    }
}

impl Family {
    #[track_caller]
    fn function(self, key: u64, argument: u64) -> Function {
        let (id, operator) = (FunctionId::BuiltinOf { key, argument }, (self.make)(argument));
        let (call_site, scope) = (CallSite::here(), Mutex::new(self.scope));
        Function { id, name: self.name, call_site, output: self.output, operator, registry: Weak::new(), scope }
    }
}

/// FNV-1a, which is the same in every process and on every machine.
fn stable_hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Rows;

    fn add(registry: &Arc<FunctionRegistry>, name: &'static str) -> Arc<Function> {
        let operator = Arc::new(PerChunk(|chunk, out: &mut Emit<'_>| out(chunk)));
        registry.register(name, CallSite::here(), Rows::<u32>::ELEMENT, operator)
    }

    #[test]
    fn the_same_graph_has_the_same_ids_and_fingerprint() {
        let (one, two) = (Arc::<FunctionRegistry>::default(), Arc::<FunctionRegistry>::default());
        let (a, b) = (add(&one, "map"), add(&one, "filter"));
        let (c, d) = (add(&two, "map"), add(&two, "filter"));
        assert_eq!((a.id(), b.id()), (c.id(), d.id()));
        assert_eq!(one.fingerprint(), two.fingerprint());
        let _more = add(&two, "map");
        assert_ne!(one.fingerprint(), two.fingerprint());
    }

    #[test]
    fn ids_follow_their_scope_and_vanish_with_their_function() {
        let registry = Arc::<FunctionRegistry>::default();
        let time = Time::from_millis(7);
        let planned = while_planning(3, time, || (add(&registry, "map"), add(&registry, "map")).1);
        assert_eq!(planned.id(), FunctionId::Planned { node: 3, time, ordinal: 1 });
        assert_eq!(on_driver(|| add(&registry, "map").id()), FunctionId::Driver(1));
        assert!(registry.lookup(planned.id()).is_ok());
        let id = planned.id();
        drop(planned);
        assert!(registry.lookup(id).is_err());
        registry.seal();
        assert_eq!(add(&registry, "map").id(), FunctionId::Driver(2));
    }

    #[test]
    fn a_builtin_reaches_as_far_as_the_widest_scope_that_made_it() {
        let registry = Arc::<FunctionRegistry>::default();
        let builtin = |name| {
            let make = || Arc::new(PerChunk(|chunk, out: &mut Emit<'_>| out(chunk))) as Arc<dyn Operator>;
            registry.builtin(name, "", Rows::<u32>::ELEMENT, make).reach()
        };
        let time = Time::from_millis(7);
        assert_eq!(builtin("a"), Reach::Graph);
        registry.seal();
        assert_eq!((builtin("a"), builtin("b")), (Reach::Graph, Reach::Driver));
        assert_eq!(while_planning(3, time, || builtin("b")), Reach::Planned(3, time));
        assert_eq!(on_driver(|| builtin("b")), Reach::Planned(3, time));
    }

    #[test]
    fn a_builtin_with_a_number_is_found_for_every_number() {
        let (one, two) = (Arc::<FunctionRegistry>::default(), Arc::<FunctionRegistry>::default());
        let take = |registry: &Arc<FunctionRegistry>, n| {
            let make = |_| Arc::new(PerChunk(|chunk, out: &mut Emit<'_>| out(chunk))) as Arc<dyn Operator>;
            registry.builtin_of("take", "u32", Rows::<u32>::ELEMENT, n, make)
        };
        let id = take(&one, 7).id();
        assert!(two.lookup(id).is_err());
        take(&two, 0);
        assert_eq!(two.lookup(id).unwrap().id(), id);
        assert_ne!(id, take(&one, 8).id());
    }

    #[test]
    fn a_panic_becomes_an_error_with_name_and_place() {
        let registry = Arc::<FunctionRegistry>::default();
        let function = add(&registry, "map");
        let error = in_task::<()>(&function, || panic!("boom")).unwrap_err();
        assert!(error.message().contains("map at") && error.message().contains("boom"), "{error}");
        assert!(in_task(&function, forbid_in_task).is_err() && forbid_in_task().is_ok());
    }
}

//! Storage that fails when it is told to, over storage that does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemill_engine::checkpoint::{AppendLog, CheckpointStorage};
use tidemill_engine::error::{Error, Result};

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It has no effect, and says so.
    Fails,
    /// It says that it has failed, though it has its effect: the answer was lost.
    Tears,
    /// The process dies before it has an effect.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
    /// It takes a while.
    Waits,
}

/// What happens at the n-th call of a kind.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What the call does, to what: `append offsets`.
    pub kind: String,
    /// Which one of them, from 0.
    pub passage: u32,
    /// What happens.
    pub mode: Mode,
}

/// The faults of one life of a process.
#[derive(Default)]
pub struct Faults {
    planned: Vec<Fault>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    passed: BTreeMap<String, u32>,
    dead: bool,
    hit: Vec<String>,
}

impl Faults {
    /// These will happen, if the life comes so far.
    pub fn new(planned: Vec<Fault>) -> Arc<Self> {
        Arc::new(Self { planned, state: Mutex::default() })
    }

    /// Whether the process is dead: nothing that it does has an effect any more.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// The faults that happened.
    pub fn hit(&self) -> Vec<String> {
        self.state.lock().hit.clone()
    }

    /// A call of a kind.
    pub fn around<T>(&self, kind: &str, effect: impl FnOnce() -> Result<T>) -> Result<T> {
        let mode = {
            let mut state = self.state.lock();
            if state.dead {
                return Err(Error::retry("the process is dead"));
            }
            let passed = state.passed.entry(kind.to_string()).or_default();
            let passage = *passed;
            *passed += 1;
            let fault = self.planned.iter().find(|fault| fault.kind == kind && fault.passage == passage);
            if let Some(fault) = fault {
                state.hit.push(format!("{:?} at {kind} {passage}", fault.mode));
            }
            state.dead |= fault.is_some_and(|fault| fault.mode == Mode::DiesBefore);
            fault.map(|fault| fault.mode)
        };
        let lost = || Error::retry(format!("{kind}: a planned fault"));
        match mode {
            None => effect(),
            Some(Mode::Waits) => {
                (0..50).for_each(|_| std::thread::yield_now());
                effect()
            }
            Some(Mode::Fails | Mode::DiesBefore) => Err(lost()),
            Some(Mode::Tears) => effect().and(Err(lost())),
            Some(Mode::DiesAfter) => {
                let result = effect();
                self.state.lock().dead = true;
                result.and(Err(lost()))
            }
        }
    }
}

/// Storage with faults.
pub struct FaultyStorage {
    /// What is beneath.
    pub beneath: Arc<dyn CheckpointStorage>,
    /// What happens.
    pub faults: Arc<Faults>,
}

struct FaultyLog {
    name: String,
    beneath: Box<dyn AppendLog>,
    faults: Arc<Faults>,
    /// As the contract has it: after an error a log takes no more.
    failed: bool,
}

impl CheckpointStorage for FaultyStorage {
    fn place(&self, name: &str) -> String {
        self.beneath.place(name)
    }

    fn open_log(&self, name: &str) -> Result<Box<dyn AppendLog>> {
        let beneath = self.faults.around(&format!("open {name}"), || self.beneath.open_log(name))?;
        Ok(Box::new(FaultyLog { name: name.into(), beneath, faults: Arc::clone(&self.faults), failed: false }))
    }

    fn put(&self, name: &str, body: Bytes) -> Result<()> {
        // All files of a folder are of one kind.
        let kind = name.rsplit_once('/').map_or(name, |(folder, _)| folder);
        self.faults.around(&format!("put {kind}"), || self.beneath.put(name, body))
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.faults.around("get", || self.beneath.get(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.faults.around("list", || self.beneath.list(folder))
    }

    fn check_alone(&self) -> Result<()> {
        self.faults.around("check", || self.beneath.check_alone())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.faults.around("delete", || self.beneath.delete(name))
    }
}

impl FaultyLog {
    fn write(&mut self, doing: &str, effect: impl FnOnce(&mut dyn AppendLog) -> Result<()>) -> Result<()> {
        if self.failed {
            return Err(Error::retry(format!("{} must be opened again", self.name)));
        }
        let Self { name, beneath, faults, .. } = self;
        let result = faults.around(&format!("{doing} {name}"), || effect(beneath.as_mut()));
        self.failed = result.is_err();
        result
    }
}

impl AppendLog for FaultyLog {
    fn numbers(&self) -> Vec<u64> {
        self.beneath.numbers()
    }

    fn read(&self, number: u64) -> Result<Bytes> {
        self.faults.around(&format!("read {}", self.name), || self.beneath.read(number))
    }

    fn place(&self, number: u64) -> String {
        self.beneath.place(number)
    }

    fn append(&mut self, number: u64, body: &[u8]) -> Result<()> {
        self.write("append", |log| log.append(number, body))
    }

    fn purge_before(&mut self, number: u64) -> Result<()> {
        self.write("purge", |log| log.purge_before(number))
    }

    fn truncate_from(&mut self, number: u64) -> Result<()> {
        self.write("truncate", |log| log.truncate_from(number))
    }
}

/// Storage without faults, without files, and faster than any: what two lives share.
#[derive(Default)]
pub struct PlainStorage(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    files: BTreeMap<String, Bytes>,
    logs: BTreeMap<String, BTreeMap<u64, Bytes>>,
}

struct PlainLog {
    name: String,
    content: Arc<Mutex<Content>>,
}

impl PlainLog {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<u64, Bytes>) -> R) -> R {
        f(self.content.lock().logs.entry(self.name.clone()).or_default())
    }
}

impl CheckpointStorage for PlainStorage {
    fn place(&self, name: &str) -> String {
        format!("plain/{name}")
    }

    fn open_log(&self, name: &str) -> Result<Box<dyn AppendLog>> {
        Ok(Box::new(PlainLog { name: name.into(), content: Arc::clone(&self.0) }))
    }

    fn put(&self, name: &str, body: Bytes) -> Result<()> {
        self.0.lock().files.insert(name.into(), body);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.0.lock().files.get(name).cloned())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let below = format!("{folder}/");
        Ok(self.0.lock().files.keys().filter(|name| name.starts_with(&below)).cloned().collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.0.lock().files.remove(name);
        Ok(())
    }
}

impl AppendLog for PlainLog {
    fn numbers(&self) -> Vec<u64> {
        self.with(|entries| entries.keys().copied().collect())
    }

    fn read(&self, number: u64) -> Result<Bytes> {
        let missing = || Error::data(format!("{} has no entry {number}", self.name));
        self.with(|entries| entries.get(&number).cloned()).ok_or_else(missing)
    }

    fn place(&self, number: u64) -> String {
        format!("plain/{}/{number}", self.name)
    }

    fn append(&mut self, number: u64, body: &[u8]) -> Result<()> {
        self.with(|entries| match entries.last_key_value() {
            Some((last, _)) if *last >= number => {
                Err(Error::internal(format!("entry {number} does not follow {last} of {}", self.name)))
            }
            _ => {
                entries.insert(number, Bytes::copy_from_slice(body));
                Ok(())
            }
        })
    }

    fn purge_before(&mut self, number: u64) -> Result<()> {
        self.with(|entries| *entries = entries.split_off(&number));
        Ok(())
    }

    fn truncate_from(&mut self, number: u64) -> Result<()> {
        self.with(|entries| drop(entries.split_off(&number)));
        Ok(())
    }
}

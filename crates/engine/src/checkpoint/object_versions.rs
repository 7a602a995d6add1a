//! Which version of each object this driver has seen last: it replaces that one, and not what another driver has written since.
//!
//! A driver can be held up between its look whether it is alone and its write, for as long as it likes. If another one takes the checkpoint over
//! meanwhile and writes the same object, the late write must not replace that.

use std::collections::HashMap;

use object_store::{PutMode, PutResult, UpdateVersion};
use parking_lot::Mutex;

/// By name.
#[derive(Default)]
pub struct ObjectVersions(Mutex<HashMap<String, Seen>>);

#[derive(Clone)]
enum Seen {
    Absent,
    Version(UpdateVersion),
}

impl ObjectVersions {
    /// An object was looked for, and was not there.
    pub fn absent(&self, name: &str) {
        self.0.lock().insert(name.to_string(), Seen::Absent);
    }

    /// An object was read.
    pub fn read(&self, name: &str, e_tag: Option<String>, version: Option<String>) {
        self.set(name, UpdateVersion { e_tag, version });
    }

    /// An object was written.
    pub fn written(&self, name: &str, result: PutResult) {
        self.set(name, result.into());
    }

    /// An object was removed.
    pub fn forget(&self, name: &str) {
        self.0.lock().remove(name);
    }

    /// How it may be written. What was never looked for is this driver's alone.
    pub fn mode(&self, name: &str) -> PutMode {
        match self.0.lock().get(name).cloned() {
            None => PutMode::Overwrite,
            Some(Seen::Absent) => PutMode::Create,
            Some(Seen::Version(version)) => PutMode::Update(version),
        }
    }

    fn set(&self, name: &str, version: UpdateVersion) {
        // A store that gives its objects no versions can't compare them.
        if version.e_tag.is_some() {
            self.0.lock().insert(name.to_string(), Seen::Version(version));
        } else {
            self.forget(name);
        }
    }
}

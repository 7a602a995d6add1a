//! A server as a process: its log, its readiness, its end.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

/// Longer than a server takes: what does not come by then does not come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server that runs. Dropped, it is killed.
pub struct ServerProcess {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts a server, whose outputs are added to `log`.
    ///
    /// # Errors
    /// If its program is not there.
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let failed = |error| Error::retry(format!("{name} can't be started")).with_source(error);
        let file = File::options().create(true).append(true).open(log).map_err(failed)?;
        let outputs = (file.try_clone().map_err(failed)?, file);
        let command = command.stdin(Stdio::null()).stdout(outputs.0).stderr(outputs.1);
        Ok(Self { name, child: command.spawn().map_err(failed)?, log: log.to_path_buf() })
    }

    /// Waits until it is `ready`; false if it has ended by itself before.
    ///
    /// # Errors
    /// If it does neither for [`PATIENCE`]; with the end of its log.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<bool> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.has_ended()? {
                return Ok(false);
            }
            if ready() {
                return Ok(true);
            }
            Waker::default().sleep(Duration::from_millis(10));
        }
        Err(self.failure("does not answer"))
    }

    /// An error about it, with the end of its log.
    pub fn failure(&self, what: &str) -> Error {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let end = String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned();
        Error::internal(format!("{} {what}: {end}", self.name))
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        self.child.try_wait().map(|status| status.is_some()).map_err(|error| self.lost(error))
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL: no buffer is flushed, no client hears a word.
    ///
    /// # Errors
    /// If the system does not say when it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// Has it end by a signal that it can catch, and waits for its end.
    ///
    /// # Errors
    /// If the system does not say when it is gone.
    pub fn stop(mut self, signal: Signal) -> Result<()> {
        self.end(signal)
    }

    /// Sends it a signal: to stop it for a while, and have it go on.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).map_err(|error| self.lost(error.into()))
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        if !self.has_ended()? {
            self.signal(signal)?;
        }
        self.child.wait().map(drop).map_err(|error| self.lost(error))
    }

    fn lost(&self, error: std::io::Error) -> Error {
        Error::internal(format!("the process of {} is lost", self.name)).with_source(error)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of this machine where nobody listens now. Should somebody else come first, the server's start says so.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::retry("there is no free port").with_source(error))
}

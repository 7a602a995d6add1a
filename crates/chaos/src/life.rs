//! A life of a program: a process, from its start until it ends or is killed.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use tidemill_engine::error::{Error, Result};

/// The signal that can't be caught.
const SIGKILL: i32 = 9;

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// What it said on the standard error.
    pub said: String,
}

impl Ended {
    /// Whether it was killed.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(SIGKILL)
    }

    /// An error unless it ended well.
    pub fn check(self) -> Result<()> {
        if self.status.success() {
            return Ok(());
        }
        Err(Error::data(format!("the program ended by itself, {}: {}", self.status, self.said.trim())))
    }
}

/// A process that runs. Dropped, it is killed.
pub struct Life {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Option<JoinHandle<String>>,
}

impl Life {
    /// Starts `command`, whose standard input is what keeps it alive.
    pub fn start(command: &mut Command) -> Result<Self> {
        let failed = |error| Error::retry("the program can't be started").with_source(error);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let read = move || {
            let mut said = Vec::new();
            // What can't be read was not said.
            let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut said));
            String::from_utf8_lossy(&said).into_owned()
        };
        Ok(Self { child, stdin, stderr: Some(std::thread::spawn(read)) })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        self.child.try_wait().map(|status| status.is_some()).map_err(lost)
    }

    /// Kills it, if it has not ended by itself, and waits for its end.
    pub fn kill(mut self) -> Result<Ended> {
        // Of a process that has ended by itself the status tells.
        let _ = self.child.kill();
        self.end()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Result<Ended> {
        self.end()
    }

    /// Has it end gracefully, and waits for that.
    pub fn finish(mut self) -> Result<Ended> {
        self.stdin = None;
        self.end()
    }

    fn end(&mut self) -> Result<Ended> {
        // Waiting would close the standard input, and so end the process.
        let stdin = self.stdin.take();
        let said = self.stderr.take().and_then(|stderr| stderr.join().ok()).unwrap_or_default();
        let status = self.child.wait().map_err(lost)?;
        drop(stdin);
        Ok(Ended { status, said })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::internal("the program can't be waited for").with_source(error)
}

/// A command of the `chaos` at `path`; killed at a step of the protocol, if one is named.
pub fn command(path: &Path, arguments: &[String], kill_at: Option<&str>) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_remove("TIDEMILL_KILL_AT");
    if let Some(kill_at) = kill_at {
        command.env("TIDEMILL_KILL_AT", kill_at);
    }
    command
}

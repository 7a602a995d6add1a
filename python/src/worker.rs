//! `Worker`: a process that runs Python functions beside this one, and what is said to it.
//!
//! The two talk over a pair of sockets that nobody else can reach. A frame is a byte that says what it is, the length of what follows (8
//! bytes, little-endian), and that. The worker asks and this side answers, so that neither waits for the other to read: the worker asks
//! for each piece of the input (`NEXT`: `PIECE` or `END`), and after each piece of the result whether to go on (`RESULT`: `MORE` or `STOP`).
//! `python/tidemill/worker.py` is the other side.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tidemill_engine::error::{Error, Result};

use crate::interpreter::PATIENCE;

// From here to the worker.
pub const FUNCTION: u8 = b'F';
pub const BROADCAST: u8 = b'B';
pub const FORGET: u8 = b'X';
pub const TASK: u8 = b'T';
pub const PIECE: u8 = b'P';
pub const END: u8 = b'E';
pub const MORE: u8 = b'M';
pub const STOP: u8 = b'S';
// From the worker.
pub const HELLO: u8 = b'H';
pub const NEXT: u8 = b'N';
pub const RESULT: u8 = b'R';
pub const ADDED: u8 = b'A';
pub const DONE: u8 = b'D';
pub const RAISED: u8 = b'!';
pub const UNREADABLE: u8 = b'U';

/// How long a worker may take to start.
const START: Duration = Duration::from_secs(60);
/// Frames up to this size go out in one call.
const SMALL: usize = 64 << 10;

/// SIGINT and SIGTERM, which a worker ignores as soon as it can.
const IGNORED: [i32; 2] = [2, 15];
/// So many times a worker is started that such a signal ends.
const MOST_STARTS: usize = 3;

/// A worker process. It ends when this is dropped.
pub struct Worker {
    /// The process that has started it.
    parent: u32,
    child: Child,
    socket: UnixStream,
    /// The functions that it has.
    pub functions: HashSet<u64>,
    /// The broadcast values that it has, and when they were sent.
    pub broadcasts: HashMap<u64, u64>,
}

impl Worker {
    /// Starts the interpreter with this command, and waits until it is there.
    pub fn start(command: &[String]) -> Result<Self> {
        let mut started = Self::start_once(command);
        for _ in 1..MOST_STARTS {
            match started {
                Err(NotStarted { too_early: true, .. }) => started = Self::start_once(command),
                _ => break,
            }
        }
        started.map_err(|failed| failed.error)
    }

    fn start_once(command: &[String]) -> std::result::Result<Self, NotStarted> {
        let failed = |error: io::Error| Error::retry("a Python worker can't be started").with_source(error);
        let (program, arguments) = command.split_first().ok_or_else(|| Error::internal("workers have no command"))?;
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let child = Command::new(program).args(arguments).stdin(Stdio::from(OwnedFd::from(theirs))).spawn();
        let (child, parent) = (child.map_err(failed)?, std::process::id());
        let mut worker = Self { parent, child, socket, functions: HashSet::new(), broadcasts: HashMap::new() };
        worker.socket.set_read_timeout(Some(START)).map_err(failed)?;
        let late = || Err(Error::retry("a Python worker did not say within a minute that it is there"));
        let hello = worker.receive(&mut { late }).map_err(|error| {
            let signal = worker.child.try_wait().ok().flatten().and_then(|status| status.signal());
            NotStarted { error, too_early: signal.is_some_and(|signal| IGNORED.contains(&signal)) }
        })?;
        worker.socket.set_read_timeout(None).map_err(failed)?;
        if hello.0 == HELLO { Ok(worker) } else { Err(strange(hello.0).into()) }
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(9 + if body.len() > SMALL { 0 } else { body.len() });
        frame.push(kind);
        frame.extend((body.len() as u64).to_le_bytes());
        let sent = if body.len() > SMALL {
            self.socket.write_all(&frame).and_then(|()| self.socket.write_all(body))
        } else {
            frame.extend(body);
            self.socket.write_all(&frame)
        };
        sent.map_err(|error| self.lost(&error))
    }

    /// Looks every tenth of a second whether the task is still wanted, if it can be cancelled.
    pub fn can_be_cancelled(&mut self, can: bool) -> Result<()> {
        self.socket.set_read_timeout(can.then_some(PATIENCE)).map_err(|error| self.lost(&error))
    }

    /// The next frame. `late` is asked whenever the socket's time is up.
    pub fn receive(&mut self, late: &mut dyn FnMut() -> Result<()>) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.fill(&mut head, late)?;
        let length = u64::from_le_bytes(head[1..].try_into().unwrap_or_default());
        let length = usize::try_from(length).map_err(|_| strange(head[0]))?;
        let mut body = Vec::new();
        body.try_reserve_exact(length).map_err(|error| {
            Error::retry(format!("there is no memory for {length} bytes of a worker")).with_source(error)
        })?;
        body.resize(length, 0);
        self.fill(&mut body, late)?;
        Ok((head[0], body))
    }

    fn fill(&mut self, mut buffer: &mut [u8], late: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        while !buffer.is_empty() {
            match self.socket.read(buffer) {
                Ok(0) => return Err(self.lost(&ErrorKind::UnexpectedEof.into())),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => late()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }

    /// The process is gone: the error says how it ended.
    fn lost(&mut self, error: &io::Error) -> Error {
        // It has closed its socket, so that it is at its end, or can do nothing more.
        let ended = (0..50).find_map(|_| match self.child.try_wait() {
            Ok(Some(status)) => Some(status),
            _ => {
                std::thread::sleep(Duration::from_millis(10));
                None
            }
        });
        let how = ended.map_or_else(|| error.to_string(), said);
        Error::usage(format!(
            "the Python worker that ran it ended ({how}). A library in C, or os._exit, may have ended it, or the system for want of memory: \
             see what was written to standard error. With tidemill.python.functions=driver functions run in the program's own process"
        ))
    }
}

/// Why there is no worker.
struct NotStarted {
    error: Error,
    /// A signal to all processes of the program came before it could ignore that.
    too_early: bool,
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self { error, too_early: false }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::process::id() != self.parent {
            // In a process that was forked: others need it.
            return;
        }
        // It may be in the middle of something. Both fail only if it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn said(status: ExitStatus) -> String {
    status.to_string()
}

/// A frame that does not belong here.
pub fn strange(kind: u8) -> Error {
    Error::internal(format!("a Python worker said {:?} where it should not", char::from(kind)))
}

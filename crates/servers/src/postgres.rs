//! A PostgreSQL server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use rustix::process::Signal;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

use crate::process::{PATIENCE, ServerProcess, free_port};

const PASSWORD: &str = "hunter2";

/// A server that can be killed and started again.
pub struct PostgresServer {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
    process: Mutex<Option<ServerProcess>>,
}

impl PostgresServer {
    /// The one server of all tests that only need any.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// A new server.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let binaries = binaries()?;
        let failed = |error| Error::retry("a folder for PostgreSQL can't be made").with_source(error);
        let folder = tempfile::Builder::new().prefix("tidemill-postgres-").tempdir().map_err(failed)?;
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).map_err(failed)?;
        // PostgreSQL does not run as root: another user must get in.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).map_err(failed)?;
        let mut initdb = as_someone(&binaries.join("initdb"));
        initdb.arg("-D").arg(folder.path().join("data")).arg("--pwfile").arg(&password);
        initdb.args(["-U", "tidemill", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"]);
        let made = initdb.output().map_err(failed)?;
        if !made.status.success() {
            return Err(Error::internal(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr))));
        }
        let server = Self { folder, binaries, port: free_port()?, process: Mutex::default() };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it on the same data, after a kill, and waits until it answers.
    ///
    /// # Errors
    /// If it does not.
    pub fn start_again(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let log = self.folder.path().join("log");
            let mut command = as_someone(&self.binaries.join("postgres"));
            command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
            command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            // It is killed here, not the machine: what it wrote is there, synced or not.
            command.args(["-c", "max_connections=50", "-c", "fsync=off"]);
            let mut process = ServerProcess::start("PostgreSQL", &mut command, &log)?;
            if process.wait_until(|| Client::connect(&self.url(), NoTls).is_ok())? {
                *self.process() = Some(process);
                return Ok(());
            }
            // What is left of a server that was killed goes away in a moment; until then a new one ends at once.
            if began.elapsed() > PATIENCE {
                return Err(process.failure("does not start"));
            }
            Waker::default().sleep(Duration::from_millis(50));
        }
    }

    /// Kills it with SIGKILL: no buffer is flushed, no client hears a word.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self) -> Result<()> {
        let process = self.process().take();
        process.ok_or_else(|| Error::usage("PostgreSQL does not run")).and_then(ServerProcess::kill)
    }

    /// Where it is, with user and password.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    /// Where it is, with another password.
    pub fn url_with(&self, password: &str) -> String {
        format!("postgres://tidemill:{password}@127.0.0.1:{}/postgres?connect_timeout=30", self.port)
    }

    /// A new connection.
    ///
    /// # Errors
    /// If it does not run.
    pub fn client(&self) -> Result<Client> {
        let failed = |error| Error::retry("PostgreSQL can't be reached").with_source(error);
        Client::connect(&self.url(), NoTls).map_err(failed)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<ServerProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(process) = self.process().take() {
            // It stops at once, and the processes of connections too. What is left is killed.
            let _ = process.stop(Signal::QUIT);
        }
    }
}

/// A command as a user that PostgreSQL runs as.
fn as_someone(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// The folder of `initdb` and `postgres`: of the newest version in Debian's place, or on the path.
fn binaries() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let newest = installed.max_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    newest.or_else(on_path).ok_or_else(|| Error::usage("PostgreSQL is not installed: run scripts/install-servers"))
}

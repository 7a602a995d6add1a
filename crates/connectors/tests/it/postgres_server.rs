//! A PostgreSQL server of the tests' own: on a free port of this machine, in a folder that is removed.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

const PASSWORD: &str = "hunter2";

/// Longer than a server takes: what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that can be killed and started again. Stopped when it is dropped.
pub struct PostgresServer {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl PostgresServer {
    /// The one server of all tests that only need any.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A new server.
    pub fn start() -> Self {
        let binaries = binaries();
        let folder = tempfile::Builder::new().prefix("tidemill-postgres-").tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        // PostgreSQL does not run as root: another user must get in.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let mut initdb = as_someone(&binaries.join("initdb"));
        initdb.arg("-D").arg(&data).args([
            "-U",
            "tidemill",
            "-A",
            "scram-sha-256",
            "--no-sync",
            "-E",
            "UTF8",
            "--pwfile",
        ]);
        let made = initdb.arg(&password).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Nobody listens there now; should somebody else come first, the start says so.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let server = Self { folder, binaries, port, process: Mutex::default() };
        server.start_again();
        server
    }

    /// Starts it on the same data, after a kill, and waits until it answers.
    pub fn start_again(&self) {
        let began = Instant::now();
        while !self.try_start() {
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start: {}", self.log());
        }
    }

    fn try_start(&self) -> bool {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = as_someone(&self.binaries.join("postgres"));
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50"]);
        // It is killed here, not the machine: what it wrote is there, synced or not.
        command.args(["-c", "fsync=off"]);
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            // What is left of a server that was killed goes away in a moment; until then a new one ends at once.
            if child.try_wait().unwrap().is_some() {
                child.wait().unwrap();
                std::thread::sleep(Duration::from_millis(50));
                return false;
            }
            if Client::connect(&self.url(), NoTls).is_ok() {
                *self.process.lock().unwrap() = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        child.wait().unwrap();
        panic!("PostgreSQL does not answer: {}", self.log());
    }

    /// Kills it with SIGKILL: no buffer is flushed, no client hears a word.
    pub fn kill(&self) {
        let mut child = self.process.lock().unwrap().take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Where it is, with user and password.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    /// Where it is, with another password.
    pub fn url_with(&self, password: &str) -> String {
        format!("postgres://tidemill:{password}@127.0.0.1:{}/postgres?connect_timeout=30", self.port)
    }

    /// A connection of the test's.
    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Ok(mut process) = self.process.lock()
            && let Some(mut child) = process.take()
        {
            // SIGQUIT: stop at once, and the processes of connections too.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

/// A command as a user that PostgreSQL runs as.
fn as_someone(program: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// The folder of `initdb` and `postgres`: of the newest version in Debian's place, or on the path.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let newest = installed.max_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    newest.or_else(on_path).expect("PostgreSQL is not installed: run scripts/install-servers")
}

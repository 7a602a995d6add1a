//! A Kafka broker, with its controller in one process (KRaft).
//!
//! `scripts/install-servers` fetches the jars of `kafka/pom.xml` from Maven Central into the cache, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use rustix::process::Signal;
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

use crate::kafka_client::KafkaClient;
use crate::kafka_tls;
use crate::process::{PATIENCE, ServerProcess, free_port};

/// Brokers that run at once in a process of tests: each is a JVM.
const MOST: usize = 2;

/// What a broker says when it is ready.
const READY: &str = "Kafka Server started";

/// How a broker is set up.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    heap_mb: Option<u32>,
    long_lived: bool,
    properties: Vec<(String, String)>,
    sasl: Option<(String, String)>,
    tls: bool,
}

impl KafkaOptions {
    /// The heap of the JVM, in megabytes; 512 unless said otherwise.
    pub fn heap_mb(mut self, heap_mb: u32) -> Self {
        self.heap_mb = Some(heap_mb);
        self
    }

    /// For benches: the JVM compiles well rather than soon.
    pub fn long_lived(mut self) -> Self {
        self.long_lived = true;
        self
    }

    /// A property of the broker.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// Clients must log in, by SASL/PLAIN.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.sasl = Some((user.into(), password.into()));
        self
    }

    /// Clients must speak TLS, and trust [`KafkaServer::certificate`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    fn protocol(&self) -> &'static str {
        match (self.sasl.is_some(), self.tls) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SASL_PLAINTEXT",
            (false, true) => "SSL",
            (true, true) => "SASL_SSL",
        }
    }
}

/// A broker that can be killed and started again.
pub struct KafkaServer {
    folder: tempfile::TempDir,
    options: KafkaOptions,
    port: u16,
    process: Mutex<Option<ServerProcess>>,
    _slot: Slot,
}

impl KafkaServer {
    /// The one broker of all tests that only need any.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<KafkaServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start(KafkaOptions::default())?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// A new broker without topics. It keeps records for ever, for some of those that tests send bear times of 1970.
    ///
    /// # Errors
    /// If Kafka is not installed, or does not start.
    pub fn start(options: KafkaOptions) -> Result<Self> {
        let slot = Slot::take();
        let failed = |error| Error::retry("a folder for Kafka can't be made").with_source(error);
        let folder = tempfile::Builder::new().prefix("tidemill-kafka-").tempdir().map_err(failed)?;
        let (port, controller) = (free_port()?, free_port()?);
        let protocol = options.protocol();
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=CLIENTS://127.0.0.1:{port}\n\
             listener.security.protocol.map=CLIENTS:{protocol},CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=CLIENTS\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=3\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=3\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\nlog.flush.interval.messages=9223372036854775807\n\
             log.retention.ms=-1\n",
            folder.path().join("log").display(),
        );
        if let Some((user, password)) = &options.sasl {
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
            properties += &format!(
                "sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n\
                 listener.name.clients.plain.sasl.jaas.config={module} required \
                 username=\"{user}\" password=\"{password}\" user_{user}=\"{password}\";\n"
            );
        }
        if options.tls {
            properties += &kafka_tls::properties(folder.path())?;
        }
        options.properties.iter().for_each(|(key, value)| properties += &format!("{key}={value}\n"));
        fs::write(folder.path().join("server.properties"), properties).map_err(failed)?;
        fs::write(folder.path().join("log4j2.properties"), include_str!("../kafka/log4j2.properties"))
            .map_err(failed)?;
        let server = Self { folder, options, port, process: Mutex::default(), _slot: slot };
        let mut format = server.java()?;
        format.args(["kafka.tools.StorageTool", "format", "--standalone", "-t", "dGlkZW1pbGwtdGVzdHMtMQ", "-c"]);
        let made = format.arg(server.folder.path().join("server.properties")).output().map_err(failed)?;
        if !made.status.success() {
            let said = [made.stdout, made.stderr].concat();
            return Err(Error::internal(format!("Kafka's storage: {}", String::from_utf8_lossy(&said))));
        }
        server.start_again()?;
        Ok(server)
    }

    /// Starts it on the same data, after a kill, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_again(&self) -> Result<()> {
        let (began, log) = (Instant::now(), self.folder.path().join("output"));
        loop {
            let mut command = self.java()?;
            command.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
            let said_before = said(&log).len();
            let mut process = ServerProcess::start("Kafka", &mut command, &log)?;
            if process.wait_until(|| said(&log).get(said_before..).is_some_and(|new| new.contains(READY)))? {
                *self.process() = Some(process);
                return Ok(());
            }
            // The port may be taken for a moment.
            if began.elapsed() > PATIENCE / 4 {
                return Err(process.failure("does not start"));
            }
            Waker::default().sleep(std::time::Duration::from_millis(200));
        }
    }

    /// Kills it with SIGKILL: no buffer is flushed, no client hears a word.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self) -> Result<()> {
        let process = self.process().take();
        process.ok_or_else(|| Error::usage("Kafka does not run")).and_then(ServerProcess::kill)
    }

    /// Where clients find it: `host:port`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its certificate lies, in PEM, if it speaks TLS.
    pub fn certificate(&self) -> PathBuf {
        kafka_tls::certificate(self.folder.path())
    }

    /// A client of it, logged in where that is asked for.
    pub fn client(&self) -> KafkaClient {
        let brokers = self.brokers();
        let certificate = self.certificate().display().to_string();
        let mut settings =
            vec![("bootstrap.servers", brokers.as_str()), ("security.protocol", self.options.protocol())];
        if self.options.tls {
            settings.push(("ssl.ca.location", certificate.as_str()));
        }
        if let Some((user, password)) = &self.options.sasl {
            settings.push(("sasl.mechanism", "PLAIN"));
            settings.extend([("sasl.username", user.as_str()), ("sasl.password", password.as_str())]);
        }
        KafkaClient::new(settings)
    }

    fn java(&self) -> Result<Command> {
        let heap = self.options.heap_mb.unwrap_or(512);
        let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
        let mut command = Command::new(home.unwrap_or_else(|| "java".into()));
        command.arg(format!("-Xmx{heap}m")).arg("-XX:+UseSerialGC");
        if !self.options.long_lived {
            command.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        }
        command.arg(format!("-Dlog4j2.configurationFile={}", self.folder.path().join("log4j2.properties").display()));
        command.arg("-cp").arg(jars()?.join("*"));
        Ok(command)
    }

    fn process(&self) -> MutexGuard<'_, Option<ServerProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        if let Some(process) = self.process().take() {
            // Its data goes with it, so it need not end in order.
            let _ = process.stop(Signal::KILL);
        }
    }
}

fn said(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// The folder of Kafka's jars.
fn jars() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let servers = variable("TIDEMILL_SERVERS").or_else(|| cache.map(|cache| cache.join("tidemill/servers")));
    let servers = servers.ok_or_else(|| Error::usage("there is no HOME to look for servers in"))?;
    let jars = servers.join("kafka");
    if jars.join("complete").exists() {
        return Ok(jars);
    }
    let why = fs::read_to_string(servers.join("kafka-failed")).unwrap_or_default();
    Err(Error::usage(format!("Kafka is not installed: run scripts/install-servers. {}", why.trim())))
}

/// The right to run a broker.
struct Slot;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Slot {
    fn take() -> Self {
        let running = RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running =
            RUNNING.1.wait_while(running, |running| *running >= MOST).unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        RUNNING.1.notify_one();
    }
}

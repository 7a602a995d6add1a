//! The server that the program writes to, killed at random moments and started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};
use tidemill_servers::kafka::KafkaServer;
use tidemill_servers::postgres::PostgresServer;

/// A server that can be killed.
pub enum KilledServer {
    /// PostgreSQL.
    Postgres(PostgresServer),
    /// Kafka.
    Kafka(KafkaServer),
}

impl KilledServer {
    fn kill_and_start(&self) -> Result<()> {
        match self {
            Self::Postgres(server) => server.kill().and_then(|()| server.start_again()),
            Self::Kafka(server) => server.kill().and_then(|()| server.start_again()),
        }
    }
}

/// Kills a server, evenly over the lives of a program, while that is killed, too.
pub struct Killing {
    /// How often the program was killed.
    program_kills: Arc<AtomicU32>,
    stop: Waker,
    thread: JoinHandle<Result<KilledServer>>,
}

impl Killing {
    /// Begins with a server that is to be killed so often, of a program that is killed so often.
    pub fn start(server: KilledServer, kills: u32, of_program: u32, life_ms: u64, seed: u64) -> Self {
        let (program_kills, stop) = (Arc::new(AtomicU32::new(0)), Waker::default());
        let (counter, stopped) = (Arc::clone(&program_kills), stop.clone());
        // Other moments than the program's.
        let mut random = SmallRng::seed_from_u64(seed.wrapping_add(1 << 32));
        let thread = std::thread::spawn(move || {
            for kill in 0..kills {
                let turn = u64::from(kill) * u64::from(of_program) / u64::from(kills);
                while u64::from(counter.load(Ordering::Relaxed)) < turn && !stopped.is_awake() {
                    Waker::default().sleep(Duration::from_millis(10));
                }
                Waker::default().sleep(Duration::from_millis(random.random_range(0..life_ms.max(1))));
                server.kill_and_start()?;
            }
            Ok(server)
        });
        Self { program_kills, stop, thread }
    }

    /// The program was killed so often.
    pub fn program_killed(&self, times: u32) {
        self.program_kills.store(times, Ordering::Relaxed);
    }

    /// Waits for the last kill; the server runs.
    ///
    /// # Errors
    /// If the server did not start again.
    pub fn finish(self) -> Result<KilledServer> {
        self.stop.wake();
        self.thread.join().map_err(|_| Error::internal("the thread that kills the server has panicked"))?
    }
}

//! Kills at random moments, and the comparison at the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

use crate::database::{use_postgres, use_sqlite};
use crate::input::{Pace, SourceKind};
use crate::kafka::use_kafka;
use crate::oracle::Verdict;
use crate::program::Program;
use crate::server::{KilledServer, Killing};
use crate::sink::{Plant, SinkKind};
use crate::trial::Trial;

/// Kill a stateful word count at random moments, start it again each time, and compare what it wrote with its input.
#[derive(Debug, Clone, Args)]
pub struct Kills {
    /// How often it is killed.
    #[arg(long, default_value_t = 200)]
    pub kills: u32,
    /// How often the server that it writes to is killed meanwhile, and started again: PostgreSQL or Kafka.
    #[arg(long, default_value_t = 0)]
    pub server_kills: u32,
    /// From where it reads; Kafka goes with --sink kafka only.
    #[arg(long, value_enum, default_value_t)]
    pub source: SourceKind,
    /// Where it writes.
    #[arg(long, value_enum, default_value_t)]
    pub sink: SinkKind,
    /// The same seed kills after the same pauses.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The time between batches.
    #[arg(long, default_value_t = 10)]
    pub interval_ms: u64,
    /// The longest life; each has a random part of it.
    #[arg(long, default_value_t = 400)]
    pub life_ms: u64,
    /// A fault that the program has: the comparison must find it. Loss and duplicate are faults of the sink of text files, at-least-once is
    /// one of Kafka's.
    #[arg(long, value_enum, default_value_t)]
    pub plant: Plant,
    /// The folder for input, checkpoint and outputs, which stays; by default one that goes.
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

impl Kills {
    /// Runs it; `chaos` is the path of this program.
    ///
    /// # Errors
    /// If the program ends by itself: then it has failed.
    pub fn run(&self, chaos: &Path) -> Result<Verdict> {
        let own = tempfile::tempdir().map_err(|error| Error::retry("can't make a folder").with_source(error))?;
        let folder = self.folder.as_deref().unwrap_or(own.path());
        if folder.join("checkpoint").exists() {
            return Err(Error::usage(format!("{} has a checkpoint already; name a new folder", folder.display())));
        }
        let is_sink_fault = matches!(self.plant, Plant::Loss | Plant::Duplicate);
        if is_sink_fault && self.sink != SinkKind::Text {
            return Err(Error::usage("--plant loss and duplicate go with --sink text only"));
        }
        if self.plant == Plant::AtLeastOnce && self.sink != SinkKind::Kafka {
            return Err(Error::usage("--plant at-least-once goes with --sink kafka only"));
        }
        if self.source == SourceKind::Kafka && self.sink != SinkKind::Kafka {
            return Err(Error::usage("--source kafka goes with --sink kafka only"));
        }
        let server = match self.sink {
            SinkKind::Text | SinkKind::Files => None,
            SinkKind::Sqlite => use_sqlite(folder).map(|()| None)?,
            SinkKind::Postgres => Some(KilledServer::Postgres(use_postgres(folder)?)),
            SinkKind::Kafka => Some(KilledServer::Kafka(use_kafka(folder)?)),
        };
        if self.server_kills > 0 && server.is_none() {
            return Err(Error::usage("--server-kills goes with --sink postgres and --sink kafka only"));
        }
        let program = Program {
            interval_ms: self.interval_ms,
            source: self.source,
            sink: self.sink,
            plant: self.plant,
            snapshot_deltas: 20,
            ..Program::new(folder)
        };
        let pace = Pace { every: Duration::from_millis(20), records: 20 };
        let mut trial = Trial::start(chaos, program, pace)?;
        let mut random = SmallRng::seed_from_u64(self.seed);
        let killing =
            server.map(|server| Killing::start(server, self.server_kills, self.kills, self.life_ms, self.seed));
        for kill in 1..=self.kills {
            killing.iter().for_each(|killing| killing.program_killed(kill - 1));
            let pause = Duration::from_millis(random.random_range(0..self.life_ms.max(1)));
            let life = trial.live()?;
            Waker::default().sleep(pause);
            let ended = life.kill()?;
            if !ended.was_killed() {
                let place = format!("life {kill} of {}, {pause:?} after its start", self.kills);
                let ended_well = Error::internal("the program ended before it was killed");
                return Err(ended.check().err().unwrap_or(ended_well).context(place));
            }
        }
        // It runs until the last look at what it has.
        let _server = killing.map(Killing::finish).transpose()?;
        trial.finish()
    }
}

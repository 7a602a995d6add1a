//! A trial: a program with its folder and its input, from its first life to a last one that ends well.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tidemill_engine::clock::Waker;
use tidemill_engine::error::{Error, Result};

use crate::input::{Fed, Feeder, Pace, SourceKind};
use crate::life::{Life, command};
use crate::oracle::{Outcome, Verdict, judge};
use crate::program::Program;
use crate::sink::Output;

/// After how long a record is lost that was read by no batch.
const LOST: Duration = Duration::from_secs(60);

/// A program, its input and its outputs.
pub struct Trial {
    chaos: PathBuf,
    /// The program.
    pub program: Program,
    feeder: Option<Feeder>,
    fed: Option<Fed>,
}

impl Trial {
    /// Begins to feed the folder of a program, which is run by the `chaos` at this path.
    pub fn start(chaos: impl Into<PathBuf>, program: Program, pace: Pace) -> Result<Self> {
        let feeder = Some(Feeder::start(&program.folder, program.source, pace)?);
        Ok(Self { chaos: chaos.into(), program, feeder, fed: None })
    }

    /// How the program is started, killed at a step of the protocol if one is named.
    pub fn command(&self, kill_at: Option<&str>) -> Command {
        command(&self.chaos, &self.program.arguments(), kill_at)
    }

    /// Starts a life of the program.
    pub fn live(&self) -> Result<Life> {
        Life::start(&mut self.command(None))
    }

    /// Ends the input, has the program work it off, and compares what it has written with what it should have.
    ///
    /// # Errors
    /// If the program fails, or what it wrote can't be read.
    pub fn finish(&mut self) -> Result<Verdict> {
        let fed = self.stop_feeding()?;
        let (sink, folder) = (self.program.sink, &self.program.folder);
        let mut life = self.live()?;
        let (source, began) = (self.program.source, Instant::now());
        let is_over = || -> Result<bool> {
            // Batches are written in order: behind a later one nothing is missing.
            let is_later = sink.last(folder, Output::Windows)?.is_some_and(|last| last > fed.until);
            // A topic is read ahead of batches, and so may be behind its own end. What is lost never comes.
            let is_read = || -> Result<bool> {
                Ok(source == SourceKind::Files || sink.rows(folder, Output::Records)? >= fed.records)
            };
            Ok(is_later && (is_read()? || began.elapsed() > LOST))
        };
        while !is_over()? {
            if life.has_ended()? {
                return life.wait()?.check().and(Err(Error::internal("the program ended before it was told to")));
            }
            Waker::default().sleep(Duration::from_millis(10));
        }
        life.finish()?.check()?;
        self.verdict()
    }

    /// What the outputs hold, compared with what they should.
    pub fn verdict(&mut self) -> Result<Verdict> {
        let fed = self.stop_feeding()?;
        let outcome = Outcome::read(self.program.sink, &self.program.folder)?;
        Ok(judge(&outcome, fed.records, Duration::from_millis(self.program.interval_ms)))
    }

    /// Ends the input.
    pub fn stop_feeding(&mut self) -> Result<Fed> {
        if let Some(feeder) = self.feeder.take() {
            self.fed = Some(feeder.stop()?);
        }
        self.fed.ok_or_else(|| Error::internal("the input could not be written before"))
    }
}

//! The same job on Spark Structured Streaming, as a process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tidemill::prelude::*;

/// Spark, running. Dropped, it is killed.
pub struct Spark {
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

fn command(arguments: &[&str]) -> Command {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "spark", "kafka.sh"].iter().collect();
    let mut command = Command::new(script);
    command.args(arguments).stdout(Stdio::piped());
    command
}

fn failed(error: std::io::Error) -> Error {
    Error::retry("Spark can't be run: are there a JDK, Maven and Python?").with_source(error)
}

impl Spark {
    /// Starts the job, and returns when its first batch is over.
    pub fn start(brokers: &str) -> Result<Self> {
        let mut child = command(&["latency", brokers]).spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| Error::internal("Spark has no output"))?;
        let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
        while line.trim() != "started" {
            line.clear();
            if stdout.read_line(&mut line).map_err(failed)? == 0 {
                return Err(Error::retry("Spark has ended before it started its job"));
            }
        }
        Ok(Self { child, _stdout: stdout })
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long each of `runs` runs takes that counts all of the topic, after one to warm up.
pub fn count_all(brokers: &str, runs: usize) -> Result<Vec<Duration>> {
    let output = command(&["throughput", brokers, &runs.to_string()]).output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let times: Vec<_> = text.lines().filter_map(|line| line.trim().parse().ok()).map(Duration::from_millis).collect();
    match times.len() {
        n if n == runs => Ok(times),
        _ => Err(Error::retry(format!("Spark gave no result: {text}{}", String::from_utf8_lossy(&output.stderr)))),
    }
}

//! Rows through an external program.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tidemill_engine::chunk::Data;

use super::Rdd;
use crate::op::narrow::{fallible, map_partitions};

impl<T: Data + std::fmt::Display> Rdd<T> {
    /// The lines that an external program writes when it gets the rows of a partition as lines; one run for each
    /// partition. A program that ends with another status than 0 fails the job.
    #[track_caller]
    pub fn pipe(&self, command: &[&str], environment: &[(&str, &str)]) -> Rdd<String> {
        let command: Vec<String> = command.iter().map(|part| part.to_string()).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let transform =
            map_partitions(self.context(), "pipe", move |_, rows: std::vec::IntoIter<T>| {
                match run_program(&command, &environment, rows) {
                    Ok(lines) => lines.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                }
            });
        let lines: Rdd<Result<String, String>> = self.then(&transform);
        lines.then(&fallible(self.context(), "pipe"))
    }
}

fn run_program<T: std::fmt::Display + Send>(
    command: &[String],
    environment: &[(String, String)],
    rows: std::vec::IntoIter<T>,
) -> Result<Vec<String>, String> {
    let (program, arguments) = command.split_first().ok_or("pipe needs a command")?;
    let failed = |error: std::io::Error| format!("pipe to {program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (lines, fed) = std::thread::scope(|scope| {
        // The program may write before it has read all: both ends are served at once.
        let feeder = scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A program may stop reading early, as `head` does; that is no error of ours.
                rows.into_iter().try_for_each(|row| writeln!(stdin, "{row}")).ok();
            }
        });
        let lines = stdout.map(|stdout| BufReader::new(stdout).lines().collect::<Result<Vec<_>, _>>());
        (lines.unwrap_or(Ok(Vec::new())), feeder.join())
    });
    let status = child.wait().map_err(failed)?;
    if let Err(panic) = fed {
        std::panic::resume_unwind(panic);
    }
    if !status.success() {
        return Err(format!("pipe to {program}: the program ended with {status}"));
    }
    lines.map_err(failed)
}

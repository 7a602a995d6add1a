//! The `tidemill` command line.

mod count;
mod demo;
#[cfg(feature = "kafka")]
mod kafka;
mod replay;
mod report;
mod state;
mod table;
mod wordcount;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spark Streaming, built in Rust.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is logged to the standard error, as `level` or `target=level,...`.
    #[arg(long, global = true, default_value = "error", env = "TIDEMILL_LOG")]
    log: Targets,
}

#[derive(Subcommand)]
enum Command {
    /// Stream a book through a local socket and count its words in a sliding window.
    Demo(demo::Demo),
    /// Run one batch of a word count's checkpoint once more and print what comes out; nothing is written.
    Replay(replay::ReplayBatch),
    /// Look into the states of a checkpoint.
    #[command(subcommand)]
    State(state::State),
    /// Count the words that a text server sends, of files, or of Kafka's topics, batch by batch.
    Wordcount(wordcount::WordCount),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(layer).with(arguments.log).init();
    let result = match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Replay(replay) => replay.run(),
        Command::State(state) => state.run(),
        Command::Wordcount(count) => count.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            count::complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

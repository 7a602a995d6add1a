//! `chaos`: kills a streaming program and compares what it leaves with what it should be.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidemill_chaos::kills::Kills;
use tidemill_chaos::program::Program;
use tidemill_engine::error::{Error, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kills a streaming program and compares what it leaves with what it should be.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Kills(Kills),
    /// The program that is killed. It ends when its standard input does.
    #[command(hide = true)]
    Program(Program),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let result = match Arguments::parse().command {
        Command::Kills(kills) => report(&kills),
        Command::Program(program) => program.run().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn report(kills: &Kills) -> Result<ExitCode> {
    let own =
        std::env::current_exe().map_err(|error| Error::internal("this program has no path").with_source(error))?;
    let verdict = kills.run(&own)?;
    println!("{} kills survived: {verdict}", kills.kills);
    Ok(if verdict.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

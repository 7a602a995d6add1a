//! `chaos`: kills a streaming program and compares what it leaves with what it should be.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidemill_chaos::kills::Kills;
use tidemill_chaos::program::Program;
use tidemill_chaos::restart::{Keyed, Restarts};
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
    Restarts(Restarts),
    /// The program that is killed. It ends when its standard input does.
    #[command(hide = true)]
    Program(Program),
    /// The program whose restarts are measured. It ends when its standard input does.
    #[command(hide = true)]
    Keyed(Keyed),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let result = match Arguments::parse().command {
        Command::Kills(kills) => report(&kills),
        Command::Restarts(restarts) => measure(&restarts),
        Command::Keyed(keyed) => keyed.run().map(|()| ExitCode::SUCCESS),
        Command::Program(program) => program.run().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn report(kills: &Kills) -> Result<ExitCode> {
    let verdict = kills.run(&own()?)?;
    println!("{} kills survived: {verdict}", kills.kills);
    Ok(if verdict.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(restarts: &Restarts) -> Result<ExitCode> {
    println!("from a kill to the next committed batch, {} kills each", restarts.kills);
    println!("| keys | shortest ms | median ms | longest ms | checkpoint MB | peak memory MB |");
    println!("|---|---|---|---|---|---|");
    for keys in &restarts.keys {
        let measured = restarts.run(&own()?, *keys)?;
        let ms = |at: usize| measured.times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        let last = measured.times.len().saturating_sub(1);
        let (shortest, median, longest) = (ms(0), ms(measured.times.len() / 2), ms(last));
        let (checkpoint, peak) = (measured.checkpoint_bytes >> 20, measured.peak_bytes >> 20);
        println!("| {keys} | {shortest:.0} | {median:.0} | {longest:.0} | {checkpoint} | {peak} |");
    }
    Ok(ExitCode::SUCCESS)
}

fn own() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::internal("this program has no path").with_source(error))
}

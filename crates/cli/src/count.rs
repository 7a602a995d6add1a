//! What both word counts share: batches are counted, reported, and ended by their number or by Ctrl-C.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::engine::batch::BatchId;
use tidemill::prelude::*;
use tidemill::streaming_context::Replay;

use crate::report::{Format, Report};

/// Options of every counting command.
#[derive(clap::Args, Clone)]
pub struct CountOptions {
    /// Time between batches, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_ms: u32,
    /// Stop after this many batches; without it, at Ctrl-C.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub batches: Option<u64>,
    /// What is printed: text for people, or a JSON object for each batch.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A setting, as in Spark: `spark.streaming.stopGracefullyOnShutdown=true`. May be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub conf: Vec<(String, String)>,
}

/// `KEY=VALUE`, in two.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.trim().to_string(), value.trim().to_string()))
}

/// Why the command ends.
enum End {
    Enough,
    Interrupted,
    Output(std::io::Error),
}

type Counts = Arc<Mutex<BTreeMap<Time, Vec<(String, u64)>>>>;

/// A program that counts words.
pub struct Program {
    ssc: StreamingContext,
    counts: Counts,
}

impl Program {
    /// The program whose counts `count` makes, on a context with the batch interval of `options`, with a checkpoint if there is a
    /// place for it.
    pub fn new(
        options: &CountOptions,
        checkpoint: Option<&Path>,
        count: impl FnOnce(&StreamingContext) -> Result<DStream<(String, u64)>>,
    ) -> Result<Self> {
        let conf = SparkConf::new().set_master("local[*]").set_app_name("tidemill");
        let sc = SparkContext::from_conf(options.conf.iter().fold(conf, |conf, (key, value)| conf.set(key, value)))?;
        let ssc = StreamingContext::new(&sc, Duration::from_millis(u64::from(options.batch_ms)))?;
        if let Some(place) = checkpoint {
            ssc.checkpoint(place)?;
        }
        let counts = Counts::default();
        let collected = Arc::clone(&counts);
        count(&ssc)?.foreach_rdd_with_time(move |rdd, time| {
            let rows = rdd.collect()?;
            collected.lock().unwrap_or_else(PoisonError::into_inner).insert(time, rows);
            Ok(())
        })?;
        Ok(Self { ssc, counts })
    }

    /// Runs a batch of its checkpoint once more.
    pub fn replay(&self, batch: BatchId) -> Result<Replay> {
        self.ssc.replay(batch)
    }

    /// Runs it until it ends. `hint` says what to do where the server can't be reached.
    pub fn run(self, options: &CountOptions, hint: Option<String>) -> Result<()> {
        let Self { ssc, counts } = self;
        let (sender, end) = channel();
        let interrupted = sender.clone();
        let mut asked_before = false;
        let handler = move || {
            // A second Ctrl-C does not wait for the batch that runs.
            if std::mem::replace(&mut asked_before, true) {
                std::process::exit(130);
            }
            drop(interrupted.send(End::Interrupted));
        };
        ctrlc::set_handler(handler).map_err(|error| Error::retry("can't listen for Ctrl-C").with_source(error))?;
        ssc.add_streaming_listener(Arc::new(Reporter {
            report: Report::new(options.format),
            left: Mutex::new(options.batches),
            counts,
            hint: Mutex::new(hint),
            end: Mutex::new(sender),
        }));
        ssc.start()?;
        let ended = loop {
            match end.recv_timeout(Duration::from_millis(200)) {
                Ok(ended) => break ended,
                // A stream that fails ends the command.
                Err(_) => drop(ssc.await_termination_or_timeout(Duration::ZERO)?),
            }
        };
        match ended {
            End::Interrupted => ssc.stop_on_shutdown()?,
            _ => ssc.stop_with(true, false)?,
        }
        match ended {
            End::Enough | End::Interrupted => Ok(()),
            End::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            End::Output(error) => Err(Error::retry("can't write to the standard output").with_source(error)),
        }
    }
}

/// A line on the standard error; one that is closed is no reason to end.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

struct Reporter {
    report: Report,
    left: Mutex<Option<u64>>,
    counts: Counts,
    /// Told once.
    hint: Mutex<Option<String>>,
    end: Mutex<Sender<End>>,
}

impl Reporter {
    fn end(&self, end: End) {
        // Nobody waits any more when the command has ended already.
        let _ = self.end.lock().unwrap_or_else(PoisonError::into_inner).send(end);
    }
}

impl StreamingListener for Reporter {
    fn on_event(&self, event: &StreamingEvent) {
        match event {
            StreamingEvent::BatchCompleted(info) => {
                let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&info.batch_time);
                let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
                if *left == Some(0) {
                    return;
                }
                if let Err(error) = self.report.batch(info, counts.unwrap_or_default()) {
                    return self.end(End::Output(error));
                }
                if let Some(left) = left.as_mut() {
                    *left -= 1;
                    if *left == 0 {
                        self.end(End::Enough);
                    }
                }
            }
            StreamingEvent::ReceiverError(info) => {
                let message = info.last_error_message.as_deref().unwrap_or_default();
                let error = info.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                complain(&format!("{}: {message}{error}", info.name));
                let mut hint = self.hint.lock().unwrap_or_else(PoisonError::into_inner);
                if message.contains("Error connecting to")
                    && let Some(hint) = hint.take()
                {
                    complain(&format!("hint: {hint}"));
                }
            }
            _ => {}
        }
    }
}

//! `tidemill wordcount`: the words of a text server, of files that appear in a folder, or of Kafka's topics, batch by batch.

use std::path::PathBuf;

use tidemill::prelude::*;

use crate::count::{CountOptions, Program};

/// Where text comes from: one of these.
#[cfg(feature = "kafka")]
const INPUTS: [&str; 3] = ["port", "files", "kafka_brokers"];
#[cfg(not(feature = "kafka"))]
const INPUTS: [&str; 2] = ["port", "files"];

/// The options of `wordcount`.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).args(INPUTS)))]
pub struct WordCount {
    /// The text server's host. Try one of your own: nc -lk 9999
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The text server's port.
    #[arg(long)]
    port: Option<u16>,
    /// Count files that are moved into this folder after the start, in place of a server's text.
    #[arg(long, value_name = "FOLDER")]
    files: Option<String>,
    /// Where offsets, commits and states are kept, a folder or a URI: a restart goes on from there. A server's text is lost with
    /// the process, files are read again.
    #[arg(long, value_name = "FOLDER")]
    pub checkpoint: Option<PathBuf>,
    /// Count all words so far, not those of the batch.
    #[arg(long, requires = "checkpoint")]
    total: bool,
    #[cfg(feature = "kafka")]
    #[command(flatten)]
    kafka: crate::kafka::KafkaArguments,
    #[command(flatten)]
    pub options: CountOptions,
}

impl WordCount {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        let hint = self.port.map(|port| format!("start a text server there: nc -lk {port}"));
        self.program(true)?.run(&self.options, hint)
    }

    /// The program that these options say; only one that `writes` connects to what it writes to.
    pub fn program(&self, writes: bool) -> Result<Program> {
        Program::new(&self.options, self.checkpoint.as_deref(), |ssc| {
            let lines = self.lines(ssc)?;
            let mut counts = lines.text().split_words().count_by_value();
            if self.total {
                let add = |new: Vec<u64>, total: Option<u64>| Some(new.iter().sum::<u64>() + total.unwrap_or(0));
                counts = counts.update_state_by_key(add).named("total");
            }
            #[cfg(not(feature = "kafka"))]
            let _ = writes;
            #[cfg(feature = "kafka")]
            if writes {
                self.kafka.write(&counts, self.checkpoint.is_some())?;
            }
            Ok(counts)
        })
    }

    fn lines(&self, ssc: &StreamingContext) -> Result<DStream<String>> {
        #[cfg(feature = "kafka")]
        if let Some(lines) = self.kafka.lines(ssc)? {
            return Ok(lines);
        }
        match (&self.files, self.port) {
            (Some(folder), _) => ssc.text_file_stream(folder),
            (None, Some(port)) => ssc.socket_text_stream(&self.host, port),
            (None, None) => Err(Error::usage("give a --port, a folder of --files, or --kafka-brokers")),
        }
    }
}

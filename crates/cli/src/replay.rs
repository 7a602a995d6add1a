//! `tidemill replay`: one batch of a word count's checkpoint once more, to look at what comes out.

use serde_json::json;
use tidemill::engine::batch::BatchId;
use tidemill::prelude::*;

use crate::report::Format;
use crate::table::print;
use crate::wordcount::WordCount;

/// The options of `replay`: those of the `wordcount` whose checkpoint it is.
#[derive(clap::Args)]
pub struct ReplayBatch {
    /// The number of the batch.
    #[arg(long)]
    batch: u64,
    #[command(flatten)]
    program: WordCount,
}

impl ReplayBatch {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        if self.program.checkpoint.is_none() {
            return Err(Error::usage("a batch is replayed from a checkpoint: give it by --checkpoint FOLDER"));
        }
        let replay = self.program.program(false)?.replay(BatchId(self.batch))?;
        let mut text = String::new();
        if self.program.options.format == Format::Text {
            text.push_str(&format!("batch {} of {}\n", replay.batch, replay.time));
        }
        for output in &replay.outputs {
            let (place, count) = (output.call_site.to_string(), output.rows.len());
            match self.program.options.format {
                Format::Text => {
                    text.push_str(&format!("{} at {place}, {count} rows:\n", output.name));
                    output.rows.iter().for_each(|row| text.push_str(&format!("  {row}\n")));
                }
                Format::Json => {
                    let line = json!({
                        "batch": replay.batch,
                        "batch_time_ms": replay.time.as_millis(),
                        "output": output.name,
                        "call_site": place,
                        "rows": output.rows,
                    });
                    text.push_str(&format!("{line}\n"));
                }
            }
        }
        print(&text)
    }
}

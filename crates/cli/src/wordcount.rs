//! `tidemill wordcount`: the words of a text server, batch by batch.

use tidemill::prelude::*;

use crate::count::{CountOptions, run};

/// The options of `wordcount`.
#[derive(clap::Args)]
pub struct WordCount {
    /// The text server's host. Try one of your own: nc -lk 9999
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The text server's port.
    #[arg(long)]
    port: u16,
    #[command(flatten)]
    options: CountOptions,
}

impl WordCount {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        let hint = format!("start a text server there: nc -lk {}", self.port);
        run(&self.options, Some(hint), |ssc| {
            Ok(ssc.socket_text_stream(&self.host, self.port)?.text().split_words().count_by_value())
        })
    }
}

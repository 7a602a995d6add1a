//! `tidemill demo`: a book through a local socket, its words counted in a sliding window.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidemill::prelude::*;

use crate::count::{CountOptions, Program, complain};

/// Isaac Newton's Opticks, 1730.
const BOOK: &str = include_str!("../assets/opticks.txt");

/// The options of `demo`.
#[derive(clap::Args)]
pub struct Demo {
    /// Lines that the generator sends per second; the book is sent again from its beginning when it ends.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    lines_per_second: u32,
    /// The length of the window, in batches.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    #[command(flatten)]
    options: CountOptions,
}

impl Demo {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        let failed = |error: std::io::Error| Error::retry("can't open a local socket").with_source(error);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let rate = self.lines_per_second;
        std::thread::Builder::new()
            .name("generator".into())
            .spawn(move || listener.incoming().flatten().for_each(|socket| generate(socket, rate)))
            .map_err(failed)?;
        complain(&format!(
            "counting the words of a book of {} lines in windows of {} batches",
            BOOK.lines().count(),
            self.window
        ));
        let program = Program::new(&self.options, None, |ssc| {
            let (slide, lines) = (ssc.batch_duration(), ssc.socket_text_stream("127.0.0.1", port)?);
            let counts = lines.text().split_words().count_by_value();
            counts.reduce_by_key_and_window(|a, b| a + b, slide * self.window, slide)
        })?;
        program.run(&self.options, None)
    }
}

/// Sends the book, over and over, until the reader is gone.
fn generate(mut socket: TcpStream, lines_per_second: u32) {
    let began = Instant::now();
    let tick = Duration::from_millis(5);
    let mut lines = BOOK.lines().cycle();
    let mut sent = 0;
    loop {
        let due = (began.elapsed().as_secs_f64() * f64::from(lines_per_second)) as u64;
        let mut text = String::new();
        for line in lines.by_ref().take(usize::try_from(due - sent).unwrap_or(0)) {
            text.push_str(line);
            text.push('\n');
        }
        sent = due;
        if socket.write_all(text.as_bytes()).is_err() {
            return;
        }
        std::thread::sleep(tick);
    }
}

//! Sockets: lines of text, a decoder of your own, and raw blocks.

use std::io::{BufReader, ErrorKind, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_engine::chunk::{Chunk, Data, decode_row};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::source::block::Block;
use tidemill_engine::text::{HIGHEST_MAX_LINE_BYTES, LineDecoder, MAX_LINE_BYTES, line_ends, split_lines};

use super::receiver::{Receiver, ReceiverContext, stopped};
use super::supervisor::{Buffer, Control, Supervisor};
use crate::op::narrow::text_to_strings;
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

/// How long a read waits before it looks whether the receiver was stopped.
const READ_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest frame of a raw socket, against a length that is damaged: 64 MiB.
const MAX_FRAME: usize = 64 << 20;

/// What a custom decoder is: from the socket's bytes to rows, until the bytes or the rows end.
pub type Decoder<T> = dyn Fn(Box<dyn Read + Send>) -> Box<dyn Iterator<Item = Result<T>>> + Send + Sync;

impl StreamingContext {
    /// The lines that a text server sends: UTF-8, ended by `\n` or `\r\n`.
    ///
    /// When the server ends the connection or can't be reached, the receiver tries again every
    /// `spark.streaming.receiverRestartDelay` (2 s). Bytes that aren't UTF-8 become U+FFFD, lines longer than
    /// `spark.streaming.maxLineBytes` (16 MiB) are skipped; both are counted and told to listeners.
    pub fn socket_text_stream(&self, host: &str, port: u16) -> Result<DStream<String>> {
        self.check_may_add()?;
        let conf = self.spark_context().conf();
        let limit = conf.get_parsed("spark.streaming.maxLineBytes", MAX_LINE_BYTES)?;
        if limit > HIGHEST_MAX_LINE_BYTES {
            return Err(Error::usage(format!(
                "spark.streaming.maxLineBytes is at most {HIGHEST_MAX_LINE_BYTES}, not {limit}"
            )));
        }
        let lines = Arc::new(LineBuffer { decoder: Mutex::new(LineDecoder::new(limit)), bytes: AtomicU64::new(0) });
        let (address, buffer) = ((host.to_string(), port), Arc::clone(&lines));
        let start = move |control: &Control| receive_lines(control, &address, &lines, limit);
        let supervisor = Supervisor::new(self, format!("SocketReceiver {host}:{port}"), buffer, start, || {})?;
        let functions = self.spark_context().functions();
        let strings = text_to_strings(functions);
        let source = supervisor.into_source(crate::op::text::decode_batches(functions));
        self.source_stream("socket_text_stream", source, move |data| data.op(&strings))
    }

    /// The rows that `decode` makes of what a server sends.
    pub fn socket_stream<T: Data>(
        &self,
        host: &str,
        port: u16,
        decode: impl Fn(Box<dyn Read + Send>) -> Box<dyn Iterator<Item = Result<T>>> + Send + Sync + 'static,
    ) -> Result<DStream<T>> {
        let (address, decode) = ((host.to_string(), port), Box::new(decode));
        self.receiver_stream(SocketReceiver { address, decode })
    }

    /// Rows in blocks: each a length (four bytes, big-endian) and that many bytes of encoded `Vec<T>` (postcard), stored as
    /// one block.
    pub fn raw_socket_stream<T: Data>(&self, host: &str, port: u16) -> Result<DStream<T>> {
        self.receiver_stream(RawSocketReceiver {
            address: (host.to_string(), port),
            rows: std::marker::PhantomData::<fn() -> T>,
        })
    }
}

struct LineBuffer {
    decoder: Mutex<LineDecoder>,
    /// Of the complete lines; changed under the decoder's lock.
    bytes: AtomicU64,
}

impl LineBuffer {
    /// Feeds the decoder; whether it should be emptied.
    ///
    /// # Errors
    /// If the receiver was stopped.
    fn feed(&self, bytes: &[u8], control: &Control) -> Result<bool> {
        let mut decoder = self.decoder.lock();
        // Under the lock, which the last flush takes after the stop: no line is taken and then lost.
        if control.is_stopped() {
            return Err(stopped());
        }
        decoder.feed(bytes);
        self.bytes.store(decoder.line_bytes() as u64, Ordering::Relaxed);
        Ok(decoder.is_full())
    }

    /// The input is at its end: what it had of its last line is a line.
    fn finish(&self, control: &Control) {
        let mut decoder = self.decoder.lock();
        if !control.is_stopped() && decoder.in_line() {
            decoder.finish();
            self.bytes.store(decoder.line_bytes() as u64, Ordering::Relaxed);
            control.buffered();
        }
    }
}

impl Buffer for Arc<LineBuffer> {
    fn take(&self) -> Result<Option<Block>> {
        let mut decoder = self.decoder.lock();
        self.bytes.store(0, Ordering::Relaxed);
        if decoder.is_empty() {
            return Ok(None);
        }
        let batch = decoder.take()?;
        let (rows, bytes) = (batch.num_rows() as u64, batch.get_array_memory_size() as u64);
        Ok(Some(Block::new(vec![Chunk::of(batch)], rows, bytes)))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn connect((host, port): &(String, u16)) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host.as_str(), *port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            // Where nobody listens on a port that outgoing connections use, a connect may meet itself.
            Ok(socket) if socket.local_addr()? == socket.peer_addr()? => {
                last = ErrorKind::ConnectionRefused.into();
            }
            Ok(socket) => {
                socket.set_read_timeout(Some(READ_TIMEOUT))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn receive_lines(control: &Control, address: &(String, u16), buffer: &LineBuffer, limit: usize) {
    let place = format!("{}:{}", address.0, address.1);
    let mut socket = match connect(address) {
        Ok(socket) => socket,
        Err(error) => return control.restart(&format!("Error connecting to {place}"), Some(error.to_string()), None),
    };
    tracing::info!(server = place, "connected");
    // A connection begins with a new line, however the last one ended.
    buffer.finish(control);
    let mut bytes = vec![0; 64 << 10];
    loop {
        let result = match socket.read(&mut bytes) {
            Ok(0) => Err("Socket data stream had no more data".to_string()),
            Ok(n) => {
                if store_lines(control, buffer, &bytes[..n]).is_err() {
                    return;
                }
                Ok(())
            }
            Err(error) if is_timeout(&error) && !control.is_stopped() => continue,
            Err(_) if control.is_stopped() => return,
            Err(error) => Err(format!("Error receiving data from {place}: {error}")),
        };
        if result.is_err() {
            buffer.finish(control);
        }
        let faults = buffer.decoder.lock().take_faults();
        if !faults.is_empty() {
            metrics::counter!("tidemill_text_invalid_utf8_lines_total").increment(faults.invalid_utf8);
            metrics::counter!("tidemill_text_too_long_lines_total").increment(faults.too_long);
            control.report_error(&format!("bad input from {place}: {}", faults.describe(limit)), None);
        }
        if let Err(message) = result {
            return control.restart(&message, None, None);
        }
    }
}

/// Stores the lines that end in `bytes`, as the rate allows; the beginning of the next line goes with the last of them.
fn store_lines(control: &Control, buffer: &LineBuffer, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let lines = line_ends(bytes);
        let permitted = if lines > 0 { control.may_store_some(lines)? } else { 0 };
        let (head, tail) = if permitted == lines { (bytes, &[][..]) } else { split_lines(bytes, permitted) };
        control.cut_block();
        let full = buffer.feed(head, control)?;
        if permitted > 0 {
            control.buffered();
        }
        if full {
            control.flush();
        }
        bytes = tail;
    }
    Ok(())
}

struct SocketReceiver<T: 'static> {
    address: (String, u16),
    decode: Box<Decoder<T>>,
}

impl<T: Data> Receiver<T> for SocketReceiver<T> {
    fn on_start(&self, context: &ReceiverContext<T>) {
        let place = format!("{}:{}", self.address.0, self.address.1);
        let socket = match connect(&self.address) {
            Ok(socket) => socket,
            Err(error) => return context.restart(&format!("Error connecting to {place}"), Some(&error)),
        };
        let reader = StoppableRead { socket, context: context.clone() };
        for row in (self.decode)(Box::new(BufReader::new(reader))) {
            match row {
                Ok(row) => {
                    if context.store(row).is_err() {
                        return;
                    }
                }
                Err(error) => return context.restart(&format!("Error decoding data from {place}"), Some(&error)),
            }
        }
        if !context.is_stopped() {
            context.restart("Socket data stream had no more data", None);
        }
    }

    fn name(&self) -> String {
        format!("SocketReceiver {}:{}", self.address.0, self.address.1)
    }
}

/// Reads that end when the receiver is stopped.
struct StoppableRead<T: 'static> {
    socket: TcpStream,
    context: ReceiverContext<T>,
}

impl<T: Data> Read for StoppableRead<T> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if self.context.is_stopped() {
                return Ok(0);
            }
            match self.socket.read(bytes) {
                Err(error) if is_timeout(&error) => {}
                result => return result,
            }
        }
    }
}

struct RawSocketReceiver<T> {
    address: (String, u16),
    rows: std::marker::PhantomData<fn() -> T>,
}

impl<T: Data> Receiver<T> for RawSocketReceiver<T> {
    fn on_start(&self, context: &ReceiverContext<T>) {
        let place = format!("{}:{}", self.address.0, self.address.1);
        let socket = match connect(&self.address) {
            Ok(socket) => socket,
            Err(error) => return context.restart(&format!("Error connecting to {place}"), Some(&error)),
        };
        let mut reader = BufReader::new(StoppableRead { socket, context: context.clone() });
        loop {
            match read_frame::<T>(&mut reader) {
                Ok(Some(rows)) => {
                    if context.store_many(rows).is_err() {
                        return;
                    }
                }
                Ok(None) if context.is_stopped() => return,
                Ok(None) => return context.restart("Socket data stream had no more data", None),
                Err(_) if context.is_stopped() => return,
                Err(error) => return context.restart(&format!("Error receiving data from {place}"), Some(&error)),
            }
        }
    }

    fn name(&self) -> String {
        format!("RawSocketReceiver {}:{}", self.address.0, self.address.1)
    }
}

/// The next block; `None` at the end.
fn read_frame<T: Data>(reader: &mut impl Read) -> Result<Option<Vec<T>>> {
    let failed = |error: std::io::Error| Error::retry("a block was cut short").with_source(error);
    let mut length = [0; 4];
    if reader.read(&mut length[..1]).map_err(failed)? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut length[1..]).map_err(failed)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(Error::data(format!("a block of {length} bytes is over the limit of {MAX_FRAME}")));
    }
    let mut bytes = Vec::new();
    // Grows with what arrives, not with what the length promises.
    if reader.take(length as u64).read_to_end(&mut bytes).map_err(failed)? < length {
        return Err(Error::retry("a block was cut short"));
    }
    decode_row(&bytes).map(Some)
}

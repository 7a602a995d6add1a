//! Tests that go without a server, because somebody has said so.

use std::fs::File;
use std::io::Write;

/// Whether a test is to be skipped that needs `server`: the variable `TIDEMILL_SKIP_SERVERS` names it, as in `kafka,postgres`. The
/// name of the test is added to the file that `TIDEMILL_SKIPPED` names, so that the run can say how many there were.
pub fn is_skipped(server: &str) -> bool {
    let named = std::env::var("TIDEMILL_SKIP_SERVERS").unwrap_or_default();
    if !named.split(',').any(|name| name.trim() == server) {
        return false;
    }
    let thread = std::thread::current();
    let line = format!("{}: no {server}\n", thread.name().unwrap_or("a test"));
    let file = std::env::var_os("TIDEMILL_SKIPPED").map(|path| File::options().create(true).append(true).open(path));
    // One write, so that lines of several tests don't mix.
    let written = file.is_some_and(|file| file.and_then(|mut file| file.write_all(line.as_bytes())).is_ok());
    if !written {
        eprint!("skipped: {line}");
    }
    true
}

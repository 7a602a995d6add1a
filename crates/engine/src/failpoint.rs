//! Places where a test may kill the process, as the kernel would: with SIGKILL, no destructor run, no buffer flushed.
//!
//! Only with the feature `failpoints`, which tests switch on; else [`hit`] is nothing. Which place is chosen by the
//! environment of the process that is to die, so tests run beside each other: `TIDEMILL_KILL_AT=offsets-logged` kills at the first
//! passage, `TIDEMILL_KILL_AT=offsets-logged:3` at the third.

/// A step of the protocol is passed.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// A step of the protocol is passed: the end, if this is the one.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let chosen = std::env::var("TIDEMILL_KILL_AT").ok()?;
        Some(match chosen.rsplit_once(':') {
            Some((name, passage)) => (name.to_string(), passage.parse().unwrap_or(1)),
            None => (chosen, 1),
        })
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if let Some((chosen, passage)) = CHOSEN.as_ref()
        && chosen == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passage
    {
        eprintln!("killed at {name}:{passage}");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal arrives before this thread could do anything else of note.
        loop {
            std::thread::park();
        }
    }
}

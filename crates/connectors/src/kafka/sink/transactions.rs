//! Batches by transactions: one after the other, each once, whatever happens to brokers meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::clock::{Waker, random_bytes};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::failpoint;
use tidemill_engine::sink::once::REMEMBERED_BATCHES;

use super::columns::Columns;
use super::failure::Failure;
use super::progress::Progress;
use super::session::{Broken, Session, last_owner};
use super::target::Target;

/// The first pause between two attempts; each is twice the one before, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The longest time in which brokers must be found when a sink connects.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes batches, each in a transaction.
pub(super) struct Transactions {
    /// Differs from sink to sink, so that one that is shut out sees that another has its name.
    owner: String,
    state: Mutex<State>,
}

struct State {
    /// None after a failure that leaves open what became of a transaction.
    session: Option<Session>,
    /// What is there, as far as the session knows.
    progress: Progress,
    /// Batches without rows, of which the group says nothing.
    empty: BTreeSet<u64>,
}

impl Transactions {
    /// Takes the sink's name over from whoever has it.
    pub fn connect(target: &Target) -> Result<Self> {
        let owner: String = random_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let deadline = Instant::now() + target.options.delivery_timeout.min(CONNECT_TIMEOUT);
        let failed = |failure| given_up(target, "the sink can't be opened", failure);
        let (session, progress, _) = Session::open(target, &owner, deadline).map_err(failed)?;
        session.claim(&progress, target, deadline).map_err(|broken| failed(broken.failure))?;
        Ok(Self { owner, state: Mutex::new(State { session: Some(session), progress, empty: BTreeSet::new() }) })
    }

    /// Writes a batch, unless it is there.
    pub fn write(&self, target: &Target, batch: BatchStamp, rows: &[Columns]) -> Result<()> {
        let mut state = self.state.lock();
        // A batch without rows makes no difference to a reader, however often it runs.
        if rows.is_empty() {
            state.note_empty(batch);
            return Ok(());
        }
        let deadline = Instant::now() + target.options.delivery_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt(&mut state, target, batch, rows, deadline) {
                Ok(()) => {
                    failpoint::hit("kafka-transaction-committed");
                    return Ok(());
                }
                Err(Failure::Passing(error)) if Instant::now() + pause < deadline => {
                    let seconds = target.options.delivery_timeout.as_secs_f32();
                    tracing::warn!(
                        %target,
                        batch = batch.id.0,
                        %error,
                        "a transaction is tried again, for up to {seconds} s in all. If that goes on, check that the brokers run, and that \
                         they can be reached from here"
                    );
                    Waker::default().sleep(pause);
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(failure) => {
                    return Err(given_up(target, &format!("batch {} can't be written", batch.id), failure));
                }
            }
        }
    }

    fn attempt(
        &self,
        state: &mut State,
        target: &Target,
        batch: BatchStamp,
        rows: &[Columns],
        deadline: Instant,
    ) -> Result<(), Failure> {
        if state.session.is_none() {
            self.check_owner(last_owner(target, deadline)?, target)?;
            let (session, progress, owner) = Session::open(target, &self.owner, deadline)?;
            self.check_owner(owner, target)?;
            (state.session, state.progress) = (Some(session), progress);
        }
        let Some(session) = &state.session else { return Err(Error::internal("a session was lost").into()) };
        // A commit of which no answer came may have gone through.
        if !state.progress.known(batch).is_new(batch, target)? {
            tracing::info!(%target, batch = batch.id.0, "a batch is there already");
            return Ok(());
        }
        let after = state.progress.with(batch, &state.empty);
        match session.transact(rows, &after, target, deadline) {
            Ok(()) => {
                state.progress = after;
                state.empty = state.empty.split_off(&batch.id.0);
                Ok(())
            }
            Err(Broken { failure, is_clean }) => {
                if !is_clean {
                    state.session = None;
                }
                Err(failure)
            }
        }
    }

    /// A producer is also shut out by a broker that gave its transaction up: only another mark in the group means another sink.
    fn check_owner(&self, owner: Option<String>, target: &Target) -> Result<()> {
        if owner.is_none_or(|owner| owner == self.owner) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{target}: another program, or another stream of this one, writes with the sink name {}, and this one was shut out. Give \
             every stream a name of its own (KafkaSinkOptions::sink_name), and run each once",
            target.name
        )))
    }
}

impl State {
    fn note_empty(&mut self, batch: BatchStamp) {
        if self.progress.newest().is_none_or(|newest| newest < batch.id) {
            self.empty.insert(batch.id.0);
        }
        if self.empty.len() as u64 > REMEMBERED_BATCHES {
            self.empty.pop_first();
        }
    }
}

/// The error of what was tried for as long as it may take, or would fail again.
fn given_up(target: &Target, what: &str, failure: Failure) -> Error {
    match failure {
        Failure::Final(error) => error,
        Failure::Passing(error) => {
            let seconds = target.options.delivery_timeout.as_secs_f32();
            Error::retry(format!(
                "{target}: {what}, and was tried for as long as it may be (up to {seconds} s): look whether the brokers run and can be \
                 reached, then start again; no row is there in part, and what is not there is written then"
            ))
            .with_source(error)
        }
    }
}

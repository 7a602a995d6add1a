//! The life of a context: put together, started, stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::spawn;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_dstream::conf::SparkConf;
use tidemill_dstream::context::SparkContext;
use tidemill_dstream::input::MemoryStream;
use tidemill_dstream::input::receiver::{Receiver, ReceiverContext};
use tidemill_dstream::stream::DStream;
use tidemill_dstream::streaming_context::{StreamingContext, StreamingContextState as State};
use tidemill_dstream::testing::{TestContext, test_conf};
use tidemill_engine::cache::StorageLevel;
use tidemill_engine::clock::{ManualClock, Waker};
use tidemill_engine::error::Result;
use tidemill_engine::time::Time;

const SECOND: Duration = Duration::from_secs(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A context with an input and no output, on a clock that stands still.
fn initialized() -> Result<(StreamingContext, DStream<i32>)> {
    let ssc = StreamingContext::from_conf(test_conf(), SECOND)?;
    ssc.set_clock(Arc::new(ManualClock::default()))?;
    let (_, stream) = ssc.memory_stream()?;
    Ok((ssc, stream))
}

/// A running program over one memory stream.
fn program(
    conf: SparkConf,
    build: impl Fn(&StreamingContext, DStream<i32>) -> Result<()>,
) -> Result<(TestContext, MemoryStream<i32>)> {
    let input = Mutex::new(None);
    let context = TestContext::start(conf, SECOND, false, |ssc| {
        let (memory, stream) = ssc.memory_stream()?;
        *input.lock() = Some(memory);
        build(ssc, stream)
    })?;
    Ok((context, input.into_inner().unwrap()))
}

fn message<T>(result: Result<T>) -> String {
    result.err().map(|error| error.message().to_string()).unwrap_or_default()
}

#[test]
fn a_context_is_started_once_and_stopped_for_good() -> Result<()> {
    let (ssc, s) = initialized()?;
    s.print()?;
    assert_eq!(ssc.state(), State::Initialized);
    ssc.start()?;
    assert_eq!(ssc.state(), State::Active);
    ssc.start()?;
    ssc.stop_with(false, false)?;
    assert_eq!((ssc.state(), ssc.spark_context().is_stopped()), (State::Stopped, false));
    assert_eq!(message(ssc.start()), "StreamingContext has already been stopped");
    // Stopping again changes nothing, but for the SparkContext.
    ssc.stop_with(false, true)?;
    assert!(!ssc.spark_context().is_stopped());
    ssc.stop()?;
    assert!(ssc.spark_context().is_stopped());
    Ok(())
}

#[test]
fn a_context_that_was_stopped_before_its_start_never_starts() -> Result<()> {
    let (ssc, s) = initialized()?;
    s.print()?;
    ssc.stop_with(false, false)?;
    assert_eq!(ssc.state(), State::Stopped);
    assert_eq!(message(ssc.start()), "StreamingContext has already been stopped");
    assert!(ssc.await_termination_or_timeout(Duration::ZERO)?);
    Ok(())
}

#[test]
fn a_start_that_fails_stops_the_context() -> Result<()> {
    let (ssc, _) = initialized()?;
    let text = "requirement failed: No output operations registered, so nothing to execute";
    assert_eq!(message(ssc.start()), text);
    assert_eq!(ssc.state(), State::Stopped);
    let (ssc, s) = initialized()?;
    s.print()?;
    ssc.spark_context().stop();
    assert_eq!(message(ssc.start()), "Cannot call methods on a stopped SparkContext");
    assert_eq!(ssc.state(), State::Stopped);
    Ok(())
}

#[test]
fn bad_settings_are_refused_by_name() -> Result<()> {
    for batch in [Duration::ZERO, Duration::from_micros(1), Duration::from_micros(1500)] {
        let error = StreamingContext::from_conf(test_conf(), batch).err().unwrap();
        assert!(error.message().starts_with("the batch duration must be a whole number of milliseconds"), "{error}");
    }
    for key in ["spark.streaming.concurrentJobs", "spark.streaming.gracefulStopTimeout"] {
        let error = program(test_conf().set(key, "many"), |_, s| s.print()).err().unwrap();
        assert!(error.message().contains(key), "{error}");
    }
    Ok(())
}

#[test]
fn the_graph_is_fixed_at_the_start() -> Result<()> {
    let (ssc, s) = initialized()?;
    s.print()?;
    let pairs = s.map(|n| (n, n));
    let all = || {
        let rdd = ssc.spark_context().parallelize([1]);
        vec![
            message(s.print()),
            message(s.foreach_rdd(|_| Ok(()))),
            message(s.save_as_text_files("x", "")),
            message(s.window(SECOND, SECOND)),
            message(pairs.group_by_key_and_window(SECOND, SECOND)),
            message(s.union(&s)),
            message(s.transform_with(&s, |a, _, _| a)),
            message(ssc.transform(std::slice::from_ref(&s), |rdds, _| rdds[0].clone())),
            message(ssc.memory_stream::<i32>()),
            message(ssc.constant_stream(&rdd)),
            message(ssc.rate_stream(1)),
        ]
    };
    let text = |when: &str| {
        format!("Adding new inputs, transformations, and output operations after {when} a context is not supported")
    };
    ssc.start()?;
    all().into_iter().for_each(|said| assert_eq!(said, text("starting")));
    let level = message(s.persist(StorageLevel::MEMORY_ONLY));
    assert_eq!(level, "Cannot change storage level of a DStream after streaming context has started");
    assert_eq!(message(ssc.checkpoint("x")), "setting the checkpoint folder after starting a context is not supported");
    ssc.stop()?;
    all().into_iter().for_each(|said| assert_eq!(said, text("stopping")));
    Ok(())
}

#[test]
fn remember_is_said_once() -> Result<()> {
    let (ssc, _) = initialized()?;
    ssc.remember(5 * SECOND)?;
    assert_eq!(message(ssc.remember(SECOND)), "Remember duration already set as 5000 ms. Cannot set it again.");
    Ok(())
}

#[test]
fn batches_begin_at_the_next_multiple_of_the_interval() -> Result<()> {
    for (now, first) in [(0, 100), (1, 100), (99, 100), (100, 200), (1234, 1300)] {
        let times = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&times);
        let clock = ManualClock::at(Time::from_millis(now));
        let context = TestContext::start_on(clock, test_conf(), ms(100), false, |ssc| {
            let (log, (_, s)) = (Arc::clone(&log), ssc.memory_stream::<i32>()?);
            s.window(ms(200), ms(200))?.foreach_rdd_with_time({
                let log = Arc::clone(&log);
                move |_, time| {
                    log.lock().push((2, time.as_millis()));
                    Ok(())
                }
            })?;
            s.foreach_rdd_with_time(move |_, time| {
                log.lock().push((1, time.as_millis()));
                Ok(())
            })
        })?;
        context.clock().advance_to(Time::from_millis(first + 100));
        context.ssc.wait_for_batch(Time::from_millis(first + 100));
        // A slide of two batches ends with the second one.
        assert_eq!(*times.lock(), [(1, first), (2, first + 100), (1, first + 100)]);
        context.stop()?;
    }
    Ok(())
}

#[test]
fn waiting_ends_with_the_stream_or_the_time() -> Result<()> {
    let (context, _) = program(test_conf(), |_, s| s.print())?;
    assert!(!context.ssc.await_termination_or_timeout(ms(1))?);
    let (ssc, waiting) = (context.ssc.clone(), context.ssc.clone());
    let waiting = spawn(move || waiting.await_termination());
    let far = spawn(move || ssc.wait_for_batch(Time::from_millis(1_000_000)));
    context.ssc.stop()?;
    waiting.join().unwrap()?;
    far.join().unwrap();
    context.ssc.wait_for_batch(Time::from_millis(1_000_000));
    assert!(context.ssc.await_termination_or_timeout(ms(1))?);
    context.ssc.await_termination()
}

#[test]
fn a_graceful_stop_makes_and_runs_all_batches() -> Result<()> {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&rows);
    let (context, input) = program(test_conf(), move |_, s| {
        let log = Arc::clone(&log);
        s.foreach_rdd(move |rdd| {
            log.lock().extend(rdd.collect()?);
            Ok(())
        })
    })?;
    input.add([1]);
    context.run_batch();
    input.add([2, 3]);
    context.ssc.stop_with(true, true)?;
    assert_eq!(*rows.lock(), [1, 2, 3]);
    Ok(())
}

/// A program on the machine's clock that gathers its rows.
fn on_the_machine_s_clock(
    conf: SparkConf,
    batch: Duration,
) -> Result<(StreamingContext, MemoryStream<i32>, Arc<Mutex<Vec<i32>>>)> {
    let (ssc, rows) = (StreamingContext::from_conf(conf, batch)?, Arc::new(Mutex::new(Vec::new())));
    let (input, s) = ssc.memory_stream()?;
    let log = Arc::clone(&rows);
    s.foreach_rdd(move |rdd| {
        log.lock().extend(rdd.collect()?);
        Ok(())
    })?;
    ssc.start()?;
    Ok((ssc, input, rows))
}

#[test]
fn a_graceful_stop_on_the_machine_s_clock() -> Result<()> {
    let (ssc, input, rows) = on_the_machine_s_clock(test_conf(), ms(5))?;
    (0..100).for_each(|n| input.add([n]));
    ssc.stop_with(true, true)?;
    assert_eq!(*rows.lock(), (0..100).collect::<Vec<_>>());
    ssc.await_termination()
}

#[test]
fn a_graceful_stop_waits_no_longer_than_it_may() -> Result<()> {
    let conf = test_conf().set("spark.streaming.gracefulStopTimeout", "1ms");
    let (ssc, input, rows) = on_the_machine_s_clock(conf, Duration::from_secs(86_400 * 365 * 200))?;
    input.add([1]);
    ssc.stop_with(true, true)?;
    assert_eq!(*rows.lock(), [1], "the last batch comes before its time");
    Ok(())
}

/// Receives nothing, and wakes somebody when it has begun and when it is stopped.
#[derive(Clone, Default)]
struct Wakes {
    begun: Waker,
    stopped: Waker,
}

impl Receiver<i32> for Wakes {
    fn on_start(&self, context: &ReceiverContext<i32>) {
        self.begun.wake();
        context.sleep(Duration::from_secs(1_000_000));
    }

    fn on_stop(&self) {
        self.stopped.wake();
    }
}

#[test]
fn a_stop_at_once_waits_for_the_job_that_runs_and_starts_no_other() -> Result<()> {
    let (begun, receiver, late) = (Waker::default(), Wakes::default(), Arc::new(Mutex::new(Vec::new())));
    let (context, _) = program(test_conf(), |ssc, s| {
        let s = s.union(&ssc.receiver_stream(receiver.clone())?)?;
        let (begun, stopping, log) = (begun.clone(), receiver.stopped.clone(), Arc::clone(&late));
        s.foreach_rdd(move |_| {
            begun.wake();
            stopping.wait();
            log.lock().push("the job that runs");
            Ok(())
        })?;
        let log = Arc::clone(&late);
        s.foreach_rdd(move |_| {
            log.lock().push("another job");
            Ok(())
        })
    })?;
    context.clock().advance(3 * SECOND);
    begun.wait();
    // One that was stopped before it began has nothing to end.
    receiver.begun.wait();
    context.ssc.stop_with(false, false)?;
    assert_eq!(*late.lock(), ["the job that runs"]);
    assert_eq!(context.ssc.state(), State::Stopped);
    context.ssc.await_termination()
}

#[test]
fn a_second_stop_waits_for_the_first() -> Result<()> {
    let (begun, gate, done) = (Waker::default(), Waker::default(), Arc::new(AtomicBool::new(false)));
    let (context, _) = program(test_conf(), |_, s| {
        let (begun, gate, done) = (begun.clone(), gate.clone(), Arc::clone(&done));
        s.foreach_rdd(move |rdd| {
            begun.wake();
            gate.wait();
            rdd.collect()?;
            done.store(true, Ordering::SeqCst);
            Ok(())
        })
    })?;
    context.clock().advance(SECOND);
    begun.wait();
    let stops = (0..3).map(|n| {
        let (ssc, done) = (context.ssc.clone(), Arc::clone(&done));
        spawn(move || {
            ssc.stop_with(true, n == 0).unwrap();
            done.load(Ordering::SeqCst)
        })
    });
    let stops: Vec<_> = stops.collect();
    gate.wake();
    assert!(stops.into_iter().all(|stop| stop.join().unwrap()));
    context.ssc.await_termination()
}

#[test]
fn a_graceful_stop_can_be_hurried() -> Result<()> {
    let (begun, gate, batches) = (Waker::default(), Waker::default(), Arc::new(Mutex::new(0)));
    let (context, _) = program(test_conf(), |_, s| {
        let (begun, gate, batches) = (begun.clone(), gate.clone(), Arc::clone(&batches));
        s.foreach_rdd(move |_| {
            begun.wake();
            gate.wait();
            *batches.lock() += 1;
            Ok(())
        })
    })?;
    context.clock().advance(3 * SECOND);
    begun.wait();
    let ssc = context.ssc.clone();
    let stop = spawn(move || ssc.stop_with(true, true));
    context.ssc.hurry_stop();
    gate.wake();
    stop.join().unwrap()?;
    assert_eq!(*batches.lock(), 1, "the one that ran");
    context.ssc.await_termination()
}

#[test]
fn a_job_may_stop_its_stream_and_what_is_behind_it_still_runs() -> Result<()> {
    for (graceful, jobs, expected) in [(true, 1, vec![1, 1, 2, 2]), (false, 1, vec![]), (true, 2, vec![1, 1, 2, 2])] {
        let (ended, rows) = (Waker::default(), Arc::new(Mutex::new(Vec::new())));
        let conf = test_conf().set("spark.streaming.concurrentJobs", jobs);
        let (context, input) = program(conf, |ssc, s| {
            let (ssc, ended) = (ssc.clone(), ended.clone());
            s.foreach_rdd_with_time(move |_, time| {
                if time == Time::from_millis(1000) {
                    ssc.stop_with(true, graceful)?;
                    ended.wake();
                }
                Ok(())
            })?;
            for _ in 0..2 {
                let rows = Arc::clone(&rows);
                s.foreach_rdd(move |rdd| {
                    rows.lock().extend(rdd.collect()?);
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        // Both batches lie behind the stop, for the generator has them before the job can begin: or the stop makes them.
        input.add([1]);
        context.clock().advance(SECOND);
        input.add([2]);
        context.ssc.await_termination()?;
        ended.wait();
        let mut rows = rows.lock().clone();
        rows.sort();
        assert_eq!(rows, expected, "{jobs} jobs at once");
        assert_eq!(context.ssc.state(), State::Stopped);
        assert!(context.ssc.spark_context().is_stopped());
    }
    Ok(())
}

#[test]
fn a_transform_may_stop_the_stream_too() -> Result<()> {
    for graceful in [false, true] {
        let (context, _) = program(test_conf(), |ssc, s| {
            let ssc = ssc.clone();
            s.transform(move |rdd| {
                ssc.stop_with(false, graceful).unwrap();
                rdd
            })
            .foreach_rdd(|rdd| rdd.collect().map(drop))
        })?;
        context.clock().advance(SECOND);
        context.ssc.await_termination()?;
        context.ssc.stop()?;
        assert_eq!(context.ssc.state(), State::Stopped);
    }
    Ok(())
}

#[test]
fn a_task_may_not_stop_the_stream() -> Result<()> {
    let said = Arc::new(Mutex::new(String::new()));
    let (context, input) = program(test_conf(), |ssc, s| {
        let (ssc, said) = (ssc.clone(), Arc::clone(&said));
        s.map(move |_: i32| *said.lock() = message(ssc.stop())).foreach_rdd(|rdd| rdd.collect().map(drop))
    })?;
    input.add([1]);
    context.run_batch();
    assert_eq!(*said.lock(), "Cannot stop StreamingContext within a task.");
    context.stop()
}

#[test]
fn dropping_a_context_ends_its_threads_and_frees_its_program() -> Result<()> {
    for travel in [false, true] {
        let probe = Arc::new(());
        let context = TestContext::start(test_conf(), SECOND, travel, |ssc| {
            let (held, (_, s)) = (Arc::clone(&probe), ssc.memory_stream::<i32>()?);
            let all = s.union(&ssc.receiver_stream(Wakes::default())?)?;
            all.window(2 * SECOND, SECOND)?.foreach_rdd(move |rdd| {
                let _ = &held;
                rdd.collect().map(drop)
            })
        })?;
        context.run_batch();
        context.run_batch();
        assert!(Arc::strong_count(&probe) > 1);
        drop(context);
        assert_eq!(Arc::strong_count(&probe), 1, "traveling: {travel}");
    }
    Ok(())
}

/// The only test of this binary without `spark.driver.allowMultipleContexts`: the others are not seen by it.
#[test]
fn one_context_is_active_at_a_time() -> Result<()> {
    let context = || {
        let ssc = StreamingContext::new(&SparkContext::new("local[1]", "test")?, SECOND)?;
        ssc.set_clock(Arc::new(ManualClock::default()))?;
        ssc.memory_stream::<i32>()?.1.print()?;
        Ok(ssc)
    };
    assert!(StreamingContext::get_active().is_none());
    let (one, two) = (context()?, context()?);
    one.start()?;
    let same = |a: &StreamingContext, b: &StreamingContext| Arc::ptr_eq(a.graph(), b.graph());
    assert!(same(&StreamingContext::get_active().unwrap(), &one));
    assert!(same(&StreamingContext::get_active_or_create(context)?, &one));
    assert!(same(&StreamingContext::get_active_or_create_with("nowhere", false, context)?, &one));
    let said = message(two.start());
    let text =
        "Only one StreamingContext may be started in this process. Currently running StreamingContext was started at ";
    assert!(said.starts_with(text) && said.contains("stream_life_cycle.rs:"), "{said}");
    // It is not spoilt by that: when the other one has stopped, it may start.
    assert_eq!(two.state(), State::Initialized);
    one.stop()?;
    assert!(StreamingContext::get_active().is_none());
    two.start()?;
    assert!(same(&StreamingContext::get_active().unwrap(), &two));
    // Nor does a context count that is gone.
    drop(two);
    assert!(StreamingContext::get_active().is_none());
    let created = StreamingContext::get_active_or_create(context)?;
    created.start()?;
    created.stop()
}

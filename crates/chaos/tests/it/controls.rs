//! Controls: faults that are built into the program must be found by the comparison that finds none without them.

use tidemill_chaos::input::SourceKind;
use tidemill_chaos::kafka::use_kafka;
use tidemill_chaos::kills::Kills;
use tidemill_chaos::sink::{Plant, SinkKind};
use tidemill_servers::is_skipped;

use crate::lives::{CHAOS, finish_exact, folder, killed_at, trial};

#[test]
fn a_planted_fault_is_found() {
    // Where a kill brings the fault to light -> (lost, doubled, whether something is wrong).
    let cases = [
        (Plant::Loss, "commit-logged:5", (true, false, true)),
        (Plant::Duplicate, "jobs-done:5", (false, true, true)),
        (Plant::State, "commit-logged:5", (false, false, true)),
    ];
    for (plant, point, expected) in cases {
        let (_folder, mut trial) = trial(|program| program.plant = plant);
        // The batch in which it dies may have no records: it dies more than once.
        (0..3).for_each(|_| killed_at(&trial, point));
        let verdict = trial.finish().unwrap();
        let found = (verdict.lost > 0, verdict.doubled > 0, verdict.wrong > 0);
        assert_eq!(found, expected, "{plant:?}: {verdict}");
    }
}

#[test]
fn a_topic_without_transactions_has_duplicates_and_they_are_found() {
    if is_skipped("kafka") {
        return;
    }
    for (plant, is_doubled) in [(Plant::None, false), (Plant::AtLeastOnce, true)] {
        let (_folder, mut trial) = trial(|program| (program.sink, program.plant) = (SinkKind::Kafka, plant));
        let _server = use_kafka(&trial.program.folder).unwrap();
        (0..3).for_each(|_| killed_at(&trial, "jobs-done:5"));
        let verdict = trial.finish().unwrap();
        assert_eq!((verdict.lost, verdict.doubled > 0, verdict.is_exact()), (0, is_doubled, !is_doubled), "{verdict}");
    }
}

#[test]
fn without_a_kill_no_planted_fault_shows() {
    for plant in [Plant::None, Plant::Loss, Plant::Duplicate] {
        finish_exact(trial(|program| program.plant = plant).1, &format!("{plant:?}"));
    }
}

#[test]
fn the_command_finds_a_planted_fault() {
    let folder = folder();
    let kills = Kills {
        kills: 6,
        server_kills: 0,
        source: SourceKind::default(),
        sink: SinkKind::default(),
        seed: 1,
        interval_ms: 20,
        life_ms: 800,
        plant: Plant::State,
        folder: Some(folder.path().into()),
    };
    let verdict = kills.run(CHAOS.as_ref()).unwrap();
    assert!(!verdict.is_exact(), "{verdict}");
}

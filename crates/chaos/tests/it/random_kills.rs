//! Kills at random moments: the command, in short.

use tidemill_chaos::input::SourceKind;
use tidemill_chaos::kills::Kills;
use tidemill_chaos::sink::{Plant, SinkKind};
use tidemill_servers::is_skipped;

use crate::lives::{CHAOS, folder};

#[test]
fn random_kills_lose_and_double_nothing() {
    for sink in [SinkKind::Text, SinkKind::Files, SinkKind::Sqlite, SinkKind::Postgres] {
        if is_skipped(&format!("{sink:?}").to_lowercase()) {
            continue;
        }
        let (folder, plant) = (folder(), Plant::None);
        let folder = Some(folder.path().into());
        let source = SourceKind::Files;
        let kills =
            Kills { kills: 15, server_kills: 0, source, sink, seed: 7, interval_ms: 20, life_ms: 500, plant, folder };
        let verdict = kills.run(CHAOS.as_ref()).unwrap();
        assert!(verdict.is_exact() && verdict.batches > 1, "{sink:?}: {verdict}");
    }
}

#[test]
fn random_kills_of_program_and_server_lose_and_double_nothing() {
    for (source, sink, life_ms) in
        [(SourceKind::Files, SinkKind::Postgres, 1000), (SourceKind::Kafka, SinkKind::Kafka, 3000)]
    {
        if is_skipped(&format!("{sink:?}").to_lowercase()) {
            continue;
        }
        let (folder, plant) = (folder(), Plant::None);
        let folder = Some(folder.path().into());
        let kills =
            Kills { kills: 10, server_kills: 2, source, sink, seed: 7, interval_ms: 50, life_ms, plant, folder };
        let verdict = kills.run(CHAOS.as_ref()).unwrap();
        assert!(verdict.is_exact() && verdict.batches > 1, "{sink:?}: {verdict}");
    }
}

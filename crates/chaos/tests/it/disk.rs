//! Disks that are full, and checkpoints that can't be written: the error names the file, and a restart goes on exactly.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use tidemill_chaos::life::{Ended, Life};
use tidemill_chaos::trial::Trial;

use crate::lives::{end_of, finish_exact, killed_at, trial};

/// A life of the program under a shell, which sets limits before it becomes the program.
fn life_under(trial: &Trial, shell: &str) -> Life {
    let plain = trial.command(None);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell} \"$@\""), "sh"]).arg(plain.get_program()).args(plain.get_args());
    Life::start(&mut command).unwrap()
}

/// The file that the error of an ended life names, relative to the folder.
fn unwritable(ended: &Ended, folder: &Path) -> String {
    assert!(!ended.status.success() && !ended.said.contains("panicked"), "{}: {}", ended.status, ended.said);
    let said = ended.said.split("can't write ").nth(1).unwrap_or_else(|| panic!("no file is named: {}", ended.said));
    let (file, rest) = said.split_once(';').unwrap();
    assert!(rest.starts_with(" is there space and permission?"), "{}", ended.said);
    file.strip_prefix(folder.to_str().unwrap()).unwrap().trim_start_matches('/').to_string()
}

#[test]
fn a_full_disk_stops_the_program_and_space_lets_it_go_on_exactly() {
    // No file may be longer than so many blocks of 512 or 1,024 bytes -> which one wants to be, in a new program and in one that
    // was killed at work.
    let cases = [
        (false, 1, &["checkpoint/metadata"][..]),
        (false, 16, &["checkpoint/state/log/"]),
        (true, 1, &["checkpoint/offsets/", "checkpoint/sources/", "out/_temporary-"]),
        (true, 16, &["checkpoint/state/log/"]),
    ];
    for (at_work, blocks, expected) in cases {
        let (folder, trial) = trial(|_| {});
        if at_work {
            killed_at(&trial, "commit-logged:8");
        }
        for _ in 0..2 {
            let ended = end_of(life_under(&trial, &format!("trap '' XFSZ; ulimit -f {blocks}; exec")), "a full disk");
            let file = unwritable(&ended, folder.path());
            let case = format!("{at_work}, {blocks} blocks: {file}");
            let is_expected = expected.iter().any(|part| file.starts_with(part));
            assert!(is_expected && ended.said.contains("File too large"), "{case}: {}", ended.said);
        }
        finish_exact(trial, &format!("{at_work}, {blocks} blocks"));
    }
}

/// Takes the right to write away from all below a folder, or gives it back.
fn set_writable(path: &Path, writable: bool) {
    if path.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(if writable { 0o755 } else { 0o555 })).unwrap();
        fs::read_dir(path).unwrap().for_each(|entry| set_writable(&entry.unwrap().path(), writable));
    } else {
        fs::set_permissions(path, Permissions::from_mode(if writable { 0o644 } else { 0o444 })).unwrap();
    }
}

#[test]
fn a_checkpoint_that_is_read_only_is_named_and_goes_on_exactly_when_it_is_not() {
    // The superuser may write anywhere, unless the program is started without that.
    let superuser = fs::metadata("/proc/self").unwrap().uid() == 0;
    let shell = if superuser { "exec setpriv --bounding-set=-dac_override,-dac_read_search" } else { "exec" };
    let (folder, trial) = trial(|_| {});
    killed_at(&trial, "commit-logged:5");
    let checkpoint = folder.path().join("checkpoint");
    for part in ["", "offsets", "commits", "state/log", "sources"] {
        let part = checkpoint.join(part);
        set_writable(&part, false);
        let ended = end_of(life_under(&trial, shell), "a folder that is read-only");
        set_writable(&part, true);
        let file = folder.path().join(unwritable(&ended, folder.path()));
        assert!(file.starts_with(&part) && ended.said.contains("Permission denied"), "{part:?}: {}", ended.said);
    }
    finish_exact(trial, "after folders were read-only");
}

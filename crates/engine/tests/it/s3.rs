//! A checkpoint in a real server that speaks S3's protocol: `scripts/test-s3` starts one and runs this.

use std::path::Path;

use tidemill_engine::checkpoint::place::CheckpointPlace;
use tidemill_engine::clock::random_bytes;

/// A prefix of the test's own in the bucket that the script has made.
fn place() -> CheckpointPlace {
    let missing = "no server is known: run scripts/test-s3, which starts one";
    let bucket = std::env::var("TIDEMILL_S3_BUCKET").expect(missing);
    let prefix: String = random_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    CheckpointPlace::parse(Path::new(&format!("s3://{bucket}/{prefix}"))).unwrap()
}

#[test]
fn files_come_back_and_go() {
    let place = place();
    let (storage, other) = (place.open().unwrap(), place.open().unwrap());
    assert_eq!((storage.get("x/y").unwrap(), storage.list("x").unwrap()), (None, vec![]));
    // More than a listing gives at once would take too long; names that must be escaped do not.
    for name in ["x/y%20z", "x/a=1/b", "xx/c", "w"] {
        storage.put(name, name.into()).unwrap();
        storage.put(name, name.into()).unwrap();
    }
    assert_eq!(storage.get("x/y%20z").unwrap().unwrap(), "x/y%20z");
    assert_eq!(storage.list("x").unwrap(), ["x/a=1/b", "x/y%20z"]);
    storage.delete("x/y%20z").unwrap();
    storage.delete("x/y%20z").unwrap();
    assert_eq!(storage.list("").unwrap(), ["w", "x/a=1/b", "xx/c"]);
    // What was read is replaced as it was read, or read again before.
    assert_eq!(other.get("w").unwrap().unwrap(), "w");
    for (n, writer) in [&storage, &other, &storage, &storage, &other].into_iter().enumerate() {
        writer.put("w", n.to_string().into()).unwrap();
        assert_eq!([&storage, &other].map(|reader| reader.get("w").unwrap().unwrap()), [n.to_string(), n.to_string()]);
        storage.put("w", format!("{n} again").into()).unwrap();
    }
    assert_eq!(other.get("w").unwrap().unwrap(), "4 again");
}

#[test]
fn a_number_has_one_owner_and_the_last_driver_the_checkpoint() {
    let place = place();
    let (first, _claim) = place.open_alone().unwrap();
    let mut log = first.open_log("offsets").unwrap();
    (0..3).for_each(|n| log.append(n, format!("entry {n}").as_bytes()).unwrap());
    first.check_alone().unwrap();
    let (second, _claim) = place.open_alone().unwrap();
    assert!(first.check_alone().unwrap_err().message().contains("another driver has taken over"));
    assert!(first.put("metadata", "x".into()).is_err());
    second.check_alone().unwrap();
    let mut other = second.open_log("offsets").unwrap();
    assert_eq!(other.numbers(), [0, 1, 2]);
    assert_eq!(other.read(1).unwrap(), "entry 1");
    other.append(3, b"entry 3").unwrap();
    let error = log.append(3, b"entry 3").unwrap_err();
    assert!(error.message().contains("another driver writes to this checkpoint"), "{error}");
    other.purge_before(2).unwrap();
    other.truncate_from(3).unwrap();
    assert_eq!(second.open_log("offsets").unwrap().numbers(), [2]);
}

#[test]
fn a_bucket_that_is_not_there_is_an_error_without_secrets() {
    let place = CheckpointPlace::parse(Path::new("s3://no-such-bucket/x")).unwrap();
    let error = place.open_alone().err().unwrap().to_string();
    assert!(error.contains("s3://no-such-bucket/x") && error.contains("NoSuchBucket"), "{error}");
    assert!(!error.contains(&std::env::var("AWS_SECRET_ACCESS_KEY").unwrap()), "{error}");
}

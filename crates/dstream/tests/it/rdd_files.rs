//! RDDs from files and to files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tidemill_dstream::context::SparkContext;
use tidemill_dstream::rdd::{Codec, Rdd};
use tidemill_engine::error::ErrorKind;

use crate::support::{check, check_sorted, collect, context, says, shuffles, strings};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(text: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 0).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// The names of a folder's files, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn text_becomes_lines_however_it_is_packed_and_cut() {
    let cases: [(&str, Vec<u8>, &[&str]); 13] = [
        ("empty.txt", vec![], &[]),
        ("plain.txt", b"a\nb\n".to_vec(), &["a", "b"]),
        ("no line end.txt", b"a\nb".to_vec(), &["a", "b"]),
        ("empty lines.txt", b"\n\na\n\n".to_vec(), &["", "", "a", ""]),
        ("crlf.txt", b"a\r\nb\rc\r\n\r\n".to_vec(), &["a", "b\rc", ""]),
        ("not utf-8.txt", b"ok\nb\xffd\xc3\n\xc3\xa9".to_vec(), &["ok", "b\u{fffd}d\u{fffd}", "é"]),
        ("zero.txt", b"a\0b\n".to_vec(), &["a\0b"]),
        ("one.gz", gzip(b"a\nb\n"), &["a", "b"]),
        ("two members.gz", [gzip(b"a\nb"), gzip(b"c\nd\n")].concat(), &["a", "bc", "d"]),
        ("one.bz2", bzip2(b"a\r\nb"), &["a", "b"]),
        ("two streams.bz2", [bzip2(b"a\n"), bzip2(b"b\n")].concat(), &["a", "b"]),
        ("one.zst", zstd(b"a\nb\n"), &["a", "b"]),
        ("two frames.zst", [zstd(b"a\n"), zstd(b"b\n")].concat(), &["a", "b"]),
    ];
    for (name, content, expected) in cases {
        let folder = folder(&[(name, &content)]);
        let path = folder.path().join(name);
        for partitions in [1, 2, 3, 20] {
            check(&format!("{name} in {partitions}"), strings(expected), |sc| {
                sc.text_file(path.to_str().unwrap(), partitions)
            });
        }
        let sc = context();
        assert_eq!(sc.text_file(path.to_str().unwrap(), 3).text().count().unwrap(), expected.len() as u64, "{name}");
        let cut = sc.text_file(path.to_str().unwrap(), 3).num_partitions();
        assert!(if name.ends_with("txt") && !content.is_empty() { cut >= 3 } else { cut == 1 }, "{name}: {cut} parts");
    }
}

#[test]
fn large_text_is_cut_and_each_line_read_once() {
    let lines: Vec<String> = (0..30_000).map(|n| format!("line {n} {}", "x".repeat(n % 50))).collect();
    let text = lines.join("\n");
    let folder = folder(&[("a.txt", text.as_bytes()), ("b.gz", &gzip(text.as_bytes()))]);
    for partitions in [1, 2, 7] {
        let path = folder.path().join("a.txt");
        check("plain", lines.clone(), |sc| sc.text_file(path.to_str().unwrap(), partitions));
    }
    check("compressed", lines.clone(), |sc| sc.text_file(folder.path().join("b.gz").to_str().unwrap(), 4));
    let sc = context();
    let all = sc.text_file(folder.path().to_str().unwrap(), 4);
    assert_eq!(all.text().split_words().filter(|word| word == "line").count().unwrap(), 60_000);
    assert_eq!(shuffles(&all.text().split_words().count_by_value()), 1);
    assert!(all.text().to_strings().explain().contains("TextScanExec"), "{}", all.explain());
    assert_eq!(all.take(2).unwrap(), lines[..2]);
}

#[test]
fn paths_are_files_folders_globs_and_lists() {
    let folder = folder(&[
        ("a.txt", b"a\n"),
        ("b.txt", b"b\n"),
        ("c.log", b"c\n"),
        ("_SUCCESS", b"hidden\n"),
        (".a.txt.crc", b"hidden\n"),
        ("sub/d.txt", b"d\n"),
        ("sub/[e].txt", b"e\n"),
        ("sub/deeper/f.txt", b"f\n"),
    ]);
    let root = folder.path().to_str().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let cases: [(&str, &[&str]); 16] = [
        ("/a.txt", &["a"]),
        ("", &["a", "b", "c"]),
        ("/", &["a", "b", "c"]),
        ("/empty", &[]),
        ("/*.txt", &["a", "b"]),
        ("/*", &["a", "b", "c", "d", "e"]),
        ("/?.log", &["c"]),
        ("/[ab].txt", &["a", "b"]),
        ("/{a,c}.{txt,log}", &["a", "c"]),
        ("/{a.txt,sub/{d,x}.txt}", &["a", "d"]),
        ("/sub/[e].txt", &["e"]),
        ("/*/*.txt", &["d", "e"]),
        ("/**/f.txt", &["f"]),
        ("/_SUCCESS", &["hidden"]),
        ("/b.txt,ROOT/a.txt", &["a", "b"]),
        ("/a.txt, ROOT/sub ,ROOT/a.txt", &["a", "a", "d", "e"]),
    ];
    for (path, expected) in cases {
        for scheme in ["", "file:", "file://"] {
            let path = format!("{scheme}{root}{}", path.replace("ROOT", root));
            check_sorted(&path, strings(expected), |sc| sc.text_file(&path, 2));
        }
    }
    let sc = context();
    for path in ["/nothing", "/*.xyz", "/a.txt,/nothing", "/{x,y}", ""] {
        let path = if path.is_empty() { String::new() } else { format!("{root}{path}") };
        let error = sc.text_file(&path, 2).collect().unwrap_err();
        says(&error, &["Input path does not exist"]);
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    says(&sc.text_file(&format!("{root}/***"), 1).count().unwrap_err(), &["not a valid pattern"]);
}

#[test]
fn damaged_files_are_errors_that_name_them() {
    let whole = gzip(&b"text ".repeat(10_000));
    let folder = folder(&[("cut.gz", &whole[..whole.len() / 2]), ("no.zst", b"no zstd"), ("no.bz2", b"no bzip2")]);
    for name in ["cut.gz", "no.zst", "no.bz2"] {
        let path = folder.path().join(name);
        let error = context().text_file(path.to_str().unwrap(), 1).count().unwrap_err();
        says(&error, &["can't read", name]);
        assert_eq!(error.kind(), ErrorKind::Data);
    }
    let path = folder.path().join("gone.txt");
    fs::write(&path, "x").unwrap();
    let rdd = context().text_file(path.to_str().unwrap(), 1);
    fs::remove_file(&path).unwrap();
    says(&rdd.count().unwrap_err(), &["can't read", "gone.txt"]);
}

#[test]
fn whole_files_come_with_their_names() {
    let folder = folder(&[("a.txt", b"one\ntwo"), ("b.txt.gz", &gzip(b"three")), ("c", b""), ("d", b"\xff")]);
    let root = folder.path().to_str().unwrap();
    let expected = [("a.txt", "one\ntwo"), ("b.txt.gz", "three"), ("c", ""), ("d", "\u{fffd}")];
    check_sorted("whole_text_files", expected.map(|(name, text)| (format!("{root}/{name}"), text.to_string())), |sc| {
        sc.whole_text_files(root)
    });
    check("binary_files", [(format!("{root}/d"), vec![0xff])], |sc| sc.binary_files(&format!("{root}/d")));
    says(&context().binary_files("/no/such/file").count().unwrap_err(), &["Input path does not exist"]);
    let error = context().whole_text_files(root).map(|(_, text)| text.parse::<i32>().unwrap()).count().unwrap_err();
    says(&error, &["map at", file!()]);
}

#[test]
fn records_have_one_length() {
    let content: Vec<u8> = (0..60_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let folder = folder(&[("a", &content), ("b", b"12345678"), ("c", b"")]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let records = collect("a", |sc| sc.binary_records(&path("a"), 4));
    assert_eq!(records.concat(), content);
    assert_eq!(records.len(), 60_000);
    check("b", [b"12345678".to_vec()], |sc| sc.binary_records(&path("b"), 8));
    check("c", [], |sc| sc.binary_records(&path("c"), 8));
    says(&context().binary_records(&path("b"), 3).count().unwrap_err(), &["not a whole number of 3-byte records"]);
    says(&context().binary_records(&path("b"), 0).count().unwrap_err(), &["record length must be greater than 0"]);
}

#[test]
fn text_files_come_back_as_they_were_saved() {
    let sc = context();
    let cases = [
        (Codec::None, ""),
        (Codec::Gzip, ".gz"),
        (Codec::Bzip2, ".bz2"),
        (Codec::Zstd, ".zst"),
        (Codec::Deflate, ".deflate"),
    ];
    for (codec, suffix) in cases {
        for (rows, partitions) in [(0, 1), (5, 3), (5, 9), (20_000, 2)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("deep/out");
            sc.parallelize_in(0..rows, partitions).save_as_text_file_with(&path, codec).unwrap();
            let parts = (0..partitions).map(|part| format!("part-{part:05}{suffix}"));
            let expected: Vec<String> = std::iter::once("_SUCCESS".to_string()).chain(parts).collect();
            assert_eq!(names(&path), expected, "{codec:?}");
            let back = sc.text_file(path.to_str().unwrap(), 1).map(|line| line.parse::<i32>().unwrap());
            assert_eq!(back.collect().unwrap(), (0..rows).collect::<Vec<_>>(), "{codec:?} {rows} in {partitions}");
            let back = sc.text_file(&format!("{}/*", path.display()), 1);
            assert_eq!(back.count().unwrap(), rows as u64, "a glob leaves _SUCCESS out");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    sc.empty_rdd::<i32>().save_as_text_file(folder.path().join("none")).unwrap();
    assert_eq!(names(&folder.path().join("none")), ["_SUCCESS"]);
}

#[test]
fn a_folder_that_exists_is_left_as_it_is() {
    let sc = context();
    let folder = folder(&[("old/keep", b"me"), ("file", b"")]);
    for name in ["old", "file"] {
        let path = folder.path().join(name);
        for result in [sc.parallelize(0..3).save_as_text_file(&path), sc.parallelize(0..3).save_as_object_file(&path)] {
            let error = result.unwrap_err();
            says(&error, &["Output directory", name, "already exists"]);
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
    }
    assert_eq!(names(&folder.path().join("old")), ["keep"]);
}

#[test]
fn a_save_that_fails_leaves_nothing_behind() {
    let sc = context();
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join("out");
        let failing = sc.parallelize_in(0..400, 8).map(move |n| if n == round * 20 { panic!("no {n}") } else { n });
        says(&failing.save_as_text_file(&path).unwrap_err(), &["map at", file!(), "no "]);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        assert!(failing.save_as_object_file(&path).is_err());
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
    let uri = format!("file://{}", folder.path().join("out").display());
    sc.parallelize(0..3).save_as_text_file(&uri).unwrap();
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(sc.text_file(&uri, 1).count().unwrap(), 3);
    says(&sc.parallelize(0..3).save_as_text_file("hdfs://host/out").unwrap_err(), &["hdfs://host/out", "local"]);
    says(&sc.text_file("hdfs://host/out", 1).count().unwrap_err(), &["hdfs://host/out", "local"]);
    assert!(sc.parallelize(0..3).save_as_text_file("/proc/no/such/place").is_err());
}

#[test]
fn object_files_come_back_as_they_were_saved() {
    type Row = (String, Option<Vec<f64>>);
    let rows: Vec<Row> = (0..10_000).map(|n| (format!("row {n}"), (n % 3 > 0).then(|| vec![n as f64; 3]))).collect();
    let folder = tempfile::tempdir().unwrap();
    let sc = context();
    for partitions in [1, 4] {
        let path = folder.path().join(partitions.to_string());
        sc.parallelize_in(rows.clone(), partitions).save_as_object_file(&path).unwrap();
        let read = |sc: &SparkContext| -> Rdd<Row> { sc.object_file(&path).unwrap() };
        check("object_file", rows.clone(), read);
        assert_eq!(read(&sc).num_partitions(), partitions);
    }
    let path = folder.path().join("none");
    sc.parallelize_in(Vec::<Row>::new(), 2).save_as_object_file(&path).unwrap();
    check("no rows", [], |sc| sc.object_file::<Row>(&path).unwrap());
    let error = sc.object_file::<Row>(folder.path().join("gone")).map(drop).unwrap_err();
    says(&error, &["gone", "not readable as object files"]);
    let error = sc.object_file::<u8>(folder.path().join("1")).unwrap().count().unwrap_err();
    says(&error, &["part-00000", "not an encoded u8"]);
    File::create(path.join("part-00001")).unwrap().write_all(b"no arrow").unwrap();
    let error = sc.object_file::<Row>(&path).unwrap().count().unwrap_err();
    says(&error, &["part-00001"]);
    assert_eq!(error.kind(), ErrorKind::Data);
}

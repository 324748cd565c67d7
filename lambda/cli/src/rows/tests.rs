//! What files may look like, and what is said of rows that are none.

use super::*;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use serde_json::Value;
use std::io::{BufReader, Cursor};

/// The places and texts of all rows, read `step` bytes at a time.
fn split(bytes: &[u8], step: usize, longest: usize) -> (Vec<(Place, String)>, Vec<u8>, Option<String>) {
    let mut splitter = Splitter::new(BufReader::with_capacity(step, Cursor::new(bytes.to_vec())), longest);
    let (mut rows, mut over) = (Vec::new(), Vec::new());
    loop {
        match splitter.next(&mut over) {
            Ok(Some(place)) => rows.push((place, String::from_utf8_lossy(splitter.text()).into_owned())),
            Ok(None) => return (rows, over, None),
            Err(Broken::List(why)) => return (rows, over, Some(why)),
            Err(Broken::Read(error)) => return (rows, over, Some(error.to_string())),
        }
    }
}

/// Line and text of each row, whatever the size of what is read at once.
fn check(text: &str, expected: &[(u64, &str)]) {
    for step in [1, 2, 3, 7, 4096] {
        let (rows, _, broken) = split(text.as_bytes(), step, LONGEST);
        let rows: Vec<_> = rows.iter().map(|(place, text)| (place.line, text.as_str())).collect();
        assert_eq!((rows.as_slice(), broken), (expected, None), "{text}");
    }
}

#[test]
fn lines_are_rows_and_blank_ones_are_none() {
    check(
        "{\"a\":1}\n\n  \r\n{\"b\":2}\r\n\t{\"c\":3}",
        &[(1, "{\"a\":1}"), (4, "{\"b\":2}"), (5, "{\"c\":3}")],
    );
    check("", &[]);
    check("\n \n", &[]);
}

#[test]
fn a_list_is_taken_apart_whatever_its_layout() {
    check(
        "[{\"a\":\"],\\\\\\\"{\"},{\"b\":[1,{\"x\":2},[]]}]",
        &[(1, "{\"a\":\"],\\\\\\\"{\"}"), (1, "{\"b\":[1,{\"x\":2},[]]}")],
    );
    check("\n[\n {\"a\":\n1}\n,\n\n{\"b\":2}\n]\n", &[(3, "{\"a\":\n1}"), (7, "{\"b\":2}")]);
    check("[1, \"two\", null,]", &[(1, "1"), (1, "\"two\""), (1, "null")]);
    check("[]", &[]);
}

#[test]
fn a_row_that_is_no_json_keeps_to_itself() {
    // The bracket that its text swallowed is missing: the row ends where the next object begins.
    check(
        "[{\"a\":\"no end},\n{\"b\":2},\n{\"c\":3}]",
        &[(1, "{\"a\":\"no end},"), (2, "{\"b\":2}"), (3, "{\"c\":3}")],
    );
    check("[{\"a\":1,\n{\"b\":2},\n{\"c\":3}]", &[(1, "{\"a\":1,"), (2, "{\"b\":2}"), (3, "{\"c\":3}")]);
    check("[{\"a\":1}},{\"b\":2},,{c:3}]", &[(1, "{\"a\":1}}"), (1, "{\"b\":2}"), (1, ""), (1, "{c:3}")]);
}

#[test]
fn a_list_without_its_end_or_with_more_behind_it_is_broken() {
    for (text, line) in
        [("[{\"a\":1},\n{\"b\"", "line 2"), ("[\n", "line 2"), ("[1]\n[2]", "line 2"), ("[1] x", "line 1")]
    {
        for step in [1, 4096] {
            let (_, _, broken) = split(text.as_bytes(), step, LONGEST);
            assert!(broken.as_deref().is_some_and(|why| why.contains(line)), "{text}: {broken:?}");
        }
    }
}

#[test]
fn a_row_over_the_limit_goes_by_on_one_line_and_the_next_is_read() {
    for (text, second) in [("{\"a\":\"xxxx\"}\n{\"b\":2}\n", 2), ("[{\"a\":\n\"xxxx\"},{\"b\":2}]", 2)] {
        for step in [1, 5, 4096] {
            let (rows, over, broken) = split(text.as_bytes(), step, 8);
            assert_eq!((rows[0].0.too_long, rows[0].1.as_str(), broken), (true, "", None));
            assert_eq!(
                (rows[1].0.line, rows[1].0.too_long, rows[1].1.as_str()),
                (second, false, "{\"b\":2}")
            );
            assert_eq!(over.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(String::from_utf8(over).unwrap().replace(' ', ""), "{\"a\":\"xxxx\"}\n");
        }
    }
}

/// What a file with these bytes reads as: questions, and sentences about bad rows.
fn read(bytes: &[u8]) -> (Vec<String>, Vec<String>, Option<String>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let source = Source::open(file.path()).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut rows = match Rows::of(&source, false) {
        Ok(rows) => rows,
        Err(why) => return (good, bad, Some(why)),
    };
    loop {
        match rows.next(&mut std::io::sink()) {
            Ok(Some((_, Ok(row)))) => good.push(row.pk),
            Ok(Some((place, Err(why)))) => {
                bad.push(format!("{}: {why}", rows.locate(place)).replace(&source.name, "FILE"))
            }
            Ok(None) => return (good, bad, None),
            Err(why) => return (good, bad, Some(why)),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

const ROWS: &str = "{\"pk\":\"a\",\"answer\":\"1\"}\n{\"pk\":\"b\",\"answer\":\"2\"}\n";

#[test]
fn gzip_is_known_by_its_content_and_may_have_members() {
    let twice = [gzip(ROWS.as_bytes()), gzip(ROWS.as_bytes())].concat();
    assert_eq!(read(&twice), (["a", "b", "a", "b"].map(str::to_owned).to_vec(), vec![], None));
    let bom = ["\u{feff}", ROWS].concat();
    assert_eq!(read(&gzip(bom.as_bytes())).0.len(), 2);
    assert_eq!(read(bom.as_bytes()), (vec!["a".into(), "b".into()], vec![], None));
}

#[test]
fn a_file_that_is_damaged_as_a_whole_says_so() {
    let whole = gzip(ROWS.repeat(2000).as_bytes());
    let cut = read(&whole[..whole.len() - 9]).2.unwrap();
    assert!(cut.contains("cut off"), "{cut}");
    let mut bent = whole.clone();
    bent[40] ^= 0xff;
    let bent = read(&bent).2.unwrap();
    assert!(bent.contains("damaged"), "{bent}");
    assert!(read(b"\xff\xfe{\0").2.unwrap().contains("UTF-16"));
}

#[test]
fn bad_rows_are_told_with_their_place() {
    let text = b"{\"pk\":\"a\",\"answer\":\"1\"}\n\n{\"pk\":\"b\"}\n{\"pk\":\"\xff\",\"answer\":\"1\"}\n";
    let (good, bad, _) = read(text);
    assert_eq!(good, ["a"]);
    assert!(bad[0].starts_with("FILE, line 3: `answer` is missing"), "{bad:?}");
    assert!(bad[1].starts_with("FILE, line 4: The row is no UTF-8 text: its byte 8 "), "{bad:?}");
    let (_, bad, _) = read(b"[\n{\"pk\": \"a\", \"answer\": \"1\"},\n{\"pk\": 7, \"answer\": \"1\"}]");
    assert!(bad[0].starts_with("FILE, row 2 (line 3): `pk` must be"), "{bad:?}");
    let (_, bad, _) = read(b"{\n  \"pk\": \"a\",\n  \"answer\": \"1\"\n}\n");
    assert!(bad[0].contains("one line"), "{bad:?}");
}

#[test]
fn a_row_over_four_megabytes_is_bad_and_the_others_are_not() {
    let huge = format!("{{\"pk\":\"huge\",\"answer\":\"{}\"}}\n{ROWS}", "x".repeat(LONGEST));
    let (good, bad, _) = read(huge.as_bytes());
    assert_eq!(good, ["a", "b"]);
    assert_eq!(bad, ["FILE, line 1: The row is longer than 4 MB. Shorten its answer."]);
}

#[test]
fn a_file_is_read_again_from_its_beginning_with_the_same_digest() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ROWS.as_bytes()).unwrap();
    let source = Source::open(file.path()).unwrap();
    let mut digests = Vec::new();
    for _ in 0..2 {
        let mut rows = Rows::of(&source, true).unwrap();
        let mut count = 0;
        while rows.next(&mut std::io::sink()).unwrap().is_some() {
            count += 1;
        }
        assert_eq!((count, rows.meter.bytes()), (2, ROWS.len() as u64));
        digests.push(rows.meter.digest());
    }
    assert_eq!(digests[0], digests[1]);
}

/// Any JSON, as deep as rows get.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[\\[\\]{},:\"\\\\\n a-cé]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[{}\\[\\],\"a]{0,3}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_list_comes_apart_into_what_it_was_made_of(values in prop::collection::vec(json(), 0..6), step in 1..40_usize) {
        let list = Value::from(values.clone());
        for text in [list.to_string(), format!("{list:#}")] {
            let (rows, _, broken) = split(text.as_bytes(), step, LONGEST);
            let rows: Vec<Value> = rows.iter().map(|(_, row)| serde_json::from_str(row).unwrap()).collect();
            prop_assert_eq!((&rows, broken), (&values, None));
        }
    }

    #[test]
    fn no_bytes_keep_it_from_coming_to_an_end(bytes in "[\\[\\]{},:\"\\\\\r\n a]{0,60}", longest in 1..20_usize) {
        let (rows, _, _) = split(bytes.as_bytes(), 3, longest);
        prop_assert!(rows.len() <= bytes.len());
        prop_assert!(rows.iter().all(|(_, row)| row.len() <= longest));
    }
}

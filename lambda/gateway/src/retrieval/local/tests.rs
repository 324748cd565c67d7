use super::super::documents::testing::TempDirectory;
use super::super::passages;
use super::super::{Embed, Filter, Vectors};
use super::*;
use crate::chat::{Condition, Passage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

const README: &str = "# Gateway\n\n## Doors\nThe REST door streams its answer.\n\n## Errors\nThrottled requests carry Retry-After.\n";

const LIMIT: Duration = Duration::from_secs(60);
const HYBRID: Rules = Rules { mode: Mode::Hybrid, min_score: None };
const TEXT: Rules = Rules { mode: Mode::Text, min_score: None };
const VECTOR: Rules = Rules { mode: Mode::Vector, min_score: None };

/// Three meanings, each with its words; a text's vector counts them.
fn of_meaning(text: &str) -> Vec<f32> {
    let meanings = [["zebra", "stripes"], ["car", "automobile"], ["throttled", "busy"]];
    let text = text.to_lowercase();
    let mut vector: Vec<f32> = meanings
        .iter()
        .map(|words| words.iter().map(|word| text.matches(word).count() as f32).sum())
        .collect();
    vector.push(0.1);
    vector
}

/// An embedder that counts the texts it embeds for documents.
fn counting(counted: &Arc<AtomicUsize>) -> Meaning {
    let counted = counted.clone();
    let embed: Embed = Arc::new(move |texts, purpose| {
        if purpose == Purpose::Document {
            counted.fetch_add(texts.len(), Ordering::SeqCst);
        }
        let vectors = texts.iter().map(|text| of_meaning(text)).collect();
        std::future::ready(Ok(Vectors { vectors, input_tokens: 0 })).boxed()
    });
    Meaning { embed, model: "test.embed".into(), spelling: false }
}

fn meaning() -> Meaning {
    counting(&Arc::default())
}

fn spelling() -> Meaning {
    Meaning { spelling: true, ..meaning() }
}

async fn search(index: &LocalIndex, text: &str, k: usize) -> Vec<Passage> {
    let query = Query { text: text.to_owned(), k, ..Query::default() };
    let found = index.search(&query, LIMIT).await.unwrap();
    assert!(!found.degraded);
    found.passages
}

async fn titles(index: &LocalIndex, query: &str) -> Vec<String> {
    search(index, query, 4).await.into_iter().map(|passage| passage.source.title).collect()
}

fn directory_index(directory: &TempDirectory, rules: Rules, meaning: Meaning) -> LocalIndex {
    LocalIndex::from_dir(directory.path().to_owned(), rules, meaning).unwrap()
}

#[tokio::test]
async fn a_question_finds_its_passage_by_text_and_by_heading() {
    for rules in [TEXT, HYBRID] {
        let index = LocalIndex::from_embedded(&[("README.md", README)], rules, spelling());
        assert_eq!(titles(&index, "What happens when a request is throttled?").await, ["README.md › Errors"]);
        assert_eq!(titles(&index, "which doors are there?").await, ["README.md › Doors"]);
        assert!(titles(&index, "what is it?").await.is_empty());
        assert!(titles(&index, "zebra").await.is_empty());
        let long = "zebra ".repeat(INLINE_QUERY) + "throttled";
        assert_eq!(titles(&index, &long).await, ["README.md › Errors"]);
        let passage = &search(&index, "throttled", 1).await[0];
        assert_eq!((passage.source.location.as_str(), passage.source.span), ("README.md", Some((6, 7))));
        assert!(passage.source.score > 0.0);
        assert_eq!(index.size(), (1, 2));
    }
}

#[tokio::test]
async fn meaning_finds_what_words_do_not() {
    let documents = [("a.md", "An automobile needs oil."), ("b.md", "Zebras need grass.")];
    let found = async |rules, meaning| {
        let index = LocalIndex::from_embedded(&documents, rules, meaning);
        titles(&index, "my car").await
    };
    assert!(found(TEXT, meaning()).await.is_empty());
    assert_eq!(found(VECTOR, meaning()).await, ["a.md", "b.md"]);
    assert_eq!(found(HYBRID, meaning()).await, ["a.md", "b.md"]);
    assert!(found(HYBRID, spelling()).await.is_empty(), "spelling finds nothing by itself");
}

#[tokio::test]
async fn a_least_score_is_in_the_modes_own_terms() {
    let documents = [("a.md", "An automobile needs oil."), ("b.md", "Zebras need grass.")];
    for (mode, least, expected) in [
        (Mode::Vector, 0.9, &["a.md"][..]),
        (Mode::Hybrid, 0.9, &["a.md"]),
        (Mode::Vector, 1.1, &[]),
        (Mode::Text, 0.01, &["a.md"]),
        (Mode::Text, 100.0, &[]),
    ] {
        let rules = Rules { mode, min_score: Some(least) };
        let index = LocalIndex::from_embedded(&documents, rules, meaning());
        assert_eq!(titles(&index, "car automobile").await, expected, "{mode:?} {least}");
    }
}

#[tokio::test]
async fn filters_ask_where_a_document_stands() {
    let index = LocalIndex::from_embedded(&[("a.md", "zebra one"), ("b.md", "zebra two")], HYBRID, meaning());
    let from = |file: &str| Query {
        text: "zebra".into(),
        k: 1,
        filter: Filter(vec![Condition { field: "source".into(), any_of: vec![file.into()] }]),
    };
    for file in ["a.md", "b.md"] {
        let found = index.search(&from(file), LIMIT).await.unwrap().passages;
        assert_eq!(found.iter().map(|passage| passage.source.location.as_str()).collect::<Vec<_>>(), [file]);
    }
    assert!(index.search(&from("c.md"), LIMIT).await.unwrap().passages.is_empty());
}

#[tokio::test]
async fn a_text_that_stands_twice_takes_one_place() {
    let documents = [("a.md", "about  zebras"), ("b.md", "about zebras"), ("c.md", "zebras and more")];
    let index = LocalIndex::from_embedded(&documents, HYBRID, meaning());
    assert_eq!(titles(&index, "zebras").await, ["a.md", "c.md"]);
}

#[tokio::test]
async fn vectors_that_do_not_fit_fail_the_search_and_nothing_else() {
    let embed: Embed = Arc::new(|texts, purpose| {
        let length = if purpose == Purpose::Query { 3 } else { 4 };
        let vectors = texts.iter().map(|_| vec![1.0; length]).collect();
        std::future::ready(Ok(Vectors { vectors, input_tokens: 0 })).boxed()
    });
    let index = LocalIndex::from_embedded(&[("a.md", "zebra")], HYBRID, Meaning { embed, ..meaning() });
    let query = Query { text: "zebra".into(), k: 4, ..Query::default() };
    assert!(index.search(&query, LIMIT).await.is_err());
}

#[tokio::test]
async fn a_question_without_a_vector_is_searched_by_words_and_says_so() {
    let failing: Embed = Arc::new(|_, _| std::future::ready(Err(Error::internal("no model"))).boxed());
    let silent: Embed = Arc::new(|_, _| std::future::pending().boxed());
    for embed in [failing, silent] {
        let directory = TempDirectory::new();
        directory.write(passages::FILE, passages("test.embed", &["automobile", "zebra"]));
        let path = directory.path().join(passages::FILE);
        let open = |rules| {
            let meaning = Meaning { embed: embed.clone(), ..meaning() };
            LocalIndex::from_file(path.clone(), rules, meaning.clone(), (&[], meaning)).unwrap()
        };
        let query = Query { text: "zebra".into(), k: 4, ..Query::default() };
        let found = open(HYBRID).search(&query, Duration::from_millis(100)).await.unwrap();
        assert!(found.degraded && found.passages.len() == 1, "{found:?}");
        let by_meaning = open(VECTOR);
        let by_meaning = tokio::time::timeout(LIMIT / 60, by_meaning.search(&query, LIMIT)).await;
        assert!(!matches!(by_meaning, Ok(Ok(_))), "there is nothing else to go by");
    }
}

#[tokio::test]
async fn a_changed_file_is_found_after_a_refresh_and_renames_the_snapshot() {
    let directory = TempDirectory::new();
    directory.write("a.md", "about zebras");
    let counted = Arc::default();
    let index = directory_index(&directory, HYBRID, counting(&counted));
    let before = index.snapshot().await;
    assert!(!index.refresh(), "nothing changed");
    titles(&index, "zebra").await;
    assert_eq!(counted.load(Ordering::SeqCst), 1);
    directory.write("b/c.md", "about cars");
    assert!(index.refresh());
    assert_eq!(titles(&index, "automobile").await[0], "b/c.md");
    assert_eq!(counted.load(Ordering::SeqCst), 2, "what did not change is not embedded again");
    assert_ne!(index.snapshot().await, before);
    std::fs::remove_dir_all(directory.path().join("b")).unwrap();
    assert!(index.refresh());
    assert_eq!(index.snapshot().await, before, "the same contents have the same name");
}

#[tokio::test]
async fn what_finds_other_passages_has_another_snapshot() {
    let named = async |text, rules, model: &str| {
        let meaning = Meaning { model: model.into(), ..meaning() };
        LocalIndex::from_embedded(&[("a.md", text)], rules, meaning).snapshot().await.unwrap()
    };
    let least = Rules { min_score: Some(0.5), ..HYBRID };
    let mut names = vec![named("a zebra", HYBRID, "other.embed").await];
    for rules in [TEXT, VECTOR, HYBRID, least] {
        names.push(named("a zebra", rules, "test.embed").await);
    }
    // The same words, cut into other passages.
    names.push(named("# a\nzebra", HYBRID, "test.embed").await);
    names.push(named("# a\n\nzebra", HYBRID, "test.embed").await);
    for (at, name) in names.iter().enumerate() {
        assert!(!names[at + 1..].contains(name), "{at} {name}");
    }
    assert_eq!(named("a zebra", TEXT, "test.embed").await, named("a zebra", TEXT, "other.embed").await);
}

#[tokio::test]
async fn a_directory_that_vanishes_keeps_the_last_index() {
    let directory = TempDirectory::new();
    directory.write("a.md", "about zebras");
    let index = directory_index(&directory, TEXT, meaning());
    std::fs::remove_dir_all(directory.path()).unwrap();
    assert!(!index.refresh() && !index.refresh());
    assert_eq!(titles(&index, "zebra").await, ["a.md"]);
    directory.write("b.md", "about giraffes");
    assert!(index.refresh(), "it came back");
    assert_eq!(titles(&index, "zebra giraffe").await, ["b.md"]);
    assert!(LocalIndex::from_dir("/nowhere/at/all".into(), TEXT, meaning()).is_err());
}

#[tokio::test]
async fn watching_embeds_takes_changes_over_and_ends_with_the_last_holder() {
    let directory = TempDirectory::new();
    directory.write("a.md", "about zebras");
    let counted = Arc::default();
    let index = Arc::new(directory_index(&directory, HYBRID, counting(&counted)));
    let watcher = Arc::clone(&index).watch(Duration::from_millis(1));
    directory.write("b.md", "about giraffes");
    let seen = async {
        // Nobody has searched: it is embedded all the same.
        while counted.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap();
    assert_eq!(titles(&index, "giraffe").await[0], "b.md");
    drop(index);
    tokio::time::timeout(Duration::from_secs(10), watcher).await.unwrap().unwrap();
}

/// A file of passages as `llm-gateway index` writes it.
fn passages(model: &str, texts: &[&str]) -> String {
    let header = json!({ "format": passages::FORMAT, "embeddings_model": model, "dimensions": 4 });
    let line = |text: &&str| {
        let bytes: Vec<u8> = of_meaning(text).iter().flat_map(|number| number.to_le_bytes()).collect();
        let metadata = json!({ "source": format!("{text}.md"), "team": "a" });
        json!({ "text": text, "metadata": metadata, "vector": STANDARD.encode(bytes) }).to_string()
    };
    let lines = [header.to_string()].into_iter().chain(texts.iter().map(line));
    lines.map(|line| line + "\n").collect()
}

fn file_index(directory: &TempDirectory, rules: Rules) -> Result<LocalIndex, String> {
    let path = directory.path().join(passages::FILE);
    LocalIndex::from_file(path, rules, meaning(), (&[("README.md", README)], spelling()))
}

#[tokio::test]
async fn a_file_of_passages_is_searched_once_it_is_there() {
    let directory = TempDirectory::new();
    let index = file_index(&directory, HYBRID).unwrap();
    assert_eq!(titles(&index, "throttled").await, ["README.md › Errors"]);
    directory.write(passages::FILE, passages("test.embed", &["automobile", "zebra"]));
    assert!(index.refresh() && !index.refresh());
    assert_eq!(titles(&index, "my car").await, ["automobile.md", "zebra.md"]);
    let first = index.snapshot().await;
    directory.write(passages::FILE, passages("test.embed", &["car"]));
    assert!(index.refresh());
    assert_eq!(titles(&index, "my automobile").await, ["car.md"]);
    assert_ne!(index.snapshot().await, first);
    for broken in ["", "{}", "\u{0}\u{1}"] {
        directory.write(passages::FILE, broken);
        assert!(!index.refresh());
    }
    std::fs::remove_file(directory.path().join(passages::FILE)).unwrap();
    assert!(!index.refresh());
    assert_eq!(titles(&index, "my automobile").await, ["car.md"], "the last index stays");
}

#[tokio::test]
async fn a_file_of_passages_that_cannot_be_used_is_refused_with_what_to_do() {
    let directory = TempDirectory::new();
    let whole = passages("test.embed", &["automobile"]);
    let refused = |text: &str| {
        directory.write(passages::FILE, text);
        file_index(&directory, HYBRID).err().unwrap_or_else(|| panic!("it is taken: {text}"))
    };
    let of_another = passages("other.embed", &["automobile"]);
    for word in ["other.embed", "test.embed", "EMBEDDINGS_MODEL", "llm-gateway index", "RETRIEVAL_MODE=text"]
    {
        let sentence = refused(&of_another);
        assert!(sentence.contains(word), "{sentence}");
    }
    for (text, word) in [
        (whole.replace("passages 1", "passages 2"), "does not begin"),
        (whole.replace("\"dimensions\":4", "\"dimensions\":5"), "line 2"),
        (whole.clone() + "{\"text\": \"cut o", "line 3"),
        (whole.clone() + "{\"text\":\"a\",\"vector\":\"!\"}", "base64"),
        (String::new(), "does not begin"),
    ] {
        let sentence = refused(&text);
        assert!(sentence.contains(word) && sentence.contains("llm-gateway index"), "{sentence}");
    }
    // Words can be searched whatever the vectors are.
    directory.write(passages::FILE, &of_another);
    assert_eq!(titles(&file_index(&directory, TEXT).unwrap(), "automobile").await, ["automobile.md"]);
}

//! What a splitter promises of any document.

use super::*;
use proptest::prelude::*;

fn titles(text: &str) -> Vec<(String, (u64, u64))> {
    let passages = split("a.md", text, Format::Markdown);
    passages.into_iter().map(|passage| (passage.source.title, passage.source.span.unwrap())).collect()
}

fn check(text: &str, expected: &[(&str, (u64, u64))]) {
    let expected: Vec<_> = expected.iter().map(|(title, span)| ((*title).to_owned(), *span)).collect();
    assert_eq!(titles(text), expected, "{text}");
}

#[test]
fn a_passage_is_named_by_the_headings_it_stands_under() {
    check(
        "# Gateway\n\nIntro.\n\n## Doors\n\n### REST\nOne.\n\n### WebSocket ###\nTwo.\n## Errors\nThree.\n",
        &[
            ("a.md › Gateway", (1, 3)),
            ("a.md › Doors › REST", (5, 8)),
            ("a.md › Doors › WebSocket", (10, 11)),
            ("a.md › Errors", (12, 13)),
        ],
    );
    check("Title\n=====\ntext\n\nPart\n----\nmore", &[("a.md › Title", (1, 3)), ("a.md › Part", (5, 7))]);
    check("## Using `C#`\nx", &[("a.md › Using C#", (1, 2))]);
    check("#hashtag\n####### seven\n    # code", &[("a.md", (1, 3))]);
}

#[test]
fn a_hash_in_a_code_fence_is_no_heading() {
    check("# A\n```sh\n# comment\n```\ntext", &[("a.md › A", (1, 5))]);
    check("~~~~\n~~~\n# still code\n~~~~\n# B\nx", &[("a.md", (1, 4)), ("a.md › B", (5, 6))]);
    check("```\n# never closed", &[("a.md", (1, 2))]);
    check("- item\n  ```\n# x\n  ```\n", &[("a.md", (1, 4))]);
}

#[test]
fn a_code_fence_is_kept_whole() {
    let fence = format!("```\n{}```\n", "let a = 1;\n".repeat(300));
    let text = format!("# A\n{}\n\n{fence}\nafter", "word ".repeat(200));
    let passages = split("a.md", &text, Format::Markdown);
    assert!(passages.iter().any(|passage| passage.text == fence.trim_end()));
}

#[test]
fn long_sections_become_passages_of_about_the_size() {
    let paragraph = format!("{}\n\n", "word ".repeat(60));
    let passages = split("a.md", &format!("# A\n\n{}", paragraph.repeat(40)), Format::Markdown);
    let sizes: Vec<usize> = passages.iter().map(|passage| passage.text.chars().count()).collect();
    assert!(sizes.iter().all(|size| *size <= SIZE), "{sizes:?}");
    assert!(sizes.iter().rev().skip(1).all(|size| *size > SIZE / 2), "{sizes:?}");
    assert!(passages.iter().all(|passage| passage.source.title == "a.md › A"));
}

/// Prose: a long section in lines of this many sentences.
fn prose(sentences: usize) -> String {
    let line = |number| {
        (0..sentences).map(move |part| format!("Sentence {part} of line {number} says a thing or two. "))
    };
    (0..60).map(|number| line(number).collect::<String>().trim_end().to_owned() + "\n").collect()
}

#[test]
fn a_section_cut_because_of_its_size_goes_on_with_the_last_sentences_before_the_cut() {
    for sentences in [1, 3, 20] {
        let passages = cut("a.md", &format!("# A\n{}", prose(sentences)), Format::Markdown);
        assert!(passages.len() > 2);
        for pair in passages.windows(2) {
            let (repeated, before) = (&pair[1].0.text[..pair[1].1], &pair[0].0.text);
            assert!(before.ends_with(repeated.trim_end()), "{repeated:?}");
            assert!(repeated.starts_with("Sentence ") && repeated.chars().count() <= OVERLAP, "{repeated:?}");
            assert!(repeated.chars().count() > OVERLAP / 4, "{repeated:?}");
        }
    }
}

#[test]
fn a_section_that_ends_and_a_code_fence_are_not_repeated() {
    let sections = format!("# A\n{}## B\nshort\n## C\nshort\n", "word ".repeat(200) + "\n");
    assert!(cut("a.md", &sections, Format::Markdown).iter().all(|(_, repeated)| *repeated == 0));
    let fences = format!("```\n{}```\ntext\n", "let a = 1;\n".repeat(100)).repeat(3);
    let passages = cut("a.md", &fences, Format::Markdown);
    assert!(
        passages.len() > 2
            && passages.iter().all(|(passage, _)| passage.text.matches("```").count() % 2 == 0)
    );
}

#[test]
fn no_passage_is_over_a_window() {
    for text in ["word ".repeat(2_000), "语".repeat(3_000), prose(3)] {
        let passages = within(split("a.txt", &text, Format::Text), 512);
        assert!(passages.len() > 2 && passages.iter().all(|passage| tokens(&passage.text) <= 512));
        let words = |text: &str| {
            text.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let kept: Vec<_> = passages.iter().flat_map(|passage| words(&passage.text)).collect();
        assert!(words(&text).iter().all(|word| kept.contains(word) || word.chars().count() > 512));
    }
}

#[test]
fn plain_text_has_no_headings() {
    let passages = split("a.txt", "# not a heading\r\n\r\nnext\r\n", Format::Text);
    assert_eq!(passages.len(), 1);
    assert_eq!(passages[0].source.title, "a.txt");
    assert_eq!(passages[0].text, "# not a heading\r\n\r\nnext");
}

#[test]
fn the_format_follows_the_ending() {
    assert_eq!(Format::of("docs/README.MD"), Some(Format::Markdown));
    assert_eq!(Format::of("notes.txt"), Some(Format::Text));
    assert_eq!(Format::of("index.htm"), Some(Format::Html));
    assert_eq!(Format::of("main.rs"), None);
    assert_eq!(Format::of("LICENSE"), None);
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The text of all passages without what they repeat, which must be the end of the passage before.
fn kept(text: &str, format: Format) -> String {
    let (mut kept, mut before) = (String::new(), String::new());
    for (passage, repeated) in cut("a", text, format) {
        let (again, new) = passage.text.split_at(repeated);
        assert!(bare(&before).ends_with(&bare(again)) && !bare(new).is_empty());
        kept += &bare(new);
        before = passage.text;
    }
    kept
}

/// Lines that make the splitter work, in any order.
fn document() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("# One".to_owned()),
        Just("### Three ###".to_owned()),
        Just("```".to_owned()),
        Just("~~~~ sh".to_owned()),
        Just("---".to_owned()),
        Just("===".to_owned()),
        Just(String::new()),
        Just("\r".to_owned()),
        "[ a-z#`.]{0,40}",
        "([a-z]{1,9} ){60,200}",
        Just("x".repeat(7_000)),
        Just("语 ".repeat(900)),
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_is_lost(text in document(), markdown in any::<bool>()) {
        let format = if markdown { Format::Markdown } else { Format::Text };
        prop_assert_eq!(kept(&text, format), bare(&text));
    }

    #[test]
    fn spans_name_the_lines_and_go_forward(text in document()) {
        let lines: Vec<&str> = text.split('\n').collect();
        let mut before = 0;
        for passage in split("a.md", &text, Format::Markdown) {
            let (first, last) = passage.source.span.unwrap();
            prop_assert!(first >= before && last >= first && last <= lines.len() as u64);
            prop_assert!(passage.text.chars().count() <= LIMIT + SIZE);
            let spanned = lines[first as usize - 1..last as usize].join("\n");
            prop_assert!(spanned.contains(passage.text.trim()));
            before = first;
        }
    }

    #[test]
    fn any_bytes_can_be_split(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let text = String::from_utf8_lossy(&bytes);
        for format in [Format::Markdown, Format::Text] {
            prop_assert_eq!(kept(&text, format), bare(&text));
        }
    }
}

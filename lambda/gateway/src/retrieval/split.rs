//! Documents cut into passages: Markdown along its headings, plain text along its blank lines.
//!
//! A passage is a run of whole lines of about 1,200 characters. Markdown is read only as far as
//! cutting needs it: headings, and code fences, in which `#` begins a comment and not a heading.
//! A Markdown parser would know much more and earn none of it here.

use crate::chat::Passage;
use crate::chat::Source;

/// A passage is closed before it grows past this many characters.
const SIZE: usize = 1_200;
/// What cannot be parted sensibly (a code fence, a line) is parted all the same beyond this.
const LIMIT: usize = 6_000;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Headings and code fences mean something.
    Markdown,
    /// Only blank lines do.
    Text,
}

impl Format {
    /// The format by a file name's ending; `None` for what is neither text nor Markdown.
    pub fn of(name: &str) -> Option<Format> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "md" | "markdown" | "mdx" => Some(Format::Markdown),
            "txt" | "text" | "rst" | "adoc" => Some(Format::Text),
            _ => None,
        }
    }
}

/// The passages of a document, in its order. No text is lost but blank lines at a passage's edges.
pub fn split(name: &str, text: &str, format: Format) -> Vec<Passage> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut cutter =
        Cutter { name, lines: &lines, path: Vec::new(), buffer: Buffer::default(), passages: Vec::new() };
    for block in blocks(&lines, format) {
        cutter.take(block);
    }
    cutter.close();
    cutter.passages
}

/// A run of lines `start..end` that belongs together.
#[derive(Debug, PartialEq)]
struct Block {
    kind: Kind,
    start: usize,
    end: usize,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Heading { level: usize, title: String },
    Fence,
    Paragraph,
    Blank,
}

fn blocks(lines: &[&str], format: Format) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = 0;
    while start < lines.len() {
        let block = match format {
            Format::Markdown => markdown_block(lines, start),
            Format::Text => text_block(lines, start),
        };
        start = block.end;
        blocks.push(block);
    }
    blocks
}

fn text_block(lines: &[&str], start: usize) -> Block {
    let blank = is_blank(lines[start]);
    let end = run(lines, start, |line| is_blank(line) == blank);
    Block { kind: if blank { Kind::Blank } else { Kind::Paragraph }, start, end }
}

fn markdown_block(lines: &[&str], start: usize) -> Block {
    let line = lines[start];
    if let Some((level, title)) = heading(line) {
        return Block { kind: Kind::Heading { level, title }, start, end: start + 1 };
    }
    if let Some(fence) = fence(line) {
        let end = run(lines, start + 1, |line| !closes(line, fence));
        return Block { kind: Kind::Fence, start, end: (end + 1).min(lines.len()) };
    }
    if is_blank(line) {
        return text_block(lines, start);
    }
    if let Some(level) = lines.get(start + 1).and_then(|next| underline(next)) {
        return Block { kind: Kind::Heading { level, title: clean(line) }, start, end: start + 2 };
    }
    let goes_on = |line: &str| !is_blank(line) && heading(line).is_none() && fence(line).is_none();
    Block { kind: Kind::Paragraph, start, end: run(lines, start + 1, goes_on) }
}

/// The end of the run of lines from `start` on that are all of the kind.
fn run(lines: &[&str], start: usize, kind: impl Fn(&str) -> bool) -> usize {
    let rest = lines.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|line| kind(line)).count()
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// The line without its indentation, if that is small enough for Markdown to look at it.
fn unindented(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(' ');
    (line.len() - rest.len() < 4).then(|| rest.trim_end())
}

/// `## Title` and its level.
fn heading(line: &str) -> Option<(usize, String)> {
    let line = unindented(line)?;
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    let is_heading = (1..=6).contains(&level) && (title.is_empty() || title.starts_with([' ', '\t']));
    is_heading.then(|| (level, clean(title)))
}

/// The level that a line of `=` or `-` under a line gives it.
fn underline(line: &str) -> Option<usize> {
    let line = unindented(line)?;
    let all = |mark| line.len() >= 3 && line.chars().all(|c| c == mark);
    if all('=') { Some(1) } else { all('-').then_some(2) }
}

/// A heading's text without its marks.
fn clean(title: &str) -> String {
    let title = title.trim();
    let bare = title.trim_end_matches('#');
    // A closing run of marks stands apart from the text; `C#` is text.
    let title = if bare.is_empty() || bare.ends_with([' ', '\t']) { bare.trim_end() } else { title };
    title.replace(['`', '*'], "")
}

/// The mark and the length of an opening code fence.
fn fence(line: &str) -> Option<(char, usize)> {
    let line = unindented(line)?;
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = line.trim_start_matches(mark);
    let length = line.len() - info.len();
    (length >= 3 && (mark == '~' || !info.contains('`'))).then_some((mark, length))
}

fn closes(line: &str, (mark, length): (char, usize)) -> bool {
    unindented(line).is_some_and(|line| line.len() >= length && line.chars().all(|c| c == mark))
}

/// Gathers blocks into passages.
struct Cutter<'a> {
    name: &'a str,
    lines: &'a [&'a str],
    /// The headings that the next line stands under, with their levels.
    path: Vec<(usize, String)>,
    buffer: Buffer,
    passages: Vec<Passage>,
}

/// The lines of the passage that is being gathered.
#[derive(Default)]
struct Buffer {
    start: usize,
    end: usize,
    size: usize,
    /// There is more in it than headings.
    has_body: bool,
}

impl Cutter<'_> {
    fn take(&mut self, Block { kind, start, end }: Block) {
        let size = self.size(start, end);
        // A paragraph may be parted between its lines, a fence only when it is beyond all measure.
        let whole = if kind == Kind::Paragraph { size <= SIZE } else { size <= LIMIT };
        let body = matches!(kind, Kind::Fence | Kind::Paragraph);
        if let Kind::Heading { level, title } = kind {
            // A heading over another heading alone is no passage: it goes on with what follows.
            if self.buffer.has_body {
                self.close();
            }
            self.path.retain(|(above, _)| *above < level);
            self.path.push((level, title));
        }
        let step = if whole { end - start } else { 1 };
        for line in (start..end).step_by(step) {
            self.add(line, line + step, body);
        }
    }

    fn size(&self, start: usize, end: usize) -> usize {
        self.lines[start..end].iter().map(|line| line.chars().count()).sum()
    }

    fn add(&mut self, start: usize, end: usize, body: bool) {
        let size = self.size(start, end);
        if self.buffer.has_body && self.buffer.size + size > SIZE {
            self.close();
        }
        if self.buffer.end == self.buffer.start {
            self.buffer.start = start;
        }
        self.buffer.end = end;
        self.buffer.size += size;
        self.buffer.has_body |= body;
    }

    /// Makes a passage, or several where a line is beyond all measure, of what was gathered.
    fn close(&mut self) {
        let Buffer { start, end, .. } = std::mem::take(&mut self.buffer);
        self.buffer.start = end;
        self.buffer.end = end;
        let lines = &self.lines[start..end];
        let Some(first) = lines.iter().position(|line| !is_blank(line)) else { return };
        let last = lines.iter().rposition(|line| !is_blank(line)).unwrap_or(first);
        let text = lines[first..=last].concat();
        let span = Some(((start + first + 1) as u64, (start + last + 1) as u64));
        let source = Source { title: self.title(), location: self.name.to_owned(), score: 0.0, span };
        for piece in pieces(text.trim_end()) {
            self.passages.push(Passage { text: piece.to_owned(), source: source.clone() });
        }
    }

    /// The file and the headings. The document's own title says what the file's name says already.
    fn title(&self) -> String {
        let under_title = self.path.len() > 1 && self.path.first().is_some_and(|(level, _)| *level == 1);
        let headings = self.path.iter().skip(usize::from(under_title)).map(|(_, title)| title.as_str());
        let parts: Vec<&str> =
            std::iter::once(self.name).chain(headings.filter(|title| !title.is_empty())).collect();
        parts.join(" › ")
    }
}

/// The text in pieces of at most [`LIMIT`] characters, parted at white space where there is some.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while let Some((limit, _)) = text.char_indices().nth(LIMIT) {
        let head = &text[..limit];
        let cut = head.rfind(char::is_whitespace).filter(|cut| *cut > 0).unwrap_or(limit);
        let (piece, rest) = text.split_at(cut);
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces.retain(|piece| !is_blank(piece));
    pieces
}

#[cfg(test)]
mod tests {
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
        assert_eq!(Format::of("main.rs"), None);
        assert_eq!(Format::of("LICENSE"), None);
    }

    fn bare(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
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
            "[ a-z#`]{0,40}",
            Just("x".repeat(7_000)),
            Just("语 ".repeat(900)),
        ];
        prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn no_text_is_lost(text in document(), markdown in any::<bool>()) {
            let format = if markdown { Format::Markdown } else { Format::Text };
            let passages = split("a.md", &text, format);
            let kept: String = passages.iter().map(|passage| bare(&passage.text)).collect();
            prop_assert_eq!(kept, bare(&text));
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
                let kept: String = split("a", &text, format).iter().map(|passage| bare(&passage.text)).collect();
                prop_assert_eq!(kept, bare(&text));
            }
        }
    }
}

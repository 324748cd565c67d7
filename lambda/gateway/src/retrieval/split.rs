//! Documents cut into passages: Markdown and HTML along their headings, plain text along its blank lines.
//!
//! A passage has about 1,200 characters. Where a section is cut only because of its size, the next passage
//! begins with the last sentences of the one before, so that what stands across the cut is found in one of
//! them. Markdown is read only as far as cutting needs it: headings, and code fences, in which `#` begins a
//! comment and not a heading. A Markdown parser would know much more and earn none of it here.

mod blocks;
mod html;
#[cfg(test)]
mod tests;

use crate::blocks::tokens;
use crate::chat::Passage;
use crate::chat::Source;
use blocks::{Block, Kind};

/// A passage is closed before it grows past this many characters.
const SIZE: usize = 1_200;
/// What cannot be parted sensibly (a code fence, a line) is parted all the same beyond this.
const LIMIT: usize = 6_000;
/// Characters of a passage that the next one may begin with.
const OVERLAP: usize = 200;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Headings and code fences mean something.
    Markdown,
    /// Its elements do.
    Html,
    /// Only blank lines do.
    Text,
}

impl Format {
    /// The format by a file name's ending; `None` for what is none of them.
    pub fn of(name: &str) -> Option<Format> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "md" | "markdown" | "mdx" => Some(Format::Markdown),
            "html" | "htm" | "xhtml" => Some(Format::Html),
            "txt" | "text" | "rst" | "adoc" => Some(Format::Text),
            _ => None,
        }
    }
}

/// The passages of a document, in its order. Of text and Markdown no text is lost but blank lines at a
/// passage's edges.
pub fn split(name: &str, text: &str, format: Format) -> Vec<Passage> {
    cut(name, text, format).into_iter().map(|(passage, _)| passage).collect()
}

/// Characters of a title that are embedded with its passage.
const EMBEDDED_TITLE: usize = 100;

/// The text that is embedded of a passage. The title goes with it, because it says once what the text under
/// it is about: docs/recall.md has what that is worth.
pub fn embedded(title: &str, text: &str) -> String {
    let title: String = title.chars().take(EMBEDDED_TITLE).collect();
    format!("{title}\n{text}")
}

/// The same passages, those of more than so many tokens (`blocks::tokens`) in several: a model's window is
/// a limit that no structure moves. The titles that are embedded with them are counted too.
pub fn within(passages: Vec<Passage>, window: u64) -> Vec<Passage> {
    let parted = |passage: Passage| {
        let window = window.saturating_sub(tokens(&embedded(&passage.source.title, "")));
        let fits = tokens(&passage.text) <= window;
        // No character is more than one token.
        let limit = if fits { usize::MAX } else { usize::try_from(window).unwrap_or(usize::MAX).max(1) };
        let pieces = pieces(&passage.text, limit).into_iter();
        let texts: Vec<String> = pieces.map(|piece| piece.text.to_owned()).collect();
        texts.into_iter().map(move |text| Passage { text, source: passage.source.clone() })
    };
    passages.into_iter().flat_map(parted).collect()
}

/// The passages, each with the bytes at its beginning that the one before has too.
fn cut(name: &str, text: &str, format: Format) -> Vec<(Passage, usize)> {
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    match format {
        Format::Markdown => Cutter::new(name, text).cut(blocks::of_markdown(&lines(text))),
        Format::Text => Cutter::new(name, text).cut(blocks::of_text(&lines(text))),
        Format::Html => {
            let page = html::read(text);
            let mut passages = Cutter::new(name, &page.text).cut(page.blocks);
            let line = |number: u64| page.lines.get(number as usize - 1).copied().unwrap_or(number);
            for (passage, _) in &mut passages {
                passage.source.span = passage.source.span.map(|(first, last)| (line(first), line(last)));
            }
            passages
        }
    }
}

/// Gathers blocks into passages.
struct Cutter<'a> {
    name: &'a str,
    text: &'a str,
    /// Where each line begins, and where the last one ends.
    starts: Vec<usize>,
    /// The headings that the next line stands under, with their levels.
    path: Vec<(usize, String)>,
    buffer: Buffer,
    passages: Vec<(Passage, usize)>,
}

/// The passage that is being gathered: bytes of the text.
#[derive(Default)]
struct Buffer {
    /// Where it begins, with what the passage before has too.
    from: usize,
    /// Where what is new in it begins.
    new: usize,
    end: usize,
    /// In characters.
    size: usize,
    /// There is more that is new in it than headings and blank lines.
    has_body: bool,
    /// It ends with a code fence, of which no part makes sense elsewhere.
    ends_in_fence: bool,
}

impl<'a> Cutter<'a> {
    fn new(name: &'a str, text: &'a str) -> Cutter<'a> {
        let lengths = text.split_inclusive('\n').scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        });
        let starts = std::iter::once(0).chain(lengths).collect();
        Cutter { name, text, starts, path: Vec::new(), buffer: Buffer::default(), passages: Vec::new() }
    }

    fn cut(mut self, blocks: Vec<Block>) -> Vec<(Passage, usize)> {
        for block in blocks {
            self.take(block);
        }
        self.close();
        self.passages
    }

    fn take(&mut self, Block { kind, start, end }: Block) {
        let size = self.size(start, end);
        // A paragraph may be parted between its lines, a fence only when it is beyond all measure.
        let whole = if kind == Kind::Paragraph { size <= SIZE } else { size <= LIMIT };
        let body = matches!(kind, Kind::Fence | Kind::Paragraph);
        let is_fence = kind == Kind::Fence;
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
            self.buffer.ends_in_fence = is_fence || (self.buffer.ends_in_fence && !body);
        }
    }

    fn bytes(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    fn size(&self, start: usize, end: usize) -> usize {
        self.text[self.bytes(start)..self.bytes(end)].chars().count()
    }

    fn add(&mut self, start: usize, end: usize, body: bool) {
        let size = self.size(start, end);
        if body && self.buffer.has_body && self.buffer.size + size > SIZE {
            let closed = self.close();
            self.repeat(closed, size);
        }
        self.buffer.end = self.bytes(end);
        self.buffer.size += size;
        self.buffer.has_body |= body;
    }

    /// Makes a passage, or several where a line is beyond all measure, of what was gathered.
    fn close(&mut self) -> Buffer {
        let end = self.buffer.end;
        let closed =
            std::mem::replace(&mut self.buffer, Buffer { from: end, new: end, end, ..Buffer::default() });
        let text = &self.text[closed.from..closed.end];
        let blank = text.len() - text.trim_start().len();
        // Blank lines go; the indentation of the first line that is not blank stays.
        let begin = closed.from + text[..blank].rfind('\n').map_or(0, |at| at + 1);
        let text = self.text[begin..closed.end].trim_end();
        if text.is_empty() {
            return closed;
        }
        let line = |at: usize| self.starts.partition_point(|start| *start <= at) as u64;
        let span = Some((line(begin), line(begin + text.len() - 1)));
        let source = Source { title: self.title(), location: self.name.to_owned(), score: 0.0, span };
        for piece in pieces(text, LIMIT) {
            let repeated = piece.repeated.max(closed.new.saturating_sub(begin) * usize::from(piece.is_first));
            let passage = Passage { text: piece.text.to_owned(), source: source.clone() };
            self.passages.push((passage, repeated));
        }
        closed
    }

    /// Lets the next passage begin with the end of the one that was closed, if there is room beside what
    /// comes next.
    fn repeat(&mut self, closed: Buffer, next: usize) {
        let text = &self.text[closed.new..closed.end];
        let begin = closed.new + tail(text);
        let size = self.text[begin..closed.end].chars().count();
        if !closed.ends_in_fence && size + next <= SIZE {
            self.buffer.from = begin;
            self.buffer.size = size;
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

/// Where the last sentences of a text begin that are at most [`OVERLAP`] characters; where it has no
/// sentence so short its last words; its end where it has no words either.
fn tail(text: &str) -> usize {
    let Some((from, _)) = text.trim_end().char_indices().rev().nth(OVERLAP) else { return text.len() };
    let rest = &text[from..];
    let spaces = rest.match_indices(char::is_whitespace);
    let words = spaces.map(|(at, space)| at + space.len()).filter(|at| !rest[*at..].trim_start().is_empty());
    let begins = |at: &usize| {
        let before = &rest[..*at];
        before.ends_with('\n') || before.trim_end().ends_with(['.', '!', '?', ':', '。', '！', '？'])
    };
    let words: Vec<usize> = words.collect();
    let place = words.iter().find(|at| begins(at)).or(words.first());
    place.map_or(text.len(), |at| from + at)
}

/// A part of a text that is too long.
struct Piece<'a> {
    text: &'a str,
    /// Bytes at its beginning that the piece before has too.
    repeated: usize,
    is_first: bool,
}

/// The text in pieces of at most `limit` characters, parted at white space where there is some.
fn pieces(text: &str, limit: usize) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut repeated) = (0, 0);
    while let Some((length, _)) = text[from..].char_indices().nth(limit) {
        let head = &text[from..from + length];
        let cut = head.rfind(char::is_whitespace).filter(|cut| *cut > repeated).unwrap_or(length);
        pieces.push(Piece { text: &head[..cut], repeated, is_first: from == 0 });
        // Room for something new must stay in every piece.
        let back = if limit > 2 * OVERLAP { cut - tail(&head[..cut]) } else { 0 };
        from += cut - back;
        repeated = back;
    }
    pieces.push(Piece { text: &text[from..], repeated, is_first: from == 0 });
    pieces.retain(|piece| !blocks::is_blank(&piece.text[piece.repeated..]));
    pieces
}

//! A text's lines as blocks: headings, code fences, paragraphs and what is blank.

/// A run of lines `start..end` that belongs together.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, PartialEq)]
pub enum Kind {
    Heading { level: usize, title: String },
    Fence,
    Paragraph,
    Blank,
}

/// The blocks of Markdown.
pub fn of_markdown(lines: &[&str]) -> Vec<Block> {
    one_by_one(lines, markdown_block)
}

/// The blocks of plain text: paragraphs, and what is blank between them.
pub fn of_text(lines: &[&str]) -> Vec<Block> {
    one_by_one(lines, text_block)
}

fn one_by_one(lines: &[&str], next: impl Fn(&[&str], usize) -> Block) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = 0;
    while start < lines.len() {
        let block = next(lines, start);
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

pub fn is_blank(line: &str) -> bool {
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

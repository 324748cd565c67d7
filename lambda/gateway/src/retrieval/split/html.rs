//! HTML as lines and blocks: what a reader of the page sees, each line with the line of the file it came from.
//!
//! The tokenizer is `html5gum`, which follows WHATWG's rules and has no dependencies; a tree of elements
//! (`html5ever` and what it needs) would be built only to be walked once in the order of the tokens.

mod unseen;

use super::blocks::{Block, Kind, is_blank};
use html5gum::Tokenizer;
use html5gum::emitters::default::{DefaultEmitter, StartTag, Token};
use unseen::{Goes, Unseen};

/// What stands in these is not read, or is not the page's own text.
const UNREAD: [&str; 14] = [
    "script", "style", "template", "noscript", "svg", "math", "nav", "iframe", "object", "canvas", "select",
    "button", "textarea", "dialog",
];

/// Elements without an end.
const VOID: [&str; 13] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];

/// What stands in these belongs to the text around them.
const INLINE: [&str; 33] = [
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img",
    "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var", "wbr",
];

/// Begin on a line of their own, within the same paragraph.
const LINES: [&str; 8] = ["br", "li", "tr", "dt", "dd", "caption", "figcaption", "summary"];

/// A page as text.
#[derive(Default)]
pub struct Page {
    /// Its lines.
    pub text: String,
    /// What they are.
    pub blocks: Vec<Block>,
    /// Of each line the number of the file's line where it begins, counted from 1.
    pub lines: Vec<u64>,
}

/// Reads a page. Nothing is an error: what browsers mend is mended.
pub fn read(html: &str) -> Page {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(true);
    let mut writer = Writer::default();
    let mut place = Place { html, at: 0, line: 1 };
    let Ok(tokens) = Tokenizer::new_with_emitter(html, emitter).collect::<Result<Vec<_>, _>>();
    for token in tokens {
        match token {
            Token::StartTag(tag) => {
                let line = place.line(tag.span.start);
                writer.open(&tag, line);
            }
            Token::EndTag(tag) => writer.close(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => {
                let line = place.line(text.span.start);
                writer.put(&String::from_utf8_lossy(&text.value), line);
            }
            _ => {}
        }
    }
    writer.unread = None;
    writer.close("pre");
    writer.end_block(Kind::Paragraph);
    writer.page
}

/// Counts the file's lines, going forward.
struct Place<'a> {
    html: &'a str,
    at: usize,
    line: u64,
}

impl Place<'_> {
    fn line(&mut self, at: usize) -> u64 {
        let between = self.html.as_bytes().get(self.at..at).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(at);
        self.line
    }
}

/// Writes the page down.
#[derive(Default)]
struct Writer {
    page: Page,
    /// The line that is being written, and the file's line where it began.
    line: String,
    began: u64,
    /// The first line of the block that is being written.
    first: usize,
    /// The element whose text is left out.
    unread: Option<Unseen>,
    /// White space stands before the next word.
    gap: bool,
    /// Lines and spaces mean something.
    verbatim: bool,
}

impl Writer {
    fn open(&mut self, tag: &StartTag<usize>, line: u64) {
        let name = String::from_utf8_lossy(&tag.name).into_owned();
        if let Some(unread) = &mut self.unread {
            if unread.open(tag, &name) == Goes::On {
                return;
            }
            self.unread = None;
        }
        let hidden = tag.attributes.contains_key(b"hidden".as_slice()) && !VOID.contains(&name.as_str());
        if UNREAD.contains(&name.as_str()) || hidden {
            self.unread = (!tag.self_closing).then(|| Unseen::new(name));
            return;
        }
        match name.as_str() {
            "td" | "th" => self.cell(line),
            "pre" if !self.verbatim => {
                self.end_block(Kind::Paragraph);
                self.write("```", line);
                self.verbatim = true;
                self.end_line();
            }
            name if LINES.contains(&name) => {
                self.end_line();
                if name == "li" {
                    self.write("- ", line);
                }
            }
            name if !INLINE.contains(&name) => self.end_block(Kind::Paragraph),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some(unread) = &mut self.unread {
            let goes = unread.close(name);
            if goes != Goes::On {
                self.unread = None;
            }
            if goes != Goes::Before {
                return;
            }
        }
        match name {
            "pre" if self.verbatim => {
                self.end_line();
                self.verbatim = false;
                self.write("```", self.began);
                self.end_block(Kind::Fence);
            }
            "title" => self.heading(1),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.heading(name[1..].parse().unwrap_or(6));
            }
            "td" | "th" => {}
            name if LINES.contains(&name) => self.end_line(),
            name if !INLINE.contains(&name) => self.end_block(Kind::Paragraph),
            _ => {}
        }
    }

    /// Text of the page that begins on this line of the file.
    fn put(&mut self, text: &str, line: u64) {
        if self.unread.is_some() {
            return;
        }
        for (number, part) in (line..).zip(text.split('\n')) {
            if number > line {
                self.end_line();
            }
            match self.verbatim {
                true => self.write(part.trim_end_matches('\r'), number),
                false => self.words(part, number),
            }
        }
    }

    /// Text within a line, in which any white space is one space.
    fn words(&mut self, text: &str, line: u64) {
        for (number, word) in text.split(|c: char| c.is_whitespace() && c != '\u{a0}').enumerate() {
            self.gap |= number > 0;
            if word.is_empty() {
                continue;
            }
            if self.gap && !self.line.is_empty() && !self.line.ends_with(' ') {
                self.write(" ", line);
            }
            self.write(word, line);
            self.gap = false;
        }
    }

    /// The next cell of a row.
    fn cell(&mut self, line: u64) {
        self.write(if self.line.is_empty() { "| " } else { " | " }, line);
    }

    fn write(&mut self, text: &str, line: u64) {
        if self.line.is_empty() || self.verbatim {
            self.began = line;
        }
        self.line.push_str(text);
    }

    /// Ends a line if there is something on it; of a verbatim text every line but a first empty one.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.gap = false;
        if !is_blank(&line) || (self.verbatim && self.page.lines.len() > self.first + 1) {
            self.page.text.push_str(line.trim_end());
            self.page.text.push('\n');
            self.page.lines.push(self.began);
        }
    }

    /// Ends a block, with a blank line behind it.
    fn end_block(&mut self, kind: Kind) {
        self.end_line();
        let (start, end) = (self.first, self.page.lines.len());
        if start == end || self.verbatim {
            return;
        }
        self.page.text.push('\n');
        self.page.lines.push(self.began);
        self.page.blocks.push(Block { kind, start, end });
        self.page.blocks.push(Block { kind: Kind::Blank, start: end, end: end + 1 });
        self.first = end + 1;
    }

    /// Makes a heading of the block that is being written.
    fn heading(&mut self, level: usize) {
        self.end_line();
        let lines = self.page.lines.len() - self.first;
        let text = self.page.text.trim_end();
        let begin = text.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
        let title = text.get(begin..).unwrap_or_default().replace('\n', " ");
        if lines > 0 && !self.verbatim {
            self.page.text.truncate(begin);
            self.page.text.push_str(&format!("{} {title}\n", "#".repeat(level)));
            self.page.lines.truncate(self.first + 1);
            self.end_block(Kind::Heading { level, title });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, split};
    use super::read;
    use proptest::prelude::*;

    fn check(html: &str, expected: &[(&str, &str, (u64, u64))]) {
        let passages = split("p.html", html, Format::Html);
        let found: Vec<_> = passages
            .iter()
            .map(|passage| {
                (passage.source.title.as_str(), passage.text.as_str(), passage.source.span.unwrap())
            })
            .collect();
        assert_eq!(found, expected, "{html}");
    }

    #[test]
    fn a_page_is_cut_along_its_headings_and_names_the_files_lines() {
        let html = "<!doctype html>\n<html><head><title>Guide</title><style>p { color: red }</style></head>\n\
            <body><nav><a href=/>Home</a></nav>\n<h1>The <em>Guide</em></h1>\n<p>Hello &amp;\nwelcome.</p>\n\
            <script>if (a < b) alert(1)</script>\n<h2>Install</h2><ul><li>one</li>\n<li>two <b>bold</b>,</ul>\n\
            <table><tr><th>a<th>b<tr><td>1<td>2</table></body></html>";
        check(
            html,
            &[
                ("p.html › The Guide", "# Guide\n\n# The Guide\n\nHello &\nwelcome.", (2, 6)),
                ("p.html › Install", "## Install\n\n- one\n- two bold,\n\n| a | b\n| 1 | 2", (8, 10)),
            ],
        );
    }

    #[test]
    fn what_looks_like_markdown_in_a_page_is_text() {
        check(
            "<p># no heading</p>\n<p>```</p><p>after</p>",
            &[("p.html", "# no heading\n\n```\n\nafter", (1, 2))],
        );
    }

    #[test]
    fn code_keeps_its_lines_and_spaces() {
        check(
            "<h2>Use</h2>\n<pre><code>fn a() {\n    b &lt; c\n\n}</code></pre>after",
            &[("p.html › Use", "## Use\n\n```\nfn a() {\n    b < c\n\n}\n```\n\nafter", (1, 5))],
        );
    }

    #[test]
    fn what_nobody_sees_is_left_out() {
        check("<div hidden>a<div>b</div></div><p>c<svg><title>d</title></svg>", &[("p.html", "c", (1, 1))]);
        check("<script>never closed", &[]);
        check("", &[]);
    }

    #[test]
    fn what_is_hidden_ends_where_a_browser_ends_it() {
        for (html, seen) in [
            ("<p hidden>x<p>y", "y"),
            ("<p hidden>x <b>b</b> <button>c</button><div>y</div>", "y"),
            ("<div><p hidden>x</div>y", "y"),
            ("<ul><li hidden>x<ul><li>x</ul>x</ul>y", "y"),
            ("<ul><li hidden>x<p>x<li>y</ul>", "- y"),
            ("<li hidden>x</b></p>x</li>y", "y"),
            ("<dl><dt hidden>x<dd>y</dl>", "y"),
            ("<table><tr><td hidden>x<table><tr><td>x</table>x<td>y</table>", "| y"),
            ("<table><tr hidden><td>x<td>x<tr><td>y</table>", "| y"),
            ("<nav><ul><li>x<li>x</ul><a>x</a></nav>y", "y"),
            ("<header><nav>x</header>y", "y"),
            ("<nav><p>x<main>y</main>", "y"),
            ("<div hidden>x<p>x<div>x</div></p>x</div>y", "y"),
        ] {
            let passages = split("p.html", html, Format::Html);
            let texts: Vec<_> = passages.iter().map(|passage| passage.text.as_str()).collect();
            assert_eq!(texts, [seen], "{html}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_every_line_has_its_number(
            html in "(<p>|</p>|<h2>|</h2>|<pre>|</pre>|<nav>|</nav>|<td>|<li>|<br>|<title>|</title>|<p hidden>|<li hidden>|</ul>|a|ü| |\n|&lt;|<|-){0,60}"
        ) {
            let page = read(&html);
            prop_assert_eq!(page.text.lines().count(), page.lines.len());
            prop_assert_eq!(page.blocks.last().map_or(0, |block| block.end), page.lines.len());
            prop_assert!(page.blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
            let count = html.split('\n').count() as u64;
            prop_assert!(page.lines.iter().all(|line| (1..=count).contains(line)));
            prop_assert!(page.lines.is_sorted());
            split("p.html", &html, Format::Html);
        }
    }
}

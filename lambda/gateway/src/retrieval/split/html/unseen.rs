//! An element whose text is left out, and where it ends: many need no end tag.

use super::{INLINE, VOID};
use html5gum::emitters::default::StartTag;

/// Elements that are open within the hidden one at most; what is deeper is not looked after.
const DEEPEST: usize = 256;

/// These end a paragraph.
const BLOCKS: [&str; 44] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "plaintext",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "ul",
    "xmp",
    "td",
    "th",
    "tr",
];

/// What tags do to it.
#[derive(Debug, PartialEq, Eq)]
pub enum Goes {
    /// It goes on.
    On,
    /// The tag was its last.
    Out,
    /// It ended before the tag, which is seen.
    Before,
}

/// A hidden element that is open.
#[derive(Debug)]
pub struct Unseen {
    name: String,
    /// The elements of its name that are open, itself too.
    depth: usize,
    /// The elements that are open within it, where it may end without a tag of its own.
    inside: Option<Vec<String>>,
}

impl Unseen {
    /// One that begins.
    pub fn new(name: String) -> Unseen {
        let inside = (!before(&name).is_empty()).then(Vec::new);
        Unseen { name, depth: 1, inside }
    }

    /// A tag begins an element.
    pub fn open(&mut self, tag: &StartTag<usize>, name: &str) -> Goes {
        let Some(inside) = &mut self.inside else {
            self.depth += usize::from(self.name == name);
            return Goes::On;
        };
        let walled = inside.iter().any(|open| wall(&self.name, open));
        if !walled && before(&self.name).contains(&name) {
            return Goes::Before;
        }
        if inside.len() < DEEPEST && !tag.self_closing && !VOID.contains(&name) {
            inside.push(name.to_owned());
        }
        Goes::On
    }

    /// A tag ends an element.
    pub fn close(&mut self, name: &str) -> Goes {
        let Some(inside) = &mut self.inside else {
            self.depth -= usize::from(self.name == name);
            return if self.depth == 0 { Goes::Out } else { Goes::On };
        };
        if let Some(at) = inside.iter().rposition(|open| open == name) {
            inside.truncate(at);
            return Goes::On;
        }
        match name {
            name if name == self.name => Goes::Out,
            // The end of something that never began.
            "p" | "br" => Goes::On,
            name if INLINE.contains(&name) => Goes::On,
            // Of the element around it.
            _ => Goes::Before,
        }
    }
}

/// The elements that an element ends before, where its own end tag may be left out. A list of links is never
/// around what it leads to, and authors forget to end it.
fn before(name: &str) -> &'static [&'static str] {
    match name {
        "p" => &BLOCKS,
        "li" => &["li"],
        "dt" | "dd" => &["dt", "dd"],
        "td" | "th" => &["td", "th", "tr", "tbody", "tfoot", "thead"],
        "tr" => &["tr", "tbody", "tfoot", "thead"],
        "tbody" | "tfoot" | "thead" => &["tbody", "tfoot", "thead"],
        "option" => &["option", "optgroup"],
        "nav" => &["main", "article", "body"],
        _ => &[],
    }
}

/// Within this, what would end the hidden element ends something else.
fn wall(hidden: &str, open: &str) -> bool {
    match hidden {
        "p" => ["button", "object", "template", "svg"].contains(&open),
        "li" | "dt" | "dd" => !INLINE.contains(&open) && !["p", "div", "address"].contains(&open),
        "td" | "th" | "tr" | "tbody" | "tfoot" | "thead" => open == "table",
        _ => false,
    }
}

//! Takes a file of rows apart: one JSON list, or one JSON object a line. No row is ever held that is
//! longer than the limit, and a row that is no JSON does not take its neighbours with it.

use std::io::{self, BufRead, Write};

/// The longest row, in bytes.
pub const LONGEST: usize = 4 * 1024 * 1024;

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1: in a list its rows, else the lines with something on them.
    pub number: u64,
    /// The line that it begins on, counted from 1.
    pub line: u64,
    /// It is a row of a list.
    pub listed: bool,
    /// It is longer than the limit: its bytes went by.
    pub too_long: bool,
}

/// Why the file as a whole cannot be read to its end.
#[derive(Debug)]
pub enum Broken {
    /// The bytes do not come.
    Read(io::Error),
    /// The list has no end, or something behind it.
    List(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Read(error)
    }
}

/// The rows of a file.
pub struct Splitter<R> {
    input: R,
    shape: Shape,
    line: u64,
    number: u64,
    row: Vec<u8>,
    longest: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Unknown,
    Lines,
    List,
    Over,
}

impl<R: BufRead> Splitter<R> {
    /// Rows of at most `longest` bytes.
    pub fn new(input: R, longest: usize) -> Splitter<R> {
        Splitter { input, shape: Shape::Unknown, line: 1, number: 0, row: Vec::new(), longest }
    }

    /// The text of the row that [`Splitter::next`] told the place of; empty where it is too long.
    pub fn text(&self) -> &[u8] {
        &self.row
    }

    /// The next row. The bytes of one that is too long go into `over`, its end included.
    ///
    /// # Errors
    /// The file cannot be read on.
    pub fn next(&mut self, over: &mut dyn Write) -> Result<Option<Place>, Broken> {
        if self.shape == Shape::Unknown {
            self.shape = match self.skip_blank()? {
                Some(b'[') => {
                    self.input.consume(1);
                    Shape::List
                }
                _ => Shape::Lines,
            };
        }
        match self.shape {
            Shape::List => self.next_listed(over),
            Shape::Over => self.behind_the_list(),
            _ => self.next_line(over),
        }
    }

    /// The next byte that is no white space, still to be read.
    fn skip_blank(&mut self) -> io::Result<Option<u8>> {
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let blank = chunk.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let lines = chunk[..blank].iter().filter(|byte| **byte == b'\n').count();
            let found = chunk.get(blank).copied();
            self.line += lines as u64;
            self.input.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn next_line(&mut self, over: &mut dyn Write) -> Result<Option<Place>, Broken> {
        if self.skip_blank()?.is_none() {
            return Ok(None);
        }
        let mut place = self.begin(false);
        let mut ended = false;
        while !ended {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let used = end.unwrap_or(chunk.len());
            keep(&mut self.row, &chunk[..used], self.longest, over)?;
            ended = end.is_some();
            self.input.consume(used + usize::from(ended));
        }
        self.line += u64::from(ended);
        self.end(&mut place, over)?;
        Ok(Some(place))
    }

    fn next_listed(&mut self, over: &mut dyn Write) -> Result<Option<Place>, Broken> {
        match self.skip_blank()? {
            Some(b']') => {
                self.input.consume(1);
                self.shape = Shape::Over;
                return self.behind_the_list();
            }
            None => return Err(self.no_end()),
            Some(_) => {}
        }
        let mut place = self.begin(true);
        let mut scan = Scan::default();
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Err(self.no_end());
            }
            let cut = chunk.iter().position(|byte| scan.ends_before(*byte));
            let used = cut.unwrap_or(chunk.len());
            self.line += chunk[..used].iter().filter(|byte| **byte == b'\n').count() as u64;
            keep(&mut self.row, &chunk[..used], self.longest, over)?;
            // The comma belongs to nobody; a bracket that ends the list is looked at again.
            let comma = usize::from(cut.is_some_and(|at| chunk[at] == b','));
            self.input.consume(used + comma);
            if cut.is_some() {
                break;
            }
        }
        self.end(&mut place, over)?;
        Ok(Some(place))
    }

    fn behind_the_list(&mut self) -> Result<Option<Place>, Broken> {
        match self.skip_blank()? {
            None => Ok(None),
            Some(_) => Err(Broken::List(format!(
                "there is more on line {} behind the end of the list. Put all rows into one list",
                self.line
            ))),
        }
    }

    fn no_end(&self) -> Broken {
        Broken::List(format!(
            "it ends on line {} before its list does, behind row {}. It may be cut off, or the `]` is missing",
            self.line, self.number
        ))
    }

    fn begin(&mut self, listed: bool) -> Place {
        self.row.clear();
        // One huge row must not hold its memory for the rest of the file.
        self.row.shrink_to(64 * 1024);
        self.number += 1;
        Place { number: self.number, line: self.line, listed, too_long: false }
    }

    fn end(&mut self, place: &mut Place, over: &mut dyn Write) -> io::Result<()> {
        place.too_long = self.row.len() > self.longest;
        if place.too_long {
            self.row.clear();
            over.write_all(b"\n")?;
        }
        let blank = self.row.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.row.truncate(self.row.len() - blank);
        Ok(())
    }
}

/// Adds bytes to the row; once it is too long they go past it, on one line.
fn keep(row: &mut Vec<u8>, bytes: &[u8], longest: usize, over: &mut dyn Write) -> io::Result<()> {
    if row.len() <= longest {
        row.extend_from_slice(bytes);
        if row.len() > longest {
            write_line(over, row)?;
            row.truncate(longest + 1);
        }
        return Ok(());
    }
    write_line(over, bytes)
}

/// The bytes with their line ends as spaces, which JSON has outside its texts only.
pub fn write_line(to: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    for (at, part) in bytes.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        to.write_all(if at > 0 { b" " } else { b"" })?;
        to.write_all(part)?;
    }
    Ok(())
}

/// Finds the end of a row of a list, byte by byte.
#[derive(Default)]
struct Scan {
    /// The brackets that are open.
    open: Vec<u8>,
    in_text: bool,
    escaped: bool,
    /// The last byte that is no white space.
    last: u8,
}

impl Scan {
    /// Whether the row has ended before this byte.
    fn ends_before(&mut self, byte: u8) -> bool {
        let before = self.last;
        if !byte.is_ascii_whitespace() {
            self.last = byte;
        }
        if self.in_text {
            let plain = std::mem::take(&mut self.escaped);
            match byte {
                b'\\' if !plain => self.escaped = true,
                // No line ends inside a text of JSON: its quotation mark is missing, and the rows
                // behind it are none of its business.
                b'\n' => self.in_text = false,
                b'"' if !plain => self.in_text = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b',' | b']' if self.open.is_empty() => return true,
            b'{' if before == b',' && self.open.last() == Some(&b'{') => return true,
            b'"' => self.in_text = true,
            b'{' | b'[' => self.open.push(byte),
            b'}' | b']' => {
                let _closed = self.open.pop();
            }
            _ => {}
        }
        false
    }
}

//! What a run has come to so far, and what it says of it.

use crate::progress::Bar;
use indicatif::HumanCount;
use std::sync::{Mutex, PoisonError};

/// Sentences on what is left out that are told one by one.
const TOLD: u64 = 1000;

/// Numbers of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Files and rows that were read.
    pub documents: u64,
    /// Their passages.
    pub passages: u64,
    /// Passages that the index did not have.
    pub added: u64,
    /// Passages whose place or metadata changed.
    pub updated: u64,
    /// Passages that the index had as they are.
    pub unchanged: u64,
    /// Passages that are gone.
    pub removed: u64,
    /// Files, rows and passages that were left out.
    pub left_out: u64,
    /// Tokens of what was added, estimated.
    pub tokens: u64,
    /// Tokens that the model says it embedded.
    pub embedded: u64,
}

/// The counts and the bar.
pub struct Report {
    counts: Mutex<Counts>,
    bar: Bar,
}

impl Report {
    /// A run over so many bytes.
    pub fn new(bytes: u64) -> Report {
        Report { counts: Mutex::default(), bar: Bar::indexing(bytes) }
    }

    /// The counts as they are.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts something.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// So many bytes were read.
    pub fn read(&self, bytes: u64) {
        self.bar.on(bytes, format!("{} passages", HumanCount(self.counts().passages)));
    }

    /// Something was left out, and why.
    pub fn leave_out(&self, sentence: &str) {
        let mut number = 0;
        self.count(|counts| {
            counts.left_out += 1;
            number = counts.left_out;
        });
        match number {
            ..=TOLD => self.bar.say(sentence),
            _ if number == TOLD + 1 => self.bar.say("More is left out, which is counted only."),
            _ => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.end();
    }

    /// A line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.say(line);
    }
}

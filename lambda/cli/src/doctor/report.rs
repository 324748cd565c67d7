//! What was looked at and how it is, for people and for programs.

use serde_json::{Value, json};
use std::fmt::Write;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it has to be.
    Ok,
    /// Worth knowing, and nothing to mend.
    Note,
    /// To be mended.
    Wrong,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Wrong => "wrong",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: one or two words.
    pub what: String,
    /// How it is.
    pub state: State,
    /// What was seen. Where it is wrong, also what to do.
    pub says: String,
}

impl Finding {
    /// It is as it has to be.
    pub fn ok(what: &str, says: impl Into<String>) -> Finding {
        Finding::new(what, State::Ok, says)
    }

    /// It is worth knowing.
    pub fn note(what: &str, says: impl Into<String>) -> Finding {
        Finding::new(what, State::Note, says)
    }

    /// It has to be mended, as the sentence says.
    pub fn wrong(what: &str, says: impl Into<String>) -> Finding {
        Finding::new(what, State::Wrong, says)
    }

    fn new(what: &str, state: State, says: impl Into<String>) -> Finding {
        Finding { what: what.to_owned(), state, says: says.into() }
    }
}

/// Is there nothing to mend?
pub fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.state != State::Wrong)
}

/// One line each, in columns, and a last one that counts.
pub fn text(findings: &[Finding]) -> String {
    let widest = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { what, state, says } in findings {
        let _written = writeln!(text, "{:<5}  {what:<widest$}  {}", state.word(), one_line(says));
    }
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    let sum = match wrong {
        0 => "All is well.".to_owned(),
        1 => "One thing is wrong.".to_owned(),
        _ => format!("{wrong} things are wrong."),
    };
    text + &sum + "\n"
}

/// The same for programs.
pub fn json(findings: &[Finding]) -> Value {
    let finding = |Finding { what, state, says }: &Finding| json!({ "what": what, "state": state.word(), "says": says });
    json!({ "ok": is_well(findings), "findings": findings.iter().map(finding).collect::<Vec<_>>() })
}

/// A service's message may have several lines, and characters that steer a terminal.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_line_and_the_last_line_counts() {
        let findings = [
            Finding::ok("port", "free"),
            Finding::wrong("data directory", "gone\n\u{1b}[31m away"),
            Finding::note("AWS", "not asked"),
        ];
        assert_eq!(
            text(&findings),
            "ok     port            free\nwrong  data directory  gone [31m away\nnote   AWS             not asked\n\
             One thing is wrong.\n"
        );
        assert!(!is_well(&findings) && is_well(&findings[..1]));
        assert_eq!(json(&findings)["findings"][1]["state"], "wrong");
    }
}

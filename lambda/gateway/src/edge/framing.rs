//! The old completion format: `\n\nHuman: … \n\nAssistant:` in one prompt, parsed into turns.

use crate::chat::{Message, Role};

/// A prompt taken apart.
#[derive(Debug, PartialEq)]
pub struct Framed {
    /// Text before the first turn, which the old models took as the system instruction.
    pub system: Option<String>,
    /// The turns. The last one is the user's, or the beginning of the answer.
    pub messages: Vec<Message>,
}

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Parses a framed prompt; `None` for a plain one, which is then the question as it stands.
/// Framed means: it has a human turn, and its last turn is the assistant's.
pub fn parse(prompt: &str) -> Option<Framed> {
    // Clients forget the two line breaks before the first turn.
    let starts_bare = prompt.trim_start().starts_with("Human:");
    let text = if starts_bare { format!("\n\n{}", prompt.trim_start()) } else { prompt.to_owned() };
    let marks = marks(&text);
    let (first, _, _) = *marks.iter().find(|(_, role, _)| *role == Role::User)?;
    let turns = marks.iter().filter(|(at, _, _)| *at >= first);
    let ends = turns.clone().skip(1).map(|(at, _, _)| *at).chain(std::iter::once(text.len()));
    let mut messages: Vec<Message> = Vec::new();
    let mut last = Role::User;
    for ((_, role, begin), end) in turns.zip(ends) {
        let said = text[*begin..end].trim();
        if !said.is_empty() {
            messages.push(Message::text(*role, said));
        }
        last = *role;
    }
    let asked = messages.iter().any(|message| message.role == Role::User);
    if last != Role::Assistant || !asked {
        return None;
    }
    let system = text[..first].trim();
    Some(Framed { system: (!system.is_empty()).then(|| system.to_owned()), messages })
}

/// Where each mark stands, whose it is, and where what was said begins; in one pass, because a
/// hostile prompt may consist of nothing else.
fn marks(text: &str) -> Vec<(usize, Role, usize)> {
    let of = |role: Role, mark: &'static str| {
        let name = mark.trim_start();
        let found = text.match_indices(name).filter(|(at, _)| text[..*at].ends_with("\n\n"));
        found.map(move |(at, _)| (at - 2, role, at + name.len()))
    };
    let mut marks: Vec<_> = of(Role::User, HUMAN).chain(of(Role::Assistant, ASSISTANT)).collect();
    marks.sort_by_key(|(at, _, _)| *at);
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(prompt: &str, system: Option<&str>, turns: &[(Role, &str)]) {
        let framed = parse(prompt).unwrap_or_else(|| panic!("{prompt:?} is framed"));
        assert_eq!(framed.system.as_deref(), system);
        let messages: Vec<Message> = turns.iter().map(|(role, text)| Message::text(*role, *text)).collect();
        assert_eq!(framed.messages, messages);
    }

    #[test]
    fn a_framed_prompt_becomes_turns() {
        use Role::{Assistant, User};
        check("\n\nHuman:Why?\n\nAssistant:", None, &[(User, "Why?")]);
        check("Human: Why?\n\nAssistant:", None, &[(User, "Why?")]);
        check(
            "Be brief.\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
            Some("Be brief."),
            &[(User, "a"), (Assistant, "b"), (User, "c")],
        );
        check("\n\nHuman: a\n\nAssistant: It is", None, &[(User, "a"), (Assistant, "It is")]);
    }

    #[test]
    fn three_line_breaks_before_a_turn_are_a_mark_too() {
        check("Human: a\n\n\nAssistant:", None, &[(Role::User, "a")]);
        check("Human: a\n\n\n\nAssistant:", None, &[(Role::User, "a")]);
    }

    #[test]
    fn a_prompt_of_nothing_but_marks_is_read_in_one_pass() {
        let marks = HUMAN.repeat(600_000);
        assert_eq!(parse(&marks), None);
    }

    #[test]
    fn a_plain_prompt_stays_as_it_is() {
        for prompt in ["Why?", "", "Say \n\nHuman: aloud", "\n\nAssistant: x", "\n\nHuman:\n\nAssistant:"] {
            assert_eq!(parse(prompt), None, "{prompt:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_without_a_panic(parts in prop::collection::vec("(\n\nHuman:|\n\nAssistant:|[a-z \n]{0,5})", 0..8)) {
            let prompt = parts.concat();
            if let Some(framed) = parse(&prompt) {
                prop_assert!(framed.messages.iter().all(|message| message.content.len() == 1));
            }
        }
    }
}

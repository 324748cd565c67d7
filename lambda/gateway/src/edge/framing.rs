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
    let first = text.find(HUMAN)?;
    let mut messages: Vec<Message> = Vec::new();
    let mut rest = &text[first..];
    let mut last = Role::User;
    while !rest.is_empty() {
        let (role, mark) =
            if rest.starts_with(HUMAN) { (Role::User, HUMAN) } else { (Role::Assistant, ASSISTANT) };
        let body = &rest[mark.len()..];
        let end = [HUMAN, ASSISTANT].iter().filter_map(|mark| body.find(mark)).min().unwrap_or(body.len());
        let said = body[..end].trim();
        if !said.is_empty() {
            messages.push(Message::text(role, said));
        }
        last = role;
        rest = &body[end..];
    }
    let asked = messages.iter().any(|message| message.role == Role::User);
    if last != Role::Assistant || !asked {
        return None;
    }
    let system = text[..first].trim();
    Some(Framed { system: (!system.is_empty()).then(|| system.to_owned()), messages })
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

//! A model that is none: it answers by quoting the sentences of the retrieved passages that share
//! the most words with the question. It invents nothing, costs nothing and works offline, which
//! makes it the model of a gateway that was just started; it says of itself what it is.

use super::quotes::{self, Quote};
use super::{Ask, Model, Part, Parts};
use crate::chat::Passage;
use crate::chat::{Delta, Sampling, StopReason, Usage};
use crate::error::Error;
use crate::words;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};

const INTRODUCTION: &str = "I am no language model; I quote the documents. They say:";
const NOTHING: &str = "I am no language model; I quote the documents, and I found nothing in them that \
    belongs to this question. Ask in the documents' own words, start the gateway with `--documents DIR` \
    to search documents of yours, or with `--model bedrock` to ask a language model.";

/// Most quotes in one answer.
const QUOTES: usize = 4;

/// Answers by quoting `ask.passages`, word by word and without delay. One word counts as one token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extractive;

impl Model for Extractive {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Parts, Error>> {
        let answer = answer(&ask.question, &ask.passages);
        let (pieces, stop_reason) = limit(&answer, &ask.sampling);
        let usage = Usage {
            input_tokens: words_asked(&ask),
            output_tokens: pieces.len() as u64,
            estimated: true,
            ..Usage::default()
        };
        let deltas = pieces.into_iter().map(|piece| Part::Delta(Delta::text(piece)));
        let parts: Vec<_> = deltas.chain([Part::Stop(stop_reason), Part::Usage(usage)]).map(Ok).collect();
        std::future::ready(Ok(stream::iter(parts).boxed())).boxed()
    }
}

fn words_asked(ask: &Ask) -> u64 {
    let texts = ask.messages.iter().flat_map(|message| &message.content).filter_map(|block| block.as_text());
    texts.chain(ask.system.as_deref()).map(words::count).sum()
}

/// The answer in words, each with the white space after it, as far as the parameters allow.
fn limit(answer: &str, sampling: &Sampling) -> (Vec<String>, StopReason) {
    let sequences = sampling.stop_sequences.iter().filter(|sequence| !sequence.is_empty());
    let stop = sequences.filter_map(|sequence| answer.find(sequence.as_str())).min();
    let answer = &answer[..stop.unwrap_or(answer.len())];
    let mut pieces = pieces(answer);
    let most = sampling.max_tokens.map_or(usize::MAX, |tokens| tokens as usize);
    if pieces.len() > most {
        pieces.truncate(most);
        return (pieces, StopReason::MaxTokens);
    }
    (pieces, if stop.is_some() { StopReason::StopSequence } else { StopReason::EndTurn })
}

fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if !c.is_whitespace() && piece.ends_with(char::is_whitespace) {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

fn answer(question: &str, passages: &[Passage]) -> String {
    let quotes = quotes::best(question, passages, QUOTES);
    if quotes.is_empty() {
        return NOTHING.to_owned();
    }
    let mut answer = INTRODUCTION.to_owned();
    for of_one_passage in quotes.chunk_by(|a, b| a.passage == b.passage) {
        answer.push_str("\n\n");
        answer.push_str(&joined(of_one_passage));
        if let Some(passage) = of_one_passage.first().and_then(|quote| passages.get(quote.passage)) {
            answer.push_str(&format!("\n({})", name(passage)));
        }
    }
    answer
}

/// Sentences follow each other, a gap between them shows, blocks stand by themselves.
fn joined(quotes: &[Quote]) -> String {
    let mut text = String::new();
    let mut before: Option<&Quote> = None;
    for quote in quotes {
        if let Some(before) = before {
            let alone = quote.is_block || before.is_block;
            let follows = quote.position == before.position + 1;
            text.push_str(if alone {
                "\n\n"
            } else if follows {
                " "
            } else {
                " … "
            });
        }
        text.push_str(&quote.text);
        before = Some(quote);
    }
    text
}

/// The file and the heading of a passage.
fn name(passage: &Passage) -> String {
    let source = &passage.source;
    match source.title.starts_with(&source.location) {
        true => source.title.clone(),
        false => format!("{}: {}", source.location, source.title),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Message, Role, Source};

    fn passages() -> Vec<Passage> {
        let source = Source {
            title: "README.md › Errors".into(),
            location: "README.md".into(),
            score: 2.0,
            span: Some((1, 4)),
        };
        let text =
            "## Errors\nEvery error has a code. A throttled request carries Retry-After. Nothing is lost.";
        vec![Passage { text: text.into(), source }]
    }

    async fn ask(
        question: &str,
        passages: Vec<Passage>,
        sampling: Sampling,
    ) -> (Vec<String>, StopReason, Usage) {
        let messages = vec![
            Message::text(Role::User, "an earlier question"),
            Message::text(Role::Assistant, "an earlier answer"),
            Message::text(Role::User, question),
        ];
        let ask = Ask { question: question.into(), passages, sampling, messages, ..Ask::default() };
        let parts: Vec<Part> = Extractive.ask(ask).await.unwrap().map(|part| part.unwrap()).collect().await;
        let [deltas @ .., Part::Stop(stop), Part::Usage(usage)] = parts.as_slice() else {
            panic!("{parts:?}")
        };
        let words = deltas.iter().map(|part| match part {
            Part::Delta(delta) => delta.as_text().to_owned(),
            other => panic!("{other:?}"),
        });
        (words.collect(), stop.clone(), *usage)
    }

    #[tokio::test]
    async fn it_quotes_the_sentence_names_its_place_and_says_what_it_is() {
        let (words, stop, usage) = ask("What if I am throttled?", passages(), Sampling::default()).await;
        let answer = words.concat();
        assert_eq!(
            answer,
            format!("{INTRODUCTION}\n\nA throttled request carries Retry-After.\n(README.md › Errors)")
        );
        assert_eq!(stop, StopReason::EndTurn);
        assert_eq!(usage.output_tokens, words.len() as u64);
        assert_eq!(usage.output_tokens, words::count(&answer));
        assert_eq!(usage.input_tokens, 3 + 3 + 5);
        assert!(usage.estimated);
    }

    #[tokio::test]
    async fn without_passages_it_says_so_and_what_to_do() {
        let (words, stop, _) = ask("What if I am throttled?", vec![], Sampling::default()).await;
        let answer = words.concat();
        assert!(answer.contains("--documents") && answer.contains("--model bedrock"), "{answer}");
        assert_eq!(stop, StopReason::EndTurn);
    }

    #[tokio::test]
    async fn it_stops_at_max_tokens_and_before_a_stop_sequence() {
        let limited = Sampling { max_tokens: Some(3), ..Sampling::default() };
        let (words, stop, usage) = ask("throttled?", passages(), limited).await;
        assert_eq!((words.concat().trim_end(), stop), ("I am no", StopReason::MaxTokens));
        assert_eq!(usage.output_tokens, 3);

        let stopped =
            Sampling { stop_sequences: vec!["zebra".into(), " carries".into()], ..Sampling::default() };
        let (words, stop, _) = ask("throttled?", passages(), stopped.clone()).await;
        assert!(words.concat().ends_with("A throttled request"));
        assert_eq!(stop, StopReason::StopSequence);

        let both = Sampling { max_tokens: Some(2), ..stopped };
        assert_eq!(ask("throttled?", passages(), both).await.1, StopReason::MaxTokens);
    }

    #[tokio::test]
    async fn a_title_without_its_file_gets_it() {
        let mut passages = passages();
        passages[0].source.title = "Errors".into();
        let (words, ..) = ask("throttled?", passages, Sampling::default()).await;
        assert!(words.concat().ends_with("(README.md: Errors)"));
    }
}

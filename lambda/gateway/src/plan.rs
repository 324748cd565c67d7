//! What will be asked of whom: the model from the catalog, the parameters that it takes, the part
//! of the conversation that fits its window. Pure: no I/O here.

use crate::blocks::{message_tokens, tokens};
use crate::chat::Passage;
use crate::chat::{Block, Message, Request, Role, Sampling};
use crate::config::Settings;
use crate::error::{Error, Kind};
use crate::model::Ask;
use crate::model::catalog::{Api, Catalog, Choice};
use crate::retrieval::framing;
use crate::store::Turn;

/// What stands before a request is answered.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The model's row and the id to call.
    pub choice: Choice,
    /// The parameters that the model takes, defaults filled in.
    pub sampling: Sampling,
    /// The request's keys and parameters without effect.
    pub ignored: Vec<String>,
    /// Tokens of the request itself, estimated.
    pub tokens: u64,
}

/// Most tokens of the window that retrieved passages may take.
const PASSAGE_TOKENS: usize = 4_000;

impl Plan {
    /// Chooses the model and checks that the request fits it.
    ///
    /// # Errors
    /// `model_not_found`, `invalid_request`, `too_large`.
    pub fn new(menu: Menu<'_>, request: &Request) -> Result<Plan, Error> {
        let settings = menu.settings;
        let choice = menu.choose(request.model.as_deref())?;
        if !matches!(choice.entry.api, Api::Converse | Api::Local) {
            let message = format!(
                "{} is no model that answers. Post a text to it on /{{modelId}} to embed it.",
                choice.entry.id
            );
            return Err(Error::invalid("model", message));
        }
        check_abilities(&choice, request)?;
        let mut sampling = request.sampling.clone();
        sampling.max_tokens = sampling.max_tokens.or(Some(settings.default_max_tokens));
        // The default must not push out what the caller chose.
        let either = choice.entry.abilities.temperature_or_top_p && sampling.top_p.is_some();
        sampling.temperature = sampling.temperature.or(settings.default_temp.filter(|_| !either));
        // What the caller never sent is left out silently.
        let (_, dropped) = choice.entry.fit(request.sampling.clone());
        let (sampling, _) = choice.entry.fit(sampling);
        let mut ignored = request.ignored.clone();
        ignored.extend(dropped);
        let size = request.messages.iter().map(message_tokens).sum::<u64>()
            + request.system.as_deref().map_or(0, tokens)
            + request.tools.iter().map(|tool| tokens(&tool.schema.to_string())).sum::<u64>();
        let plan = Plan { choice, sampling, ignored, tokens: size };
        if size > plan.room() {
            let window = plan.choice.entry.window;
            let message = format!(
                "The prompt has about {size} tokens; the window of {} is {window}, the answer included. Shorten it.",
                plan.choice.entry.id
            );
            return Err(Error { param: Some("prompt".into()), ..Error::new(Kind::TooLarge, message) });
        }
        Ok(plan)
    }

    /// Tokens that the prompt may have: the window less the answer.
    pub fn room(&self) -> u64 {
        let answer = u64::from(self.sampling.max_tokens.unwrap_or(0));
        let window = u64::from(self.choice.entry.window);
        // A limit as large as the window would leave no room for any question.
        window.saturating_sub(answer).max(window / 4)
    }

    /// The question as the model gets it.
    pub fn ask(&self, request: &Request, history: &[Turn], passages: Vec<Passage>) -> Asking {
        let question = request.question().to_owned();
        let mut own = request.messages.clone();
        let mut sources = Vec::new();
        let before: u64 = own.iter().map(message_tokens).sum();
        if !passages.is_empty() {
            let left = usize::try_from(self.room().saturating_sub(self.tokens)).unwrap_or(usize::MAX);
            let (framed, used) = framing::frame(&question, &passages, PASSAGE_TOKENS.min(left));
            sources = used;
            replace_question(&mut own, framed);
        }
        // System instruction and tools are in `tokens`; passages have come since.
        let framed = own.iter().map(message_tokens).sum::<u64>().saturating_sub(before);
        let left = self.room().saturating_sub(self.tokens + framed);
        let kept = fit(history, left);
        let mut messages: Vec<Message> = kept.iter().flat_map(turn_messages).collect();
        let stored_messages = messages.len();
        messages.extend(own);
        let ask = Ask {
            invoke_id: self.choice.invoke_id.clone(),
            messages,
            stored_messages,
            cache_points: self.choice.entry.abilities.cache_prefix.is_some(),
            system: request.system.clone(),
            sampling: self.sampling.clone(),
            tools: request.tools.clone(),
            tool_choice: request.tool_choice.clone(),
            response_schema: request.response_schema.clone(),
            passages,
            question,
        };
        // Where no turn fits, the next prompt begins behind the newest one.
        let none_fits = || history.last().map_or(0, |turn| turn.at_ms + 1);
        let first_kept = kept.first().map_or_else(none_fits, |turn| turn.at_ms);
        Asking { ask, sources, first_kept }
    }
}

/// An ask, and what of the material went into it.
pub struct Asking {
    /// For the model.
    pub ask: Ask,
    /// The passages in it.
    pub sources: Vec<crate::chat::Source>,
    /// `at_ms` of the oldest turn that the conversation goes on from; 0 where there is none yet.
    pub first_kept: u64,
}

/// The models that this gateway offers.
#[derive(Clone, Copy)]
pub struct Menu<'a> {
    /// All models there are.
    pub catalog: &'a Catalog,
    /// Which of them are allowed, and which region they are called from.
    pub settings: &'a Settings,
    /// The local model that answers in the place of all others; `None` is Bedrock.
    pub stands_in: Option<&'a str>,
}

impl Menu<'_> {
    /// The model of this name, or the default.
    ///
    /// # Errors
    /// `model_not_found`, listing what is offered.
    pub fn choose(&self, asked: Option<&str>) -> Result<Choice, Error> {
        let asked = asked.unwrap_or_else(|| self.default_id());
        let region = self.settings.region.as_deref().unwrap_or("us-east-1");
        let choice = self.catalog.choose(asked, region);
        choice.filter(|choice| self.offers(asked, choice)).ok_or_else(|| {
            let asked: String = asked.chars().take(100).collect();
            let offered = self.ids().join(", ");
            let message = format!("There is no model \"{asked}\" here. Ask for one of: {offered}.");
            Error { param: Some("model".into()), ..Error::new(Kind::ModelNotFound, message) }
        })
    }

    /// The ids that may be asked for.
    pub fn ids(&self) -> Vec<String> {
        if !self.settings.allowed_models.is_empty() {
            return self.settings.allowed_models.clone();
        }
        let offered = self.catalog.entries().filter(|entry| self.serves(entry.api));
        offered.map(|entry| entry.id.clone()).collect()
    }

    /// What answers a request that names no model.
    pub fn default_id(&self) -> &str {
        let default = self.settings.default_model.as_deref().or(self.stands_in);
        default.unwrap_or(self.catalog.default_id())
    }

    fn offers(&self, asked: &str, choice: &Choice) -> bool {
        let allowed = &self.settings.allowed_models;
        let listed = |id: &String| id == asked || *id == choice.entry.id || *id == choice.invoke_id;
        self.serves(choice.entry.api) && (allowed.is_empty() || allowed.iter().any(listed))
    }

    /// A local model stands in for every model that answers, but for no embedding model: vectors of
    /// two models do not go together.
    fn serves(&self, api: Api) -> bool {
        match api {
            Api::Converse => true,
            Api::Embedding => self.stands_in.is_none(),
            Api::Local | Api::LocalEmbedding => self.stands_in.is_some(),
        }
    }
}

fn check_abilities(choice: &Choice, request: &Request) -> Result<(), Error> {
    let abilities = &choice.entry.abilities;
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let images = blocks.clone().any(|block| matches!(block, Block::Image { .. }));
    let local = choice.entry.api == Api::Local;
    for (wanted, offered, what) in [
        (images, abilities.images, "images"),
        (!request.tools.is_empty(), abilities.tools, "tools"),
        (request.response_schema.is_some(), abilities.response_schema, "a response schema"),
    ] {
        if wanted && !offered && !local {
            return Err(Error::invalid(
                "model",
                format!("{} does not take {what}. Choose a model that does.", choice.entry.id),
            ));
        }
    }
    Ok(())
}

/// Passages go into the last user message only, around its last text.
fn replace_question(messages: &mut [Message], framed: String) {
    let last = messages.iter_mut().rev().find(|message| message.role == Role::User);
    let mut blocks = last.into_iter().flat_map(|message| message.content.iter_mut().rev());
    if let Some(Block::Text { text }) = blocks.find(|block| block.as_text().is_some()) {
        *text = framed;
    }
}

fn turn_messages(turn: &Turn) -> Vec<Message> {
    let answer = Message { role: Role::Assistant, content: turn.answer.clone() };
    turn.messages.iter().cloned().chain(std::iter::once(answer)).collect()
}

/// The newest turns that fit. The history is played from its oldest turn: whenever it would pass
/// the room, whole turns go, down to 70 % at once. So the prompt's beginning stays the same for many
/// turns, and the provider's prompt cache with it, instead of moving on with every turn.
fn fit(history: &[Turn], room: u64) -> &[Turn] {
    let sizes: Vec<u64> =
        history.iter().map(|turn| turn_messages(turn).iter().map(message_tokens).sum()).collect();
    let (mut from, mut sum) = (0, 0);
    for (at, size) in sizes.iter().enumerate() {
        sum += size;
        if sum > room {
            while from <= at && sum > room * 7 / 10 {
                sum -= sizes[from];
                from += 1;
            }
        }
    }
    &history[from..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Caller, Usage};

    fn turn(at_ms: u64, tokens: usize) -> Turn {
        Turn {
            chat_id: "c".into(),
            caller: Caller::local(),
            request_id: at_ms.to_string(),
            started_at_ms: at_ms,
            at_ms,
            after_ms: 0,
            window_from_ms: 0,
            messages: vec![Message::text(Role::User, "x".repeat((tokens - 8) * 4))],
            answer: vec![],
            model: "m".into(),
            usage: Usage::default(),
        }
    }

    fn plan(request: &Request, settings: &[(&str, &str)]) -> Result<Plan, Error> {
        let vars = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let settings = Settings::from_vars(vars).unwrap();
        Plan::new(
            Menu {
                catalog: &Catalog::load().unwrap(),
                settings: &settings,
                stands_in: Some("local.extractive"),
            },
            request,
        )
    }

    #[test]
    fn old_turns_go_whole_and_down_to_seventy_percent_at_once() {
        let history: Vec<Turn> = (1..=11).map(|at| turn(at, 100)).collect();
        assert_eq!(fit(&history[..10], 1_000).len(), 10);
        assert_eq!(fit(&history, 1_000).len(), 7);
        assert_eq!(fit(&history, 50).len(), 0);
        let longer: Vec<Turn> = (1..=13).map(|at| turn(at, 100)).collect();
        assert_eq!(
            fit(&longer, 1_000)[0].at_ms,
            fit(&history, 1_000)[0].at_ms,
            "the beginning stays for many turns"
        );
    }

    #[test]
    fn an_unknown_model_is_not_found_and_the_answer_lists_the_allowed_ones() {
        let mut request = Request::new(Caller::local(), "prompt", "q");
        request.model = Some("no.such-model".into());
        let error = plan(&request, &[("ALLOWED_MODELS", "local.extractive")]).unwrap_err();
        assert_eq!(error.kind, Kind::ModelNotFound);
        assert!(error.message.contains("local.extractive"));
    }

    #[test]
    fn a_prompt_over_the_window_is_too_large_and_says_the_limit() {
        let request = Request::new(Caller::local(), "prompt", "日".repeat(2_000_000));
        let error = plan(&request, &[]).unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
    }
}

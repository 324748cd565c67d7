//! One row of the catalog: what a model is, takes, holds and costs.

use crate::chat::{Sampling, Usage};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Which API a model answers through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Bedrock's ConverseStream.
    Converse,
    /// Bedrock's InvokeModel, for a vector.
    Embedding,
    /// A model inside this process.
    Local,
    /// An embedder inside this process.
    LocalEmbedding,
}

/// The provider's answer shape that the older systems passed through to their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegacyShape {
    /// `generations[0].text`
    Cohere,
    /// `completions[0].data.text`
    Ai21,
}

/// The request and response bodies of an embedding model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingBody {
    /// `inputText` in, `embedding` and `inputTextTokenCount` out.
    Titan,
    /// `texts` in, `embeddings` out.
    Cohere,
    /// Computed in this process.
    Local,
}

/// What an embedding model returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSpec {
    /// Length of the vector, unless the request asks for another.
    pub dimensions: usize,
    /// Shape of the bodies on the wire.
    pub body: EmbeddingBody,
    /// Texts that one request takes at most.
    pub batch: usize,
}

/// What a model takes. Everything absent from the data is not taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Abilities {
    /// Takes `temperature`.
    pub temperature: bool,
    /// Takes `top_p`.
    pub top_p: bool,
    /// Takes `top_k`, as a field of that name among the model's own request fields.
    pub top_k: bool,
    /// Takes stop sequences.
    pub stop_sequences: bool,
    /// Refuses `temperature` and `top_p` in one request.
    pub temperature_or_top_p: bool,
    /// Reads images.
    pub images: bool,
    /// Uses tools, in a stream.
    pub tools: bool,
    /// Accepts a tool choice that forces a tool. Models that always reason refuse it.
    pub forced_tools: bool,
    /// May put reasoning before its answer, to be handed back unchanged in a tool loop.
    pub reasoning: bool,
    /// Follows a JSON schema.
    pub response_schema: bool,
    /// Supports prompt cache points; the prefix before one must be at least this many tokens,
    /// shorter ones are silently not cached.
    pub cache_prefix: Option<u32>,
}

/// List price in USD per million tokens, of the global or in-region endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input that no cache was involved in.
    pub input: f64,
    /// Output, reasoning included.
    pub output: f64,
    /// Input read from the prompt cache.
    pub cache_read: f64,
    /// Input written to the prompt cache for five minutes.
    pub cache_write: f64,
}

impl Price {
    fn of(&self, usage: &Usage) -> f64 {
        let micro_dollars = self.input * usage.input_tokens as f64
            + self.output * usage.output_tokens as f64
            + self.cache_read * usage.cache_read_input_tokens as f64
            + self.cache_write * usage.cache_write_input_tokens as f64;
        micro_dollars / 1e6
    }
}

/// The price of the whole request once its prompt is longer than `over` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrompt {
    /// Input tokens, cached ones included.
    pub over: u64,
    /// What every token costs then.
    pub price: Price,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The provider's id, without profile prefix.
    pub id: String,
    /// For people.
    pub name: String,
    /// How it is asked.
    pub api: Api,
    /// Prefixes of the inference profiles that exist for it (`us`, `eu`, `global` …).
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Whether the bare id may be invoked wherever the model is offered.
    #[serde(default)]
    pub on_demand: bool,
    /// Other names that lead here, each with the answer shape its clients expect, if a special one.
    #[serde(default)]
    pub aliases: BTreeMap<String, Option<LegacyShape>>,
    /// What it takes.
    #[serde(default)]
    pub abilities: Abilities,
    /// What it returns, for embedding models.
    #[serde(default)]
    pub embedding: Option<EmbeddingSpec>,
    /// Context window in tokens, input and output together.
    pub window: u32,
    /// Most tokens it writes in one answer; 0 for embedding models.
    pub max_output: u32,
    /// What it costs.
    pub price: Price,
    /// What a long prompt costs, where that is more.
    #[serde(default)]
    pub long_prompt: Option<LongPrompt>,
    /// Factor on the price through a geographic profile; the global one and the bare id cost 1.
    #[serde(default = "one")]
    pub geographic_markup: f64,
    /// Year and month of the page a less certain row was taken from.
    #[serde(default)]
    pub price_as_of: Option<String>,
}

fn one() -> f64 {
    1.0
}

impl Entry {
    /// The parameters that this model takes, and the names of those left out. A limit above what
    /// the model can write is lowered silently: nothing the caller could have had is lost.
    pub fn fit(&self, mut sampling: Sampling) -> (Sampling, Vec<String>) {
        let can = &self.abilities;
        let mut dropped = Vec::new();
        let both = can.temperature && sampling.temperature.is_some() && can.temperature_or_top_p;
        keep_if(can.temperature, "parameters.temperature", &mut sampling.temperature, &mut dropped);
        keep_if(can.top_p && !both, "parameters.top_p", &mut sampling.top_p, &mut dropped);
        keep_if(can.top_k, "parameters.top_k", &mut sampling.top_k, &mut dropped);
        if !can.stop_sequences && !sampling.stop_sequences.is_empty() {
            sampling.stop_sequences.clear();
            dropped.push("parameters.stop_sequences".to_owned());
        }
        sampling.max_tokens = sampling.max_tokens.map(|tokens| tokens.min(self.max_output));
        (sampling, dropped)
    }

    /// What these tokens cost in USD, at the list price. `Choice::cost` knows the profile too.
    pub fn cost(&self, usage: &Usage) -> f64 {
        let prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_write_input_tokens;
        match &self.long_prompt {
            Some(long) if prompt > long.over => long.price.of(usage),
            _ => self.price.of(usage),
        }
    }
}

fn keep_if<T>(taken: bool, name: &str, value: &mut Option<T>, dropped: &mut Vec<String>) {
    if !taken && value.take().is_some() {
        dropped.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalog::{Catalog, Choice};

    fn choose(asked: &str) -> Choice {
        Catalog::load().unwrap().choose(asked, "us-east-1").unwrap()
    }

    fn all_set() -> Sampling {
        Sampling {
            max_tokens: Some(u32::MAX),
            temperature: Some(0.2),
            top_p: Some(0.9),
            top_k: Some(250),
            stop_sequences: vec!["END".into()],
        }
    }

    #[test]
    fn temperature_goes_before_top_p_where_only_one_is_taken() {
        let entry = choose("anthropic.claude-sonnet-4-6").entry;
        let (fitted, dropped) = entry.fit(all_set());
        assert_eq!(dropped, ["parameters.top_p"]);
        assert_eq!((fitted.temperature, fitted.top_p, fitted.top_k), (Some(0.2), None, Some(250)));
        assert_eq!(fitted.max_tokens, Some(entry.max_output));
        let alone = Sampling { top_p: Some(0.9), ..Sampling::default() };
        assert_eq!(entry.fit(alone.clone()), (alone, vec![]));
    }

    #[test]
    fn a_model_without_sampling_loses_every_parameter_by_name() {
        let entry = choose("anthropic.claude-opus-5-5").entry;
        let (fitted, dropped) = entry.fit(all_set());
        assert_eq!(dropped, ["parameters.temperature", "parameters.top_p", "parameters.top_k"]);
        assert_eq!(fitted.stop_sequences, ["END"]);
    }

    #[test]
    fn cost_counts_the_cache_the_profile_and_a_long_prompt() {
        let usage = Usage {
            input_tokens: 1_000,
            output_tokens: 2_000,
            cache_read_input_tokens: 10_000,
            cache_write_input_tokens: 4_000,
            estimated: false,
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        let global = choose("global.anthropic.claude-sonnet-4-6");
        near(global.cost(&usage), 0.003 + 0.030 + 0.003 + 0.015);
        let geographic = choose("us.anthropic.claude-sonnet-4-6");
        near(geographic.cost(&usage), 0.051 * 1.1);
        let tiered = choose("anthropic.claude-haiku-5-5").entry;
        near(tiered.cost(&Usage { input_tokens: 100_000, ..Usage::default() }), 0.01);
        near(tiered.cost(&Usage { input_tokens: 100_001, ..Usage::default() }), 0.0500005);
    }
}

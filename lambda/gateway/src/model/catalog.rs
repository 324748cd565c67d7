//! The model catalog: what each model is, takes, holds and costs. It is data (`catalog.json`), and
//! nothing else in the gateway decides by a model's id.
//!
//! Two rules for whoever edits the data. The retired ids of the older systems lead to successors
//! that do not reason unless asked, because those clients send small token limits that reasoning
//! would use up. Embedding models have no aliases at all: vectors of two models do not compare, so
//! a silent successor would corrupt an index. A `price_as_of` marks a row whose price, window or
//! profiles come from a page of that month and deserve another look.

use crate::chat::Usage;
use crate::error::Error;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

mod entry;

pub use entry::{Abilities, Api, EmbeddingBody, EmbeddingSpec, Entry, LegacyShape, LongPrompt, Price};

const DATA: &str = include_str!("catalog.json");

/// A model chosen for a request.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its row.
    pub entry: Arc<Entry>,
    /// What to call: the id, or the id of one of its inference profiles.
    pub invoke_id: String,
    /// It was asked for by another name.
    pub aliased: bool,
    /// The answer shape that clients of that other name expect.
    pub legacy_shape: Option<LegacyShape>,
    /// It is called through a profile that keeps to one geography.
    pub geographic: bool,
}

impl Choice {
    /// What these tokens cost in USD through the profile chosen.
    pub fn cost(&self, usage: &Usage) -> f64 {
        let factor = if self.geographic { self.entry.geographic_markup } else { 1.0 };
        self.entry.cost(usage) * factor
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    default: String,
    default_embedding: String,
    regions: Vec<Region>,
    models: Vec<Entry>,
}

/// Which profiles serve requests from regions whose names start so, best first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    starts_with: String,
    profiles: Vec<String>,
}

/// Every model the gateway knows.
#[derive(Clone, Debug)]
pub struct Catalog {
    default: String,
    default_embedding: String,
    entries: Vec<Arc<Entry>>,
    regions: Vec<Region>,
    /// Id or alias to the row and the alias's answer shape.
    names: HashMap<String, (usize, Option<LegacyShape>)>,
}

const GLOBAL: &str = "global";

impl Catalog {
    /// What answers on Bedrock where neither the request nor `DEFAULT_MODEL` says.
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// What embeds for searches where `EMBEDDINGS_MODEL` does not say: on Bedrock, or in this process.
    pub fn embedding_id(&self, local: bool) -> &str {
        let here = self.entries.iter().find(|entry| local && entry.api == Api::LocalEmbedding);
        here.map_or(&self.default_embedding, |entry| &entry.id)
    }

    /// Parses the data compiled in. Do it once, at start. Fails only if the data is broken.
    pub fn load() -> Result<Catalog, Error> {
        Catalog::parse(DATA)
    }

    fn parse(json: &str) -> Result<Catalog, Error> {
        let Data { default, default_embedding, regions, models } =
            serde_json::from_str(json).map_err(|error| Error::internal(format!("model catalog: {error}")))?;
        let mut names = HashMap::new();
        for (row, entry) in models.iter().enumerate() {
            let own = std::iter::once((&entry.id, &None));
            for (name, shape) in own.chain(&entry.aliases) {
                if names.insert(name.clone(), (row, *shape)).is_some() {
                    return Err(Error::internal(format!("model catalog: {name} stands twice")));
                }
            }
        }
        let entries = models.into_iter().map(Arc::new).collect();
        if !names.contains_key(&default) || !names.contains_key(&default_embedding) {
            return Err(Error::internal("model catalog: a default is no row"));
        }
        Ok(Catalog { default, default_embedding, entries, regions, names })
    }

    /// The model behind a name (percent-decoded: an id, an alias, or either with the prefix of one
    /// of the model's profiles) and what to invoke from `region` (`us-east-1`). `None` if no row
    /// has that name, or the model cannot be reached from there.
    pub fn choose(&self, asked: &str, region: &str) -> Option<Choice> {
        let (name, prefix) = match self.names.contains_key(asked) {
            true => (asked, None),
            false => asked.split_once('.').map(|(prefix, name)| (name, Some(prefix)))?,
        };
        let (row, legacy_shape) = *self.names.get(name)?;
        let entry = self.entries.get(row)?;
        let profile = match prefix {
            Some(prefix) => Some(entry.profiles.iter().find(|profile| *profile == prefix)?),
            None if entry.on_demand => None,
            None => Some(self.profile(entry, region)?),
        };
        Some(Choice {
            invoke_id: match profile {
                Some(profile) => format!("{profile}.{}", entry.id),
                None => entry.id.clone(),
            },
            aliased: name != entry.id,
            legacy_shape,
            geographic: profile.is_some_and(|profile| profile != GLOBAL),
            entry: Arc::clone(entry),
        })
    }

    /// The best profile of this model for requests from `region`.
    fn profile<'a>(&'a self, entry: &Entry, region: &str) -> Option<&'a String> {
        let fitting = self.regions.iter().filter(|row| region.starts_with(&row.starts_with));
        let row = fitting.max_by_key(|row| row.starts_with.len())?;
        row.profiles.iter().find(|profile| entry.profiles.contains(profile))
    }

    /// Every id, without aliases and prefixes, in the data's order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.id.as_str())
    }

    /// Every row, in the data's order.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(asked: &str, region: &str) -> Option<Choice> {
        Catalog::load().unwrap().choose(asked, region)
    }

    fn check_invoke_id(asked: &str, region: &str, expected: &str) {
        let choice = choose(asked, region).unwrap_or_else(|| panic!("{asked} is not known"));
        assert_eq!(choice.invoke_id, expected, "{asked} from {region}");
    }

    #[test]
    fn every_row_makes_sense() {
        let catalog = Catalog::load().unwrap();
        for entry in catalog.entries() {
            let prices = [Some(entry.price), entry.long_prompt.map(|long| long.price)];
            for price in prices.into_iter().flatten() {
                let all = [price.input, price.output, price.cache_read, price.cache_write];
                assert!(all.iter().all(|usd| *usd >= 0.0), "{}", entry.id);
            }
            let embeds = matches!(entry.api, Api::Embedding | Api::LocalEmbedding);
            assert_eq!(embeds, entry.embedding.is_some(), "{}", entry.id);
            assert_eq!(embeds, entry.max_output == 0, "{}", entry.id);
            assert!(!embeds || entry.aliases.is_empty(), "{} embeds and has aliases", entry.id);
            assert!(entry.max_output <= entry.window && entry.window > 0, "{}", entry.id);
            assert!(entry.on_demand || !entry.profiles.is_empty(), "{}", entry.id);
            assert!(entry.geographic_markup >= 1.0, "{}", entry.id);
        }
    }

    #[test]
    fn every_id_and_alias_leads_to_its_row() {
        let catalog = Catalog::load().unwrap();
        for entry in catalog.entries() {
            for name in entry.aliases.keys().chain([&entry.id]) {
                let choice = catalog.choose(name, "us-west-2").unwrap();
                assert_eq!(choice.entry.id, entry.id, "{name}");
                assert_eq!(choice.aliased, *name != entry.id, "{name}");
            }
        }
        assert_eq!(catalog.ids().count(), catalog.entries().count());
    }

    #[test]
    fn the_ids_of_the_older_systems_are_known() {
        for id in
            ["anthropic.claude-v2", "anthropic.claude-v2:1", "anthropic.claude-3-5-sonnet-20240620-v1:0"]
        {
            let choice = choose(id, "us-east-1").unwrap();
            assert!(choice.aliased && choice.entry.api == Api::Converse, "{id}");
            assert!(choice.entry.abilities.temperature, "clients of {id} send a temperature");
        }
        assert_eq!(
            choose("cohere.command-text-v14", "us-east-1").unwrap().legacy_shape,
            Some(LegacyShape::Cohere)
        );
        assert_eq!(choose("ai21.j2-ultra-v1", "us-east-1").unwrap().legacy_shape, Some(LegacyShape::Ai21));
        assert_eq!(choose("anthropic.claude-v2", "us-east-1").unwrap().legacy_shape, None);
    }

    #[test]
    fn a_profile_is_chosen_by_region_unless_one_was_asked_for() {
        let model = "anthropic.claude-sonnet-4-6";
        check_invoke_id(model, "us-east-1", "us.anthropic.claude-sonnet-4-6");
        check_invoke_id(model, "eu-central-1", "eu.anthropic.claude-sonnet-4-6");
        check_invoke_id(model, "ap-northeast-1", "jp.anthropic.claude-sonnet-4-6");
        check_invoke_id(model, "ap-southeast-2", "au.anthropic.claude-sonnet-4-6");
        check_invoke_id(model, "ap-south-1", "global.anthropic.claude-sonnet-4-6");
        check_invoke_id(model, "sa-east-1", "global.anthropic.claude-sonnet-4-6");
        check_invoke_id("eu.anthropic.claude-sonnet-4-6", "us-east-1", "eu.anthropic.claude-sonnet-4-6");
        check_invoke_id("global.anthropic.claude-v2", "us-east-1", "global.anthropic.claude-sonnet-4-6");
        check_invoke_id("amazon.nova-lite-v1:0", "ap-south-1", "apac.amazon.nova-lite-v1:0");
        check_invoke_id("openai.gpt-oss-120b-1:0", "us-east-1", "openai.gpt-oss-120b-1:0");
        check_invoke_id("local.extractive", "", "local.extractive");
    }

    #[test]
    fn a_name_that_no_row_has_is_unknown() {
        for name in [
            "",
            ".",
            "us.",
            "claude",
            "xx.anthropic.claude-v2",
            "us.openai.gpt-oss-120b-1:0",
            "us.us.anthropic.claude-v2",
        ] {
            assert!(choose(name, "us-east-1").is_none(), "{name}");
        }
        assert!(choose("deepseek.r1-v1:0", "eu-west-1").is_none(), "no profile reaches it from there");
        assert!(
            choose("anthropic.claude-opus-5-5", "us-gov-west-1").is_none(),
            "global does not serve GovCloud"
        );
    }

    #[test]
    fn broken_data_is_refused() {
        assert!(Catalog::parse("{}").is_err());
        let twice = DATA.replacen("\"claude-opus-5\": null", "\"claude-opus-5-5\": null", 1);
        assert!(Catalog::parse(&twice).unwrap_err().to_string().contains("twice"));
    }
}

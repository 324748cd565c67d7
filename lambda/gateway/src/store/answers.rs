//! The answer cache: one look for a curated and a learned answer at once.

use super::item::{self, Item};
use super::overflow::ROOMY;
use super::rows::pause;
use super::{Store, away, built};
use crate::chat::{Delta, Source, StopReason};
use crate::error::Error;
use aws_sdk_dynamodb::types::{KeysAndAttributes, Put, TransactWriteItem};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a request may be answered by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerKeys {
    /// The question, for curated answers; None where they must not answer.
    pub prompt: Option<String>,
    /// The cache scope of the seeds' clients, put before the question.
    pub node_id: Option<String>,
    /// Hex SHA-256, for a learned answer.
    pub learned: Option<String>,
}

/// An answer that needs no model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// The answer as it was streamed.
    pub deltas: Vec<Delta>,
    /// Why the model stopped.
    pub stop_reason: StopReason,
    /// The model that gave it; None for a curated answer.
    pub model: Option<String>,
    /// The passages it drew on.
    pub sources: Vec<Source>,
    /// Uploaded by people, not learned.
    #[serde(skip)]
    pub curated: bool,
}

impl AnswerKeys {
    /// Curated keys in order of preference: as asked before folded, with the scope before without.
    fn curated(&self) -> Vec<String> {
        let Some(prompt) = &self.prompt else {
            return Vec::new();
        };
        let scoped = self.node_id.iter().map(|node_id| format!("{node_id}{prompt}"));
        let questions: Vec<String> = scoped.chain([prompt.clone()]).collect();
        let exact = questions.iter().filter_map(|question| item::question_pk(question));
        let folded = questions.iter().filter(|question| !question.trim().is_empty());
        exact.chain(folded.map(|question| item::folded_pk(question))).collect()
    }
}

impl Store {
    /// The best stored answer: a curated one before a learned one, the exact question before the
    /// folded one. One eventually consistent read, whatever the number of keys.
    pub async fn find_answer(&self, keys: &AnswerKeys) -> Result<Option<StoredAnswer>, Error> {
        let curated = keys.curated();
        let learned = keys.learned.as_deref().map(item::learned_pk);
        let rows = self.answer_rows(curated.iter().chain(&learned)).await?;
        for row in curated.iter().filter_map(|pk| rows.get(pk)) {
            if let Some(answer) = self.curated_answer(row).await? {
                return Ok(Some(answer));
            }
        }
        match learned.and_then(|pk| rows.get(&pk).cloned()) {
            Some(row) => self.unpack(&row, "body").await,
            None => Ok(None),
        }
    }

    /// The learned answer, as a write of the transaction that ends its reply.
    pub(super) async fn learn_action(
        &self,
        hex: &str,
        answer: &StoredAnswer,
    ) -> Result<TransactWriteItem, Error> {
        let expires_at = self.expiry(self.retention.answers);
        let mut row = Item::from([
            ("pk".to_owned(), item::s(item::learned_pk(hex))),
            ("kind".to_owned(), item::s("learned")),
            ("expires_at".to_owned(), item::n(expires_at)),
        ]);
        row.extend(self.pack("body", answer, ROOMY, Some(expires_at)).await?);
        let put = Put::builder().table_name(&self.tables.answers).set_item(Some(row));
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    /// None where the row was not made by people: a question must never reach what was learned.
    async fn curated_answer(&self, row: &Item) -> Result<Option<StoredAnswer>, Error> {
        if item::text(row, "kind").is_some_and(|kind| kind != "curated") {
            return Ok(None);
        }
        let Some(text) = self.unpack_text(row, "answer").await? else {
            return Ok(None);
        };
        Ok(Some(StoredAnswer {
            deltas: vec![Delta::text(text)],
            stop_reason: StopReason::EndTurn,
            model: None,
            sources: Vec::new(),
            curated: true,
        }))
    }

    /// The live rows under these keys of the answers table.
    async fn answer_rows(&self, keys: impl Iterator<Item = &String>) -> Result<HashMap<String, Item>, Error> {
        let mut pks: Vec<&String> = keys.collect();
        pks.sort();
        pks.dedup();
        let mut rows = HashMap::new();
        if pks.is_empty() {
            return Ok(rows);
        }
        let keys = pks.into_iter().map(|pk| Item::from([("pk".to_owned(), item::s(pk))])).collect();
        let ask = built(KeysAndAttributes::builder().set_keys(Some(keys)).build())?;
        let mut open = HashMap::from([(self.tables.answers.clone(), ask)]);
        let mut attempt = 0;
        let count = |open: &HashMap<String, KeysAndAttributes>| {
            open.values().map(|ask| ask.keys().len()).sum::<usize>()
        };
        loop {
            let before = count(&open);
            let reply = self.client.batch_get_item().set_request_items(Some(open)).send().await;
            let reply = reply.map_err(|error| away("find answer", &error))?;
            for row in reply.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                if let (Some(pk), true) = (item::text(&row, "pk"), item::is_live(&row, self.now_s())) {
                    rows.insert(pk.to_owned(), row);
                }
            }
            open = reply.unprocessed_keys.unwrap_or_default();
            let left = count(&open);
            if left == 0 {
                return Ok(rows);
            }
            attempt = if left < before { 0 } else { attempt };
            attempt = pause(attempt, "the service left reads undone").await?;
        }
    }
}

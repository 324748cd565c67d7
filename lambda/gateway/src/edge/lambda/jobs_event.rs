//! The `rest` function as the worker of the job queue: SQS events, one batch at a time.

use super::runtime::Answer;
use crate::chat::Caller;
use crate::gateway::Gateway;
use crate::queue::{Worked, Worker};
use aws_lambda_events::sqs::SqsEvent;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// What a message of the queue says: the job's row has the rest.
#[derive(Debug, Deserialize, Serialize)]
pub struct JobMessage {
    /// Whose job.
    pub caller: Caller,
    /// Which.
    pub id: String,
}

/// Works off a batch. Messages that are not done are named, and SQS delivers them again.
pub async fn handle(gateway: &Arc<Gateway>, event: &[u8]) -> Answer {
    let batch: SqsEvent = match serde_json::from_slice(event) {
        Ok(batch) => batch,
        Err(error) => return Answer::Failed(format!("This is no SQS event: {error}")),
    };
    let mut failures = Vec::new();
    for message in batch.records {
        let id = message.message_id.unwrap_or_default();
        if !is_done(gateway, message.body.as_deref().unwrap_or_default(), &id).await {
            failures.push(json!({"itemIdentifier": id}));
        }
    }
    Answer::Whole(json!({"batchItemFailures": failures}))
}

async fn is_done(gateway: &Arc<Gateway>, body: &str, message_id: &str) -> bool {
    let Ok(job) = serde_json::from_str::<JobMessage>(body) else {
        // After its last delivery the queue puts it among its dead letters.
        tracing::error!(message_id, "a message names no job");
        return false;
    };
    match gateway.work(&job.caller, &job.id).await {
        Ok(Worked::Done) => true,
        Ok(Worked::Again(_)) => false,
        Err(error) => {
            tracing::warn!(job = job.id, %error, "a job was not worked off");
            false
        }
    }
}

//! What stopped an upload, in sentences for the person who runs it.
//!
//! These name the table and its region, which no answer of a door does: whoever reads them named
//! both on the command line.

use super::Shared;
use crate::error::{Error, Kind};
use crate::store::causes;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::time::Duration;

/// A table that is written to, and its keys.
#[derive(Debug)]
pub(super) struct Place {
    /// Its name.
    pub table: String,
    /// The names of the keys that its rows must have.
    pub keys: &'static [&'static str],
}

impl Place {
    /// The table of answers.
    pub(super) fn answers(table: &str) -> Place {
        Place { table: table.to_owned(), keys: &["pk"] }
    }

    /// The table of everything else.
    pub(super) fn state(table: &str) -> Place {
        Place { table: table.to_owned(), keys: &["pk", "sk"] }
    }

    /// The table is not one that the gateway reads.
    pub(super) fn wrong_key(&self) -> String {
        let whose = if self.keys.len() == 1 { "answers (ANSWERS_TABLE)" } else { "state (STATE_TABLE)" };
        format!("Table {} is no table for {whose}. {}", self.table, self.key())
    }

    fn key(&self) -> &'static str {
        match self.keys.len() {
            1 => "Its key must be the partition key `pk`, a string, without a sort key.",
            _ => "Its key must be the partition key `pk` and the sort key `sk`, both strings.",
        }
    }
}

/// Refusals that pass by themselves.
const THROTTLED: [&str; 4] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceededException",
];

/// Refusals of whoever asks.
const CREDENTIALS: [&str; 7] = [
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "MissingAuthenticationTokenException",
    "IncompleteSignatureException",
    "NotAuthorizedException",
];

/// Ok where it is worth trying again: what to say should that be in vain.
pub(super) fn again_or_not<E>(
    shared: &Shared,
    place: &Place,
    error: &SdkError<E, HttpResponse>,
) -> Result<Error, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match passes(error) {
        true if error.code().is_some_and(|code| THROTTLED.contains(&code)) => {
            Ok(throttled(&place.table, error.message(), shared.patience))
        }
        true => Ok(sentence(&shared.client, place, "BatchWriteItem", error)),
        false => Err(sentence(&shared.client, place, "BatchWriteItem", error)),
    }
}

/// Throttling, the service's own faults, and whatever lies between it and us.
pub(super) fn passes<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        _ => {
            let server_side = error.raw_response().is_some_and(|raw| raw.status().as_u16() >= 500);
            server_side || error.code().is_some_and(|code| THROTTLED.contains(&code))
        }
    }
}

/// The table takes nothing.
pub(super) fn throttled(table: &str, said: Option<&str>, patience: Duration) -> Error {
    let said = said.map(|said| format!(" DynamoDB says: {said}")).unwrap_or_default();
    let seconds = patience.as_secs();
    unavailable(format!(
        "Table {table} has taken no row for {seconds} s, because it is throttled. Raise its write capacity, \
         or wait.{said}"
    ))
}

/// Nothing was heard.
pub(super) fn silent(client: &Client) -> Error {
    out_of_reach(client, "it does not answer")
}

fn out_of_reach(client: &Client, why: &str) -> Error {
    unavailable(format!(
        "DynamoDB in region {} cannot be reached: {why}. Check the network, the region (REGION_ID or \
         AWS_REGION) and AWS_ENDPOINT_URL_DYNAMODB.",
        region(client)
    ))
}

fn region(client: &Client) -> &str {
    client.config().region().map_or("(none)", |region| region.as_ref())
}

/// A refusal in a sentence that says what to do.
pub(super) fn sentence<E>(
    client: &Client,
    place: &Place,
    action: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (region, table) = (region(client), &place.table);
    let Some(code) = error.code() else {
        return out_of_reach(client, &causes(error));
    };
    let said = error.message().unwrap_or("nothing more");
    unavailable(match code {
        "ResourceNotFoundException" => format!(
            "Table {table} does not exist in region {region}. Check its name (`aws dynamodb list-tables \
             --region {region}` lists them) and the region (REGION_ID or AWS_REGION)."
        ),
        "AccessDeniedException" => {
            let resource = resource(said)
                .unwrap_or_else(|| format!("arn:aws:dynamodb:{region}:<your account>:table/{table}"));
            format!(
                "Access was denied: these credentials need the action `dynamodb:{action}` on `{resource}`. \
                 AWS says: {said}"
            )
        }
        "ValidationException" => {
            format!("Table {table} does not take these rows. {} DynamoDB says: {said}", place.key())
        }
        _ if CREDENTIALS.contains(&code) => format!(
            "AWS refuses the credentials ({code}: {said}). Log in again, or check AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE and this machine's clock."
        ),
        _ => format!("DynamoDB in region {region} answered {code}: {said}"),
    })
}

/// The ARN behind `on resource:` in AWS's own words.
fn resource(said: &str) -> Option<String> {
    let (_, behind) = said.split_once("on resource: ")?;
    behind.split_whitespace().next().map(str::to_owned)
}

pub(super) fn unavailable(message: String) -> Error {
    Error::new(Kind::Unavailable, message)
}

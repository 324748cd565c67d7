//! A look at the machine's settings and at the tables before an upload or a gateway begins.

use super::failure::{Place, passes, sentence, unavailable};
use crate::error::Error;
use crate::store::Store;
#[cfg(feature = "aws")]
use aws_sdk_dynamodb::config::ProvideCredentials;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{KeyType, ScalarAttributeType, TableDescription};
#[cfg(feature = "aws")]
use aws_types::{SdkConfig, service_config::ServiceConfigKey};
#[cfg(feature = "aws")]
use std::time::Duration;
#[cfg(feature = "aws")]
use tokio::time::timeout;

/// How long the search for credentials may take: away from EC2 it ends with a metadata server that
/// never answers.
#[cfg(feature = "aws")]
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

impl Store {
    /// Looks whether there are credentials, and whether an endpoint that somebody has set is one:
    /// the SDK takes an empty one for a mistake in its own code, and panics.
    ///
    /// # Errors
    /// A sentence that says what to set, within 5 s.
    #[cfg(feature = "aws")]
    pub async fn check_settings(config: &SdkConfig) -> Result<(), Error> {
        if Store::endpoint(config).is_some_and(|url| !is_url(&url)) {
            return Err(unavailable(
                "AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL is no URL. Unset it, or write it with http:// or \
                 https://."
                    .to_owned(),
            ));
        }
        let none = || {
            unavailable(
                "No AWS credentials were found for DynamoDB. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 AWS_PROFILE."
                    .to_owned(),
            )
        };
        let provider = config.credentials_provider().ok_or_else(none)?;
        let found = timeout(SEARCH_LIMIT, provider.provide_credentials()).await.map_err(|_| none())?;
        found.map(|_| ()).map_err(|error| none().because(error))
    }

    /// The endpoint that somebody has set for DynamoDB.
    #[cfg(feature = "aws")]
    pub fn endpoint(config: &SdkConfig) -> Option<String> {
        let key = ServiceConfigKey::builder()
            .service_id("dynamodb")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url");
        let own = key.build().ok().and_then(|key| config.service_config()?.load_config(key));
        own.or_else(|| config.endpoint_url().map(str::to_owned))
    }

    /// Looks whether the answers table is there and has the key that answers are read by, and gives
    /// what tells it from others of its name. Whoever may write but not describe is let through.
    ///
    /// # Errors
    /// A sentence that names the table, its region and what to do.
    pub async fn check_answers_table(&self) -> Result<Option<String>, Error> {
        self.check_table(&Place::answers(&self.tables.answers)).await
    }

    /// The same of the state table.
    ///
    /// # Errors
    /// As [`Store::check_answers_table`].
    pub async fn check_state_table(&self) -> Result<Option<String>, Error> {
        self.check_table(&Place::state(&self.tables.state)).await
    }

    async fn check_table(&self, place: &Place) -> Result<Option<String>, Error> {
        let described = self.client.describe_table().table_name(&place.table).send().await;
        match described.map(|reply| reply.table) {
            Ok(Some(table)) if has_keys(&table, place.keys) => Ok(table.table_id.or(table.table_arn)),
            Ok(_) => Err(unavailable(place.wrong_key())),
            Err(error) if error.code() == Some("AccessDeniedException") => Ok(None),
            // A server that does not answer this one question may take rows all the same.
            Err(error) if error.code().is_some() && passes(&error) => Ok(None),
            Err(error) => Err(sentence(&self.client, place, "DescribeTable", &error)),
        }
    }
}

/// These, all of them strings, and no others.
fn has_keys(table: &TableDescription, keys: &[&str]) -> bool {
    let kinds = [KeyType::Hash, KeyType::Range];
    let schema = table.key_schema();
    let string = |key: &&str| {
        table.attribute_definitions().iter().any(|attribute| {
            attribute.attribute_name() == *key && *attribute.attribute_type() == ScalarAttributeType::S
        })
    };
    schema.len() == keys.len()
        && schema.iter().zip(keys).all(|(key, name)| key.attribute_name() == *name)
        && schema.iter().zip(&kinds).all(|(key, kind)| key.key_type() == kind)
        && keys.iter().all(string)
}

#[cfg(feature = "aws")]
fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some())
}

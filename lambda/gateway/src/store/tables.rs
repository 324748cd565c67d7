//! The two tables, made where nobody else makes them. In the stack that is the deployment's part.

use super::{Store, built, causes, unavailable};
use crate::error::Error;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use std::time::Duration;

/// The attribute that says when a row has expired.
const EXPIRY: &str = "expires_at";

/// A table that is being made is looked at this often,
const LOOK: Duration = Duration::from_millis(500);
/// and this many times: AWS takes some seconds.
const LOOKS: u32 = 120;

impl Store {
    /// Creates both tables and declares their TTL, each where that has not been done, and waits until
    /// they can be used.
    ///
    /// # Errors
    /// `Unavailable`; what was made until then stays and is found the next time.
    pub async fn create_tables(&self) -> Result<(), Error> {
        self.create_table(&self.tables.answers, &["pk"]).await?;
        self.create_table(&self.tables.state, &["pk", "sk"]).await
    }

    /// Does DynamoDB remove the expired rows of this table by itself? None where it may not be asked.
    pub async fn expires(&self, table: &str) -> Option<bool> {
        let reply = self.client.describe_time_to_live().table_name(table).send().await.ok()?;
        let ttl = reply.time_to_live_description?;
        let on =
            matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
        Some(on && ttl.attribute_name.as_deref() == Some(EXPIRY))
    }

    async fn create_table(&self, name: &str, keys: &[&str]) -> Result<(), Error> {
        let known = self.client.describe_time_to_live().table_name(name).send().await;
        if known.is_err() {
            let mut create =
                self.client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
            for (key, kind) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
                let schema = KeySchemaElement::builder().attribute_name(*key).key_type(kind).build();
                let string = AttributeDefinition::builder().attribute_name(*key);
                let string = string.attribute_type(ScalarAttributeType::S).build();
                create = create.key_schema(built(schema)?).attribute_definitions(built(string)?);
            }
            create.send().await.map_err(|error| failed(name, &error))?;
            self.await_table(name).await?;
        }
        let ttl = known.ok().and_then(|reply| reply.time_to_live_description?.time_to_live_status);
        if !matches!(ttl, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRY).build();
            let declare = self.client.update_time_to_live().table_name(name);
            let declared = declare.time_to_live_specification(built(ttl)?).send().await;
            declared.map_err(|error| failed(name, &error))?;
        }
        Ok(())
    }

    async fn await_table(&self, name: &str) -> Result<(), Error> {
        for _ in 0..LOOKS {
            let reply = self.client.describe_table().table_name(name).send().await;
            let table = reply.map_err(|error| failed(name, &error))?.table;
            if table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(unavailable(format!("{name}: it is still being made")))
    }
}

fn failed(name: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    unavailable(format!("{name}: {}", causes(error)))
}

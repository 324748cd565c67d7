//! WebSocket connections: who is at the other end.

use super::{Store, away, item};
use crate::chat::Caller;
use crate::error::Error;

const SK: &str = "conn";

impl Store {
    /// Remembers whose connection this is, at `$connect`.
    pub async fn put_connection(&self, id: &str, caller: &Caller) -> Result<(), Error> {
        let mut row = item::key(&item::connection_pk(id), SK);
        row.insert("caller".to_owned(), item::s(&caller.0));
        row.insert("expires_at".to_owned(), item::n(self.expiry(self.retention.connections)));
        self.put(row).await
    }

    /// Whose connection it is.
    pub async fn connection(&self, id: &str) -> Result<Option<Caller>, Error> {
        let row = self.row(&item::connection_pk(id), SK).await?;
        Ok(row.and_then(|row| item::text(&row, "caller").map(|caller| Caller(caller.to_owned()))))
    }

    /// Forgets a connection that ended.
    pub async fn delete_connection(&self, id: &str) -> Result<(), Error> {
        let delete = self.client.delete_item().table_name(&self.tables.state);
        let reply = delete.set_key(Some(item::key(&item::connection_pk(id), SK))).send().await;
        reply.map(|_| ()).map_err(|error| away("delete", &error))
    }
}

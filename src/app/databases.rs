//! Databases by address: each is opened once and shared.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::database::{self, Database, DatabaseError, Databases};

/// Databases of this process. Relative files are relative to the project folder.
#[derive(Debug)]
pub struct OpenDatabases {
    base: PathBuf,
    open: Mutex<BTreeMap<String, Arc<dyn Database>>>,
}

impl OpenDatabases {
    /// With a base folder for relative files.
    #[must_use]
    pub fn new(base: PathBuf) -> Self {
        Self { base, open: Mutex::default() }
    }
}

impl Databases for OpenDatabases {
    fn open(&self, address: &str) -> Result<Arc<dyn Database>, DatabaseError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.get(address) {
            return Ok(database.clone());
        }
        let database = database::open(address, &self.base)?;
        open.insert(address.to_owned(), database.clone());
        Ok(database)
    }

    fn close_all(&self) -> BoxFuture<'_, ()> {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move {
            for database in open.into_values() {
                database.close().await;
            }
        })
    }
}

//! Databases by address: each is opened once and shared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::database::address::Address;
use crate::database::{self, Database, DatabaseError, Databases};

/// Databases of this process. Relative files are relative to the project folder; files outside of it are opened only
/// if the person named them.
#[derive(Debug)]
pub struct OpenDatabases {
    base: PathBuf,
    granted: Vec<PathBuf>,
    open: Mutex<BTreeMap<String, Arc<dyn Database>>>,
}

impl OpenDatabases {
    /// With a base folder, and the files outside of it that may be opened.
    #[must_use]
    pub fn new(base: PathBuf, granted: Vec<PathBuf>) -> Self {
        Self { base, granted, open: Mutex::default() }
    }
}

/// The file of an address that can be a database, as far as that can be known without opening it.
///
/// # Errors
/// [`DatabaseError::Address`] with the way out.
pub fn fits(address: &str, base: &Path) -> Result<PathBuf, DatabaseError> {
    let Address::Sqlite(path) = Address::parse(address, base)?;
    if path.is_dir() {
        return Err(DatabaseError::Address(format!(
            "`{}` is a folder, and a database is a file; hint: name a file in it, `{}/tables.db`",
            path.display(),
            address.trim_end_matches('/')
        )));
    }
    Ok(path)
}

impl Databases for OpenDatabases {
    fn open(&self, address: &str) -> Result<Arc<dyn Database>, DatabaseError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.get(address) {
            return Ok(database.clone());
        }
        let path = fits(address, &self.base)?;
        database::may_touch(&path, &self.base, &self.granted)?;
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

//! A database written from the beginning, to take the place of another.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::batch::Batch;
use crate::database;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::open;
use crate::options::Durability;
use crate::row::RowBuilder;

/// The next generation while it is being written: it counts once it is finished.
pub(crate) struct NewGeneration {
    generation: u64,
    connection: Connection,
    builder: RowBuilder,
}

impl NewGeneration {
    /// Begins the one after `generation`.
    pub fn begin(directory: &Directory, generation: u64) -> Result<NewGeneration, StoreError> {
        let generation = generation + 1;
        directory.remove_generation(generation)?;
        let created = database::create(&directory.unfinished(generation));
        let connection = created.map_err(StoreError::database("making the new database"))?;
        connection.execute_batch("BEGIN").map_err(refused())?;
        Ok(NewGeneration {
            generation,
            connection,
            builder: RowBuilder::new(1),
        })
    }

    /// Takes in a record whose checks are not masked.
    pub fn push(&mut self, record: &[u8]) -> Result<(), StoreError> {
        if self.builder.is_full_for(record.len()) {
            self.end_row()?;
        }
        self.builder.push(record);
        Ok(())
    }

    pub fn copy_quarantine(&self, from: &Connection) -> Result<(), StoreError> {
        copy_quarantine(from, &self.connection).map_err(refused())
    }

    /// Puts it in the place of the generation before it, and returns its number.
    pub fn finish(mut self, directory: &Directory) -> Result<u64, StoreError> {
        self.end_row()?;
        self.connection.execute_batch("COMMIT").map_err(refused())?;
        drop(self.connection);
        directory.finish(self.generation)?;
        directory.remove_generation(self.generation - 1)?;
        Ok(self.generation)
    }

    fn end_row(&mut self) -> Result<(), StoreError> {
        let next = RowBuilder::new(self.builder.row() + 1);
        let full = std::mem::replace(&mut self.builder, next);
        let statement = "INSERT INTO log VALUES (?1, ?2)";
        let mut insert = self
            .connection
            .prepare_cached(statement)
            .map_err(refused())?;
        let inserted = insert.execute((full.row() as i64, full.finish(1)));
        inserted.map(drop).map_err(refused())
    }
}

fn refused() -> impl FnOnce(rusqlite::Error) -> StoreError {
    StoreError::database("writing the new database")
}

fn copy_quarantine(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    let mut rows = from.prepare("SELECT row, what, bytes FROM quarantine ORDER BY id")?;
    let mut rows = rows.query([])?;
    while let Some(found) = rows.next()? {
        to.execute(
            "INSERT INTO quarantine (row, what, bytes) VALUES (?1, ?2, ?3)",
            (
                found.get::<_, i64>(0)?,
                found.get::<_, String>(1)?,
                found.get::<_, Option<Vec<u8>>>(2)?,
            ),
        )?;
    }
    Ok(())
}

/// A store that is being filled from elsewhere: all of it counts at once when it is
/// finished, and nothing before. Dropped, it leaves the store as it was.
pub struct Filling {
    directory: Directory,
    generation: u64,
    new: Option<NewGeneration>,
}

impl Filling {
    /// Begins to fill the store in directory `path`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotEmpty`] if it holds anything, else as
    /// [`Store::open`](crate::Store::open).
    pub fn begin(path: &Path) -> Result<Filling, StoreError> {
        let directory = Directory::open(path)?;
        let opened = open::open_log(&directory, Durability::Disk)?;
        if opened.index.live_records() > 0 {
            return Err(StoreError::NotEmpty {
                directory: PathBuf::from(path),
            });
        }
        let generation = opened.generation;
        drop(opened);
        let new = Some(NewGeneration::begin(&directory, generation)?);
        Ok(Filling {
            directory,
            generation,
            new,
        })
    }

    /// Takes a batch in.
    pub fn add(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if let Some(new) = &mut self.new {
            for (_, record) in batch.iter() {
                new.push(record)?;
            }
        }
        Ok(())
    }

    /// Has the store be what was added, on the disk when this returns.
    pub fn finish(mut self) -> Result<(), StoreError> {
        match self.new.take() {
            Some(new) => new.finish(&self.directory).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.new.take().is_some() {
            // What is left is removed when the next one begins.
            let _ = self.directory.remove_generation(self.generation + 1);
        }
    }
}

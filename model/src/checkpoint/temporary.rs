//! The directory a checkpoint is written to before it gets its name.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::WriteError;

pub(super) fn write_flushed(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The directory a checkpoint is written to before it gets its name. Removed when dropped.
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    parent: PathBuf,
    /// After the rename the name may belong to the next writer already.
    renamed: bool,
}

impl Temporary {
    /// Checks that nothing is at the target but an empty directory.
    pub(super) fn refuse_existing(target: &Path) -> Result<(), WriteError> {
        let unwritable = |source| WriteError::Unwritable { file: target.to_owned(), source };
        let exists = match target.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(unwritable(error)),
            Ok(metadata) if metadata.is_dir() => {
                fs::read_dir(target).map_err(unwritable)?.next().is_some()
            }
            Ok(_) => true,
        };
        if exists { Err(WriteError::TargetExists { target: target.to_owned() }) } else { Ok(()) }
    }

    pub(super) fn beside(target: &Path) -> Result<Self, WriteError> {
        let Some(name) = target.file_name() else {
            return Err(WriteError::TargetUnnamed { target: target.to_owned() });
        };
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let path = parent.join(hidden);
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self { path, parent, renamed: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(WriteError::Locked { temporary: path })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(WriteError::ParentMissing { parent })
            }
            Err(source) => Err(WriteError::Unwritable { file: path, source }),
        }
    }

    /// Gives the directory its name. The target may be an empty directory, which is replaced.
    pub(super) fn rename_to(mut self, target: &Path) -> Result<(), WriteError> {
        let unwritable = |file: &Path, source| WriteError::Unwritable { file: file.into(), source };
        sync_directory(&self.path).map_err(|source| unwritable(&self.path, source))?;
        fs::rename(&self.path, target).map_err(|source| match source.kind() {
            // Somebody else made it meanwhile.
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                WriteError::TargetExists { target: target.to_owned() }
            }
            _ => unwritable(target, source),
        })?;
        self.renamed = true;
        sync_directory(&self.parent).map_err(|source| unwritable(&self.parent, source))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // A failure to clean up has nobody to tell: the error that led here is on its way.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Makes the names in a directory durable.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes the names in a directory durable: other systems do it with the files.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

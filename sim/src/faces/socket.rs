use super::stop::{Stop, Watch, Woken, wait};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket in the file system that takes its name away when it goes.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. A socket that an ended process left there is replaced.
    ///
    /// Errors: somebody listens there; another kind of file is there; the folder is not writable.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                let what = "a file is there that is not a socket: choose another path";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            if UnixStream::connect(path).is_ok() {
                let what = "another process serves there: end it, or choose another path";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next client; `None` when it is time to end.
    ///
    /// Errors: what the system says.
    pub(crate) fn accept(&self, stop: &Stop) -> io::Result<Option<UnixStream>> {
        loop {
            if wait(&[Watch::reading(&self.listener)], stop, None)? == Woken::Stopped {
                return Ok(None);
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Some(stream));
                }
                // The client left between knocking and being let in.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever has taken it away has done the work.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::stop_pair;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let folder = std::env::temp_dir().join(format!("litecore-socket-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the name behind");
        let socket = Socket::bind(&path).unwrap();
        let second = Socket::bind(&path).unwrap_err();
        assert!(second.to_string().contains("another process serves there"), "{second}");
        let (stopper, stop) = stop_pair().unwrap();
        assert!(socket.accept(&stop).unwrap().is_some(), "the second bind knocked");
        assert!(!stop.is_stopped());
        stopper.stop();
        assert!(stop.is_stopped());
        assert!(socket.accept(&stop).unwrap().is_none());
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert!(Socket::bind(&path).unwrap_err().to_string().contains("not a socket"));
        fs::remove_dir_all(&folder).unwrap();
    }
}

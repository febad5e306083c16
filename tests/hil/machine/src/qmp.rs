//! Orders to a running QEMU: pulling a card out of its slot and putting one in.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and is greeted.
    ///
    /// Errors: nobody is there, or it is not QEMU.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.line()?;
        qmp.order(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(qmp)
    }

    /// Gives an order and waits until it is accepted.
    ///
    /// Errors: QEMU refuses it, in its own words.
    pub(crate) fn order(&mut self, order: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(order.as_bytes())?;
        stream.write_all(b"\n")?;
        loop {
            let line = self.line()?;
            let answer: serde_json::Value = serde_json::from_str(&line)?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(error.to_string()));
            }
            // An event of the machine; somebody else may wait for those.
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }
}

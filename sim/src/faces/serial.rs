use super::stop::{Clock, Stop, Woken, wait};
use super::stream::{Ended, Line, converse};
use litecore_hal::pipe::PipeEnd;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The emulated card at the far end of a serial port: a pseudo-terminal whose name is linked to
/// from a path of the user's choice. The link is taken away when it goes.
#[derive(Debug)]
pub struct SerialPort {
    link: PathBuf,
    /// What the link leads to until somebody serves there.
    first: Option<Terminal>,
}

/// One pseudo-terminal: the card's end, and the client's end held open, so that a client that
/// leaves does not hang the line up for the next one.
#[derive(Debug)]
struct Terminal {
    card: OwnedFd,
    _client: OwnedFd,
    name: PathBuf,
}

/// How often a card that is unplugged is asked whether it is back, when it does not know itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl SerialPort {
    /// Takes the path. A link that leads nowhere any more is replaced; one that an ended process left
    /// there may lead to a terminal of somebody else's by now, and is not.
    ///
    /// Errors: something else is there; the folder is not writable.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_symlink() => {
                let what = "a file is there: choose a path that is free";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Ok(_) if path.exists() => {
                let what = "a link is there that leads somewhere: end the emulator that serves \
                            there, or remove what an ended one has left, or choose another path";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Ok(_) => fs::remove_file(path)?,
            Err(_) => {}
        }
        let terminal = Terminal::open()?;
        let port = Self { link: path.to_owned(), first: Some(terminal) };
        if let Some(terminal) = &port.first {
            port.point_to(&terminal.name)?;
        }
        Ok(port)
    }

    /// Serves until it is stopped. While the card is unplugged, the path leads nowhere.
    ///
    /// `note` gets a line for whoever watches when the port appears or goes.
    ///
    /// Errors: what the system says.
    pub fn serve(
        &mut self,
        end: &mut dyn PipeEnd,
        clock: &Clock,
        stop: &Stop,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        loop {
            let terminal = match self.first.take() {
                Some(terminal) => terminal,
                None => Terminal::open()?,
            };
            self.point_to(&terminal.name)?;
            note(&format!("the card is at {}", terminal.name.display()));
            let ended = converse(&terminal.card, &mut Line { end }, clock, stop)?;
            let _ = fs::remove_file(&self.link);
            if ended == Ended::Stopped {
                return Ok(());
            }
            note("the card is unplugged");
            drop(terminal);
            while !end.is_there() {
                let time = clock.until(end.next_wakeup_ns()).unwrap_or(LOOK_AGAIN).max(LOOK_AGAIN);
                if wait(&[], stop, Some(time))? == Woken::Stopped {
                    return Ok(());
                }
                // The card's own time passes in this call.
                end.transmit(clock.now_ns(), &mut Vec::new());
            }
        }
    }

    /// Leads the link to a terminal in one step, so that no client finds it missing half-way.
    fn point_to(&self, target: &Path) -> io::Result<()> {
        let mut name = self.link.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = self.link.with_file_name(name);
        let _ = fs::remove_file(&fresh);
        symlink(target, &fresh)?;
        fs::rename(&fresh, &self.link)
    }
}

impl Drop for SerialPort {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.link).is_ok_and(|found| found.is_symlink()) {
            let _ = fs::remove_file(&self.link);
        }
    }
}

impl Terminal {
    fn open() -> io::Result<Self> {
        let card = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&card)?;
        unlockpt(&card)?;
        let name = PathBuf::from(OsStr::from_bytes(ptsname(&card, Vec::new())?.as_bytes()));
        let client = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&client)?;
        settings.make_raw();
        tcsetattr(&client, OptionalActions::Now, &settings)?;
        fcntl_setfl(&card, fcntl_getfl(&card)? | OFlags::NONBLOCK)?;
        Ok(Self { card, _client: client, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::echo::Echo;
    use crate::faces::stop_pair;
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    /// A free path that is taken away again.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("litecore-serial-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn every_byte_value_passes_and_a_second_client_is_served() {
        let place = Place::new("bytes");
        let mut port = SerialPort::bind(&place.0).unwrap();
        let (stopper, stop) = stop_pair().unwrap();
        let (up, is_up) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let mut note = |line: &str| up.send(line.to_owned()).unwrap();
                port.serve(&mut Echo::new(), &Clock::start(), &stop, &mut note)
            });
            assert!(is_up.recv().unwrap().starts_with("the card is at /dev/"));
            for client in 0..2_u8 {
                let mut line = File::options().read(true).write(true).open(&place.0).unwrap();
                let sent: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_add(client)).collect();
                line.write_all(&sent).unwrap();
                let mut back = [0; 256];
                line.read_exact(&mut back).unwrap();
                assert_eq!(back[..], sent);
            }
            stopper.stop();
            serving.join().unwrap().unwrap();
        });
        assert!(fs::symlink_metadata(&place.0).is_err(), "the link is gone");
    }

    #[test]
    fn a_stale_link_is_replaced_and_anything_else_is_not() {
        let place = Place::new("stale");
        symlink("/dev/pts/no-such-terminal", &place.0).unwrap();
        drop(SerialPort::bind(&place.0).unwrap());
        fs::write(&place.0, "text").unwrap();
        assert!(SerialPort::bind(&place.0).unwrap_err().to_string().contains("a file is there"));
        fs::remove_file(&place.0).unwrap();
        symlink("/dev/null", &place.0).unwrap();
        assert!(SerialPort::bind(&place.0).unwrap_err().to_string().contains("leads somewhere"));
    }
}

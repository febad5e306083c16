//! The emulated cards of a machine: one `litecore emulate` process each.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

/// A card to emulate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CardPlan {
    /// The name of its socket or port in the folder of cards, and what it calls itself on USB.
    pub(crate) name: &'static str,
    /// Where it is plugged in.
    pub(crate) port: Port,
    /// Its faults, as `litecore emulate --faults` reads them; empty for none.
    pub(crate) faults: &'static str,
    /// Most bytes of one of its transfers; the usual, if there is no number.
    pub(crate) transfer_max: Option<u32>,
}

/// Where a card can be plugged into a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The PCI Express root, at this device number.
    Pci(u8),
    /// The USB host controller.
    Usb,
    /// The same, as a modem.
    Modem,
    /// A serial port of the 8250 kind.
    Uart,
    /// A serial port of the FTDI kind, behind USB.
    Ftdi,
    /// The kernel's own virtual USB host controller.
    UsbIp,
}

impl Port {
    /// What stands before the colon of `--listen`.
    fn face(self) -> &'static str {
        match self {
            Self::Pci(_) => "vfio-user",
            Self::Usb => "usb-redir",
            Self::Modem => "usb-redir-acm",
            Self::Uart | Self::Ftdi => "serial",
            Self::UsbIp => "usbip",
        }
    }
}

/// A running card; it ends when this goes.
#[derive(Debug)]
pub(crate) struct Card {
    child: Child,
    /// What it says, for the log.
    said: Receiver<String>,
    name: String,
}

/// How long a card may take until its socket is there.
const START: Duration = Duration::from_secs(10);

/// What a card is an instance of, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chip {
    pub(crate) name: &'static str,
    pub(crate) seed: u32,
}

impl Card {
    /// Starts a card and waits until it listens.
    ///
    /// Errors: the program does not start, or ends, or does not listen in time.
    pub(crate) fn start(
        litecore: &Path,
        chip: Chip,
        plan: CardPlan,
        folder: &Path,
    ) -> io::Result<Self> {
        let at = folder.join(plan.name);
        let mut command = Command::new(litecore);
        command.args(["emulate", "--chip", chip.name, "--chip-seed", &chip.seed.to_string()]);
        command.arg("--listen").arg(format!("{}:{}", plan.port.face(), at.display()));
        command.args(["--usb-serial", plan.name]);
        if let Some(bytes) = plan.transfer_max {
            command.arg("--transfer-max").arg(bytes.to_string());
        }
        if !plan.faults.is_empty() {
            let file = folder.join(format!("{}-faults.json", plan.name));
            fs::write(&file, plan.faults)?;
            command.arg("--faults").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().expect("it was started with a pipe");
        let (send, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody may be left to read it.
                let _ = send.send(line);
            }
        });
        let mut card = Self { child, said, name: plan.name.to_owned() };
        card.wait_for(&at)?;
        Ok(card)
    }

    fn wait_for(&mut self, at: &PathBuf) -> io::Result<()> {
        let until = Instant::now() + START;
        while fs::symlink_metadata(at).is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                thread::sleep(Duration::from_millis(50));
                let said: Vec<String> = self.said.try_iter().collect();
                let what = format!("the card {} does not listen: {}", self.name, said.join("; "));
                return Err(io::Error::other(what));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What it has said since it was last asked.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.try_iter().map(|line| format!("card {}: {line}", self.name)).collect()
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

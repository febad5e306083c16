use super::watched::{SharedFunction, SharedPipe, Watched};
use litecore_firmware_proto::arq::Flavor;
use litecore_hal::pci::{InProcessFunction, RingLink, RingOptions};
use litecore_hal::pipe::{InProcessPipe, PipeFraming, PipeLink, PipeOptions};
use litecore_hal::{
    CardDevice, CardOptions, Deadline, DeviceError, DeviceUri, Link, LinkError, OpenError,
    OpenOptions, Timeouts, fresh_session, open_card,
};
use litecore_sim::card::{Card, CardOptions as EmulatedOptions, FaultPlan, PciFunction, PipeCard};
use litecore_sim::faces::{Clock, SerialPort, Stopper, VfioUserServer, stop_pair};
use litecore_sim::{SimDevice, SimOptions, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, builtin};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The ways to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Pipe,
    Packets,
    Function,
    Serial,
    VfioUser,
}

pub(crate) const WAYS: [Way; 5] =
    [Way::Pipe, Way::Packets, Way::Function, Way::Serial, Way::VfioUser];

/// What stands at the far end.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) chip: ChipDescription,
    pub(crate) seed: u128,
    pub(crate) terms: Terms,
    pub(crate) card: EmulatedOptions,
    pub(crate) plan: FaultPlan,
    pub(crate) timeouts: Timeouts,
}

impl World {
    /// A sound card with this chip, without impairments.
    pub(crate) fn of(chip: &str) -> Self {
        Self {
            chip: builtin(chip).expect("a shipped chip"),
            seed: 7,
            terms: Terms::none(),
            card: EmulatedOptions::default(),
            plan: FaultPlan::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// The chip without a card around it.
    pub(crate) fn simulator(&self) -> SimDevice {
        let (seed, terms) = (Seed(self.seed), self.terms);
        SimDevice::new(self.chip.clone(), SimOptions { seed, terms, record_timeline: false })
    }

    pub(crate) fn pipe_card(&self, flavor: Flavor) -> PipeCard {
        let card = Card::new(self.simulator(), self.card.clone());
        PipeCard::with_faults(card, flavor, 4096, self.plan.clone())
    }

    pub(crate) fn function(&self) -> PciFunction {
        let card = Card::new(self.simulator(), self.card.clone());
        PciFunction::with_faults(card, self.plan.clone())
    }

    /// The card by itself, to be reached by one way.
    pub(crate) fn card(&self, way: Way) -> Watched {
        let pipe = |flavor| Watched::Pipe(SharedPipe::new(self.pipe_card(flavor)));
        match way {
            Way::Function | Way::VfioUser => {
                Watched::Function(SharedFunction::new(self.function()))
            }
            Way::Packets => pipe(Flavor::Packet),
            Way::Pipe | Way::Serial => pipe(Flavor::Delimited),
        }
    }

    /// A card that is open, by one way.
    pub(crate) fn open(&self, way: Way) -> (CardDevice, Far) {
        self.try_open(way).expect("an open card")
    }

    /// The same, where it may fail.
    pub(crate) fn try_open(&self, way: Way) -> Result<(CardDevice, Far), OpenError> {
        match way {
            Way::Pipe | Way::Packets | Way::Function => {
                let card = self.card(way);
                let link = self.link_to(way, &card).map_err(OpenError::Link)?;
                let mut far = Far::default();
                far.card = Some(card);
                Ok((self.start(link).map_err(OpenError::Card)?, far))
            }
            Way::Serial | Way::VfioUser => {
                let far = self.serve(way);
                Ok((self.open_at(&far.uri())?, far))
            }
        }
    }

    /// Opens an address with this world's times.
    pub(crate) fn open_at(&self, uri: &DeviceUri) -> Result<CardDevice, OpenError> {
        let usual = OpenOptions::usual(fresh_session());
        open_card(uri, &OpenOptions { timeouts: self.timeouts, ..usual })
    }

    pub(crate) fn link(&self, way: Way) -> Result<Box<dyn Link>, LinkError> {
        self.link_to(way, &self.card(way))
    }

    /// A link within this process to a card that may have others.
    pub(crate) fn link_to(&self, way: Way, card: &Watched) -> Result<Box<dyn Link>, LinkError> {
        let soon = Deadline::after(self.timeouts.open);
        Ok(match card {
            Watched::Pipe(end) => {
                let packets = way == Way::Packets;
                let framing = if packets { PipeFraming::Packets } else { PipeFraming::Delimited };
                let pipe = InProcessPipe::new(end.clone(), "card", framing);
                let options = PipeOptions::usual(fresh_session());
                Box::new(PipeLink::open(Box::new(pipe), options, soon)?)
            }
            Watched::Function(function) => {
                let backend = InProcessFunction::new(function.shared(), "card");
                Box::new(RingLink::open(Box::new(backend), RingOptions::default(), soon)?)
            }
        })
    }

    pub(crate) fn start(&self, link: Box<dyn Link>) -> Result<CardDevice, DeviceError> {
        let options = CardOptions { timeouts: self.timeouts, session: fresh_session() };
        let soon = Deadline::after(self.timeouts.open);
        CardDevice::start(link, options, soon)
    }

    /// The card in a thread, behind a face of its own.
    pub(crate) fn serve(&self, way: Way) -> Far {
        let folder = tempfile::tempdir().expect("a folder");
        let mut far = self.serve_at(way, folder.path().join("card"));
        far.folder = Some(folder);
        far
    }

    /// The same at a place of the caller's choice.
    pub(crate) fn serve_at(&self, way: Way, path: PathBuf) -> Far {
        let (stopper, stop) = stop_pair().expect("a pair");
        let (up, is_up) = mpsc::channel();
        let card = self.card(way);
        let (place, served) = (path.clone(), card.clone());
        let thread = thread::spawn(move || match served {
            Watched::Function(mut function) => {
                let server = VfioUserServer::bind(&place).expect("a socket");
                up.send(()).expect("somebody waits");
                server.serve(&mut function, &Clock::start(), &stop, &mut |_| {})
            }
            Watched::Pipe(mut end) => {
                let mut port = SerialPort::bind(&place).expect("a port");
                let mut told = Some(up);
                port.serve(&mut end, &Clock::start(), &stop, &mut |_| {
                    if let Some(up) = told.take() {
                        up.send(()).expect("somebody waits");
                    }
                })
            }
        });
        is_up.recv_timeout(Duration::from_secs(5)).expect("it serves");
        let server = Some((stopper, thread));
        Far { way: Some(way), path: Some(path), card: Some(card), server, folder: None }
    }
}

/// The far end of a link, for as long as it is needed.
#[derive(Default)]
pub(crate) struct Far {
    way: Option<Way>,
    path: Option<PathBuf>,
    card: Option<Watched>,
    server: Option<(Stopper, JoinHandle<std::io::Result<()>>)>,
    folder: Option<tempfile::TempDir>,
}

impl Far {
    /// The card itself.
    pub(crate) fn card(&self) -> &Watched {
        self.card.as_ref().expect("a card")
    }

    /// Ends it, and leaves its place for another.
    pub(crate) fn keep_place(mut self) -> PathBuf {
        if let Some(folder) = self.folder.take() {
            // The test's folder of temporary files is small and not worth more.
            let _ = folder.keep();
        }
        self.path.clone().expect("a served card")
    }

    /// Where the driver finds it.
    pub(crate) fn uri(&self) -> DeviceUri {
        let path = self.path.as_ref().expect("a served card").display().to_string();
        match self.way {
            Some(Way::VfioUser) => DeviceUri::VfioUser { socket: path },
            _ => DeviceUri::Serial { port: path },
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if let Some((stopper, thread)) = self.server.take() {
            stopper.stop();
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("the server did not panic").expect("the server did not fail");
            }
        }
    }
}

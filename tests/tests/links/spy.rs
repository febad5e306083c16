use litecore_firmware_proto::{CommandHeader, FaultCode, Opcode};
use litecore_hal::{
    Buffer, Completion, Deadline, Link, LinkCounters, LinkError, LinkInfo, ResetLevel, Unfinished,
};
use std::sync::{Arc, Mutex};

/// A link that is looked at, and meddled with, between driver and card.
pub(crate) struct Spy {
    link: Box<dyn Link>,
    script: Arc<Mutex<Script>>,
    /// Commands whose completions are to say something else.
    forged: Vec<(u64, FaultCode)>,
}

/// What was seen, and what is to be done.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Opcodes of all commands that were submitted, in order.
    pub(crate) seen: Vec<Opcode>,
    /// Resets that were asked for, in order.
    pub(crate) resets: Vec<ResetLevel>,
    /// A byte of the payload of the next command with this opcode changes.
    pub(crate) damage: Option<Opcode>,
    /// The next command with this opcode does not reach the card, and is answered with the fault.
    pub(crate) refuse: Option<(Opcode, FaultCode)>,
}

impl Spy {
    pub(crate) fn on(link: Box<dyn Link>) -> (Box<dyn Link>, Arc<Mutex<Script>>) {
        let script = Arc::new(Mutex::new(Script::default()));
        let spy = Self { link, script: Arc::clone(&script), forged: Vec::new() };
        (Box::new(spy), script)
    }
}

impl Link for Spy {
    fn info(&self) -> &LinkInfo {
        self.link.info()
    }

    fn buffer(&mut self, capacity: usize) -> Result<Buffer, LinkError> {
        self.link.buffer(capacity)
    }

    fn submit(
        &mut self,
        command: &CommandHeader,
        mut payload: Buffer,
        reply: Buffer,
    ) -> Result<(), LinkError> {
        let mut script = self.script.lock().unwrap();
        script.seen.push(command.opcode);
        let mut command = *command;
        if script.damage == Some(command.opcode) {
            script.damage = None;
            payload[0] ^= 1;
        }
        if let Some((opcode, fault)) = script.refuse
            && opcode == command.opcode
        {
            script.refuse = None;
            self.forged.push((command.cookie.0, fault));
            // What the card gets instead has no effect.
            command = CommandHeader::new(command.cookie, Opcode::Telemetry);
            payload.set_len(0);
        }
        drop(script);
        self.link.submit(&command, payload, reply)
    }

    fn poll(&mut self, deadline: Deadline) -> Result<Option<Completion>, LinkError> {
        let mut completion = self.link.poll(deadline)?;
        if let Some(completion) = &mut completion
            && let Some(at) =
                self.forged.iter().position(|(cookie, _)| *cookie == completion.header.cookie.0)
        {
            completion.header.fault = Some(self.forged.remove(at).1);
        }
        Ok(completion)
    }

    fn reset(
        &mut self,
        level: ResetLevel,
        deadline: Deadline,
    ) -> Result<Vec<Unfinished>, LinkError> {
        self.script.lock().unwrap().resets.push(level);
        self.link.reset(level, deadline)
    }

    fn counters(&self) -> LinkCounters {
        self.link.counters()
    }
}

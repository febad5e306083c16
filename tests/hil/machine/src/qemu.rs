//! The machine's command line.

use crate::cards::{CardPlan, Port};
use crate::suite::Share;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The folder that `tests/hil/setup` filled.
    pub(crate) cache: PathBuf,
    /// The first root file system.
    pub(crate) initrd: PathBuf,
    /// The folder with the emulated cards' sockets and ports.
    pub(crate) cards: PathBuf,
    /// The cases to run, in order.
    pub(crate) cases: Vec<&'static str>,
    /// Its cards.
    pub(crate) share: Share,
}

/// Where QEMU's own libraries look for its modules, on systems that have a QEMU installed.
const SYSTEM_MODULES: &str = "/usr/lib/x86_64-linux-gnu/qemu";
/// Enough for kernel, modules, the guest's program, a small model and the cards' arenas.
const MEMORY: &str = "256M";

impl Machine {
    /// QEMU, ready to be started.
    pub(crate) fn command(&self) -> Command {
        let root = self.cache.join("qemu/usr");
        let libraries = root.join("lib/x86_64-linux-gnu");
        let modules = libraries.join("qemu");
        let mut command = Command::new("env");
        if Path::new(SYSTEM_MODULES).exists() {
            // QEMU tries the system's modules too and stops at those of another build: ours are
            // put in their place, for this process alone.
            let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
            command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
            command.arg(&modules).arg(SYSTEM_MODULES).arg("env");
        }
        // It runs on its own C library, so that it runs on older systems.
        command
            .arg(format!("QEMU_MODULE_DIR={}", modules.display()))
            .arg(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(&libraries)
            .arg(root.join("bin/qemu-system-x86_64"))
            .arg("-L")
            .arg(root.join("share/qemu"))
            .arg("-L")
            .arg(root.join("share/seabios"));
        command
            .args(["-M", "q35,accel=tcg,kernel-irqchip=split,memory-backend=memory"])
            .args(["-cpu", "max", "-m", MEMORY, "-nodefaults", "-no-user-config"])
            .args(["-display", "none", "-no-reboot", "-serial", "stdio"])
            // Shared, so that a card in another process reaches it.
            .arg("-object")
            .arg(format!("memory-backend-memfd,id=memory,size={MEMORY},share=on"))
            .args(["-device", "intel-iommu,intremap=on,caching-mode=on"]);
        command.args(["-device", "qemu-xhci,p2=8,p3=8", "-device", "edu,dma_mask=0xffffffff"]);
        for card in self.share.cards {
            self.plug(&mut command, card);
        }
        self.kernel(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Plugs a card in.
    fn plug(&self, command: &mut Command, card: &CardPlan) {
        let (name, path) = (card.name, self.cards.join(card.name));
        let socket = format!("socket,id={name},path={}", path.display());
        match card.port {
            Port::Pci(at) => {
                // Only this form of the argument takes a socket.
                command.arg("-device").arg(format!(
                    "{{\"driver\":\"vfio-user-pci\",\"addr\":\"{at}\",\
                     \"socket\":{{\"type\":\"unix\",\"path\":\"{}\"}}}}",
                    path.display()
                ));
            }
            Port::Usb | Port::Modem => {
                command.arg("-chardev").arg(socket).arg("-device");
                command.arg(format!("usb-redir,chardev={name}"));
            }
            Port::Uart | Port::Ftdi => {
                // The UART's clock is set so high that the line is not what one waits for.
                let uart = matches!(card.port, Port::Uart);
                let device = if uart { "isa-serial,baudbase=4000000" } else { "usb-serial" };
                command.arg("-chardev").arg(format!("serial,id={name},path={}", path.display()));
                command.arg("-device").arg(format!("{device},chardev={name}"));
            }
            Port::UsbIp => {
                command.arg("-chardev").arg(socket);
                command.args(["-device", "virtio-serial-pci", "-device"]);
                command.arg(format!("virtserialport,chardev={name},name={name}"));
            }
        }
    }

    fn kernel(&self, command: &mut Command) {
        // The unpacked kernel starts sooner; it could not be unpacked everywhere.
        let unpacked = self.cache.join("kernel/vmlinux");
        let kernel = if unpacked.exists() { unpacked } else { self.cache.join("kernel/bzImage") };
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(&self.initrd);
        // On a busy host an emulated timer can look broken for a moment, and the kernel would stop.
        command.arg("-append").arg(format!(
            "console=ttyS0 quiet loglevel=3 intel_iommu=on iommu=pt no_timer_check panic=-1 \
             litecore.cases={}",
            self.cases.join(",")
        ));
    }
}

//! Every way in which a card is not opened is told apart, with what to do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

use litecore_hal::{
    Advice, DeviceUri, FoundDevice, OpenError, OpenOptions, SystemPaths, find_devices, open_card,
};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A folder that is taken away again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("litecore-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    fn system(&self) -> SystemPaths {
        SystemPaths { sys: self.0.join("sys"), dev: self.0.join("dev") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options(system: SystemPaths) -> OpenOptions {
    let mut options = OpenOptions { system, ..OpenOptions::usual(1) };
    options.timeouts.open = Duration::from_millis(100);
    options
}

fn refusal(uri: &str, system: SystemPaths) -> OpenError {
    let uri: DeviceUri = uri.parse().unwrap();
    let began = Instant::now();
    let error = open_card(&uri, &options(system)).err().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{uri}: {:?}", began.elapsed());
    error
}

fn vfio_user(path: &str) -> OpenError {
    refusal(&format!("vfio-user:{path}"), SystemPaths::default())
}

#[test]
fn a_socket_says_why_it_is_no_card() {
    let folder = Folder::new("sockets");
    let absent = vfio_user(&folder.path("none"));
    assert!(matches!(absent, OpenError::Absent { .. }), "{absent}");
    assert!(absent.to_string().contains("litecore emulate --chip CHIP --listen vfio-user:"));

    folder.write("file", "");
    let file = vfio_user(&folder.path("file"));
    assert!(matches!(file, OpenError::WrongKind { .. }), "{file}");
    assert!(file.to_string().contains("a file and no socket"), "{file}");

    drop(UnixListener::bind(folder.path("left")).unwrap());
    let left = vfio_user(&folder.path("left"));
    assert!(matches!(left, OpenError::Absent { .. }), "{left}");

    let _silent = UnixListener::bind(folder.path("silent")).unwrap();
    let silent = vfio_user(&folder.path("silent"));
    assert!(matches!(silent, OpenError::Silent { .. }), "{silent}");
    assert!(silent.to_string().contains("no other program uses it"), "{silent}");
}

#[test]
fn a_socket_that_babbles_hangs_up_or_is_taken_says_so() {
    let folder = Folder::new("babble");
    let serve = |name: &str, speak: fn(std::os::unix::net::UnixStream)| {
        let listener = UnixListener::bind(folder.path(name)).unwrap();
        std::thread::spawn(move || speak(listener.accept().unwrap().0));
    };
    serve("babble", |mut stream| {
        use std::io::{Read, Write};
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(&[0xa5; 400]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    });
    let babble = vfio_user(&folder.path("babble"));
    assert!(matches!(babble, OpenError::Garbage { .. }), "{babble}");
    assert!(babble.to_string().ends_with("of this program's version"), "{babble}");
    // Messages that are sound, that answer nothing, and that never end.
    serve("flood", |mut stream| {
        use std::io::Write;
        let message = [9, 9, 1, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(256);
        while stream.write_all(&message).is_ok() {}
    });
    let flood = vfio_user(&folder.path("flood"));
    assert!(matches!(flood, OpenError::Silent { .. }), "{flood}");
    serve("hangs-up", drop);
    let hangs_up = vfio_user(&folder.path("hangs-up"));
    assert!(matches!(hangs_up, OpenError::Garbage { .. }), "{hangs_up}");

    let taken = folder.path("taken");
    let listener = UnixListener::bind(&taken).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&taken).unwrap();
    let _accepted = listener.accept().unwrap();
    let busy = vfio_user(&taken);
    assert!(matches!(busy, OpenError::Busy { .. }), "{busy}");
    assert!(busy.to_string().contains("in use by another process"), "{busy}");
}

#[test]
fn a_socket_without_permission_names_its_owner_as_the_one_to_ask() {
    let folder = Folder::new("closed");
    let path = folder.path("card");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let error = vfio_user(&path);
    if is_root() {
        // The superuser may connect, and then nobody speaks.
        assert!(matches!(error, OpenError::Silent { .. }), "{error}");
        return;
    }
    assert!(matches!(error, OpenError::NotPermitted { .. }), "{error}");
    assert!(error.to_string().contains("chmod g+rw"), "{error}");
}

/// Whether permissions mean nothing to this process.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

const FUNCTION: &str = "sys/bus/pci/devices/0000:01:00.0";
const CARD: &str = "pcie:0000:01:00.0";

fn function(folder: &Folder, vendor: &str, device: &str) {
    folder.write(&format!("{FUNCTION}/vendor"), &format!("{vendor}\n"));
    folder.write(&format!("{FUNCTION}/device"), &format!("{device}\n"));
}

#[cfg(feature = "pcie")]
#[test]
fn a_pci_function_says_what_it_lacks_in_the_order_of_its_repair() {
    let folder = Folder::new("pci");
    let absent = refusal(CARD, folder.system());
    assert!(matches!(absent, OpenError::Absent { advice: Advice::List, .. }), "{absent}");

    function(&folder, "0x8086", "0x1533");
    let wrong = refusal(CARD, folder.system());
    assert!(matches!(wrong, OpenError::WrongKind { .. }), "{wrong}");
    assert!(wrong.to_string().contains("the PCI function 8086:1533"), "{wrong}");

    function(&folder, "0x1209", "0x4c43");
    let no_unit = refusal(CARD, folder.system());
    assert!(matches!(no_unit, OpenError::NotBound { advice: Advice::EnableIommu, .. }));
    assert!(no_unit.to_string().contains("intel_iommu=on"), "{no_unit}");

    folder.link(&format!("{FUNCTION}/iommu_group"), "../../../../kernel/iommu_groups/26");
    let unbound = refusal(CARD, folder.system()).to_string();
    assert!(unbound.contains("modprobe vfio-pci && echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override && echo 0000:01:00.0 > /sys/bus/pci/drivers_probe"), "{unbound}");

    folder.link(&format!("{FUNCTION}/driver"), "../../../../bus/pci/drivers/snd_hda_intel");
    let held = refusal(CARD, folder.system()).to_string();
    assert!(held.contains("the kernel's driver snd_hda_intel has it"), "{held}");
    assert!(held.contains("/sys/bus/pci/devices/0000:01:00.0/driver/unbind"), "{held}");

    folder.link(&format!("{FUNCTION}/driver"), "../../../../bus/pci/drivers/vfio-pci");
    let no_node = refusal(CARD, folder.system());
    assert!(!matches!(no_node, OpenError::NotBound { .. }), "{no_node}");
}

#[cfg(not(feature = "pcie"))]
#[test]
fn links_that_are_not_built_in_are_refused_by_name() {
    let folder = Folder::new("features");
    let refused = refusal(CARD, folder.system()).to_string();
    assert!(refused.contains("built without pcie: build it with --features pcie"), "{refused}");
}

#[test]
fn the_simulator_is_not_opened_here() {
    let error = refusal("sim:tiny-4", SystemPaths::default());
    assert!(matches!(error, OpenError::Simulator { .. }), "{error}");
}

#[test]
fn permissions_come_with_the_very_commands() {
    let uri: DeviceUri = "usb:1209:0001".parse().unwrap();
    let advice = Advice::UsbRule { vendor: 0x1209, product: 1 };
    let text = OpenError::NotPermitted { uri, advice }.to_string();
    assert!(text.starts_with("you may not open `usb:1209:0001`: as root, write the line `SUBSYSTEM==\"usb\", ATTR{idVendor}==\"1209\", ATTR{idProduct}==\"0001\""), "{text}");
    let uri: DeviceUri = "serial:/dev/ttyUSB0".parse().unwrap();
    let advice = Advice::JoinGroup { node: "/dev/ttyUSB0".into(), group: "dialout".into() };
    let text = OpenError::NotPermitted { uri, advice }.to_string();
    assert!(text.contains("run `sudo usermod -aG dialout $USER`, then log in again"), "{text}");
}

#[test]
fn versions_apart_say_which_side_to_update() {
    let uri: DeviceUri = "serial:/dev/ttyUSB0".parse().unwrap();
    let newer = OpenError::TooNew { uri: uri.clone(), card: 0x0203, driver: 0x0100 };
    assert!(newer.to_string().contains("protocol 2.3 and newer, this driver 1.0: update this"));
    let older = OpenError::TooOld { uri, card: 0x0009, driver: 0x0100 };
    assert!(older.to_string().contains("protocol 0.9 and older, this driver 1.0: update the card"));
}

#[test]
fn what_the_system_has_is_listed_without_opening_it() {
    let folder = Folder::new("list");
    function(&folder, "0x1209", "0x4c43");
    folder.link(&format!("{FUNCTION}/driver"), "../../../../bus/pci/drivers/vfio-pci");
    folder.write("sys/bus/pci/devices/0000:00:1f.3/vendor", "0x8086\n");
    folder.write("sys/bus/pci/devices/0000:00:1f.3/device", "0xa348\n");
    for (name, product) in [("1-1", "0001"), ("1-2", "4444")] {
        let vendor = if name == "1-1" { "1209" } else { "046d" };
        folder.write(&format!("sys/bus/usb/devices/{name}/idVendor"), vendor);
        folder.write(&format!("sys/bus/usb/devices/{name}/idProduct"), product);
    }
    folder.write("sys/bus/usb/devices/1-1/serial", "LC-7\n");
    folder.write("sys/bus/usb/devices/1-1/product", "LiteCore\n");
    for name in ["tty0", "ttyS0", "ttyUSB0"] {
        fs::create_dir_all(folder.0.join(format!("sys/class/tty/{name}"))).unwrap();
    }
    let port = Path::new(&folder.system().dev).join("ttyUSB0").to_str().unwrap().to_owned();
    let found = |uri: &str, is_card, note: &str| FoundDevice {
        uri: uri.parse().unwrap(),
        is_card,
        note: note.to_owned(),
    };
    assert_eq!(
        find_devices(&folder.system()),
        [
            found(CARD, true, "ready"),
            found("usb:1209:0001:LC-7", true, "LiteCore"),
            found(&format!("serial:{port}"), false, "a serial port"),
        ]
    );
    let nowhere = SystemPaths { sys: folder.0.join("no"), dev: folder.0.join("no") };
    assert_eq!(find_devices(&nowhere), []);
}

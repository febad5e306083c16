//! The archive a kernel unpacks into its first root file system: cpio's "newc" form.

/// An archive under construction.
///
/// Order: a folder before what lies in it; the kernel makes none by itself.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    /// Adds a folder.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    /// Adds a file that can be run.
    pub(crate) fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), contents);
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, FILE, (0, 0), contents);
    }

    /// Adds a character device with its major and minor number.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The bytes, with the entry that ends an archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// Thirteen numbers of eight hexadecimal digits behind the magic, then the name with its zero,
    /// then the contents, name and contents padded to four bytes.
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).expect("nothing here is near 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("names are short");
        let (inode, links) = (self.entries, 1);
        let numbers =
            [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0_u32];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("a/bc", b"hello");
        let bytes = archive.finish();
        let head =
            "07070100000001000081a4000000000000000000000001000000000000000500000000000000000000\
                    00000000000000000005000000 00"
                .replace(' ', "");
        assert_eq!(&bytes[..110], head.as_bytes());
        assert_eq!(&bytes[110..115], b"a/bc\0");
        assert_eq!(&bytes[115..124], b"\0hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.len().is_multiple_of(4));
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}

//! The driver of `docs/new-driver.md`: it conforms, and what the document shows is what is compiled.

#[path = "../examples/datagram/driver.rs"]
mod driver;

use driver::Datagram;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use waterwheel::Zone;
use waterwheel::xdp::conformance::{Cut, DevicePeer, Pair, Profile, Rig, conform};

struct Sockets;

impl Rig for Sockets {
    fn profile(&self) -> Profile {
        Profile { fills: true, longest: 3839, ..Profile::default() }
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        let (near, far) = UnixDatagram::pair().unwrap();
        let device = |name, socket| Box::new(Datagram::new(name, socket).unwrap());
        Pair { device: device("near", near), peer: Box::new(DevicePeer::new(device("far", far), zone)) }
    }

    fn cut(&mut self) -> Cut {
        Cut::Failed // the other socket is closed, as the other end is dropped
    }
}

#[test]
fn the_driver_conforms() {
    let report = conform(&mut Sockets);
    assert_eq!(report.not_asked, ["the_last_packet"]);
}

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines that have code, without what surrounds it in a document.
fn lines(code: &str) -> Vec<&str> {
    code.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_document_shows_the_driver_that_is_compiled() {
    let (document, driver, tests) =
        (text("../../docs/new-driver.md"), text("examples/datagram/driver.rs"), text("tests/new_driver.rs"));
    let shown: Vec<&str> = document.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let (rig, pieces) = shown.split_last().expect("the document has code");
    let shown: Vec<&str> = pieces.iter().flat_map(|piece| lines(piece)).collect();
    for (shown, compiled) in shown.iter().zip(lines(&driver)) {
        assert_eq!(*shown, compiled, "docs/new-driver.md and examples/datagram/driver.rs differ here");
    }
    assert_eq!(shown.len(), lines(&driver).len(), "docs/new-driver.md leaves something out, or has too much");
    assert!(tests.contains(rig.trim()), "the last piece of docs/new-driver.md is the rig of tests/new_driver.rs");
}

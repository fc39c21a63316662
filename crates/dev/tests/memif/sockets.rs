//! What may be at the path of a socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

use crate::support::Folder;
use waterwheel_dev::ErrorClass;
use waterwheel_dev::memif::{Memif, MemifParams};
use waterwheel_xdp::mm::ZoneParams;
use waterwheel_xdp::{Device as _, Zone};

/// The error of opening it, which is one line.
fn refused(params: &MemifParams) -> (ErrorClass, String) {
    let zone = Zone::new(&ZoneParams::pages(1)).expect("a zone");
    let error = Memif::open(&zone, params).expect_err("refused");
    assert!(!error.message().contains('\n'), "{error}");
    (error.class(), error.message().to_owned())
}

#[test]
fn what_is_no_socket_is_named_and_left_alone() {
    let folder = Folder::new();
    fs::write(folder.socket(), "precious").expect("a file");
    for params in [folder.server(), folder.client()] {
        let (class, message) = refused(&params);
        assert_eq!(class, ErrorClass::Config);
        assert!(message.contains("m.sock exists and is no socket"), "{message}");
    }
    assert_eq!(fs::read_to_string(folder.socket()).expect("still there"), "precious");
    let inside = MemifParams { socket: folder.socket().join("m.sock"), ..folder.server() };
    assert!(refused(&inside).1.contains("what should be its folder is none"), "{}", refused(&inside).1);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new();
    for params in [folder.server(), folder.client()] {
        let params = MemifParams { socket: folder.0.join("no").join("m.sock"), ..params };
        let (class, message) = refused(&params);
        assert_eq!(class, ErrorClass::Config);
        assert!(message.contains("no/m.sock") && message.contains("its folder does not exist"), "{message}");
    }
}

#[test]
fn a_server_that_is_gone_is_replaced_and_one_that_lives_is_not() {
    let folder = Folder::new();
    let alive = UnixListener::bind(folder.socket()).expect("a socket");
    let (class, message) = refused(&folder.server());
    assert_eq!(class, ErrorClass::Device);
    assert!(message.contains("a server listens there"), "{message}");
    let (_, message) = refused(&folder.client());
    assert!(message.contains("does not speak memif"), "{message}");
    drop(alive); // its file stays
    let zone = Zone::new(&ZoneParams::pages(1)).expect("a zone");
    let server = Memif::open(&zone, &folder.server()).expect("in its place");
    // The same from another process: it does not know that the listener is one of ours.
    drop(server);
    assert!(!folder.socket().exists());
}

#[test]
fn a_missing_right_is_named() {
    if rustix::process::geteuid().is_root() {
        eprintln!("left out, as root may everything: a_missing_right_is_named");
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(&folder.0, Permissions::from_mode(0o500)).expect("read only");
    let (class, message) = refused(&folder.server());
    assert_eq!(class, ErrorClass::Permission);
    assert!(message.contains("m.sock") && message.contains("folder of your own"), "{message}");
    fs::set_permissions(&folder.0, Permissions::from_mode(0o700)).expect("mine again");
}

#[test]
fn parameters_out_of_range_are_named() {
    let folder = Folder::new();
    let client = folder.client();
    for (params, expected) in [
        (MemifParams { queues: 0, ..client.clone() }, "queues=0"),
        (MemifParams { queues: 17, ..client.clone() }, "queues=17"),
        (MemifParams { ring: 1000, ..client.clone() }, "ring=1000"),
        (MemifParams { ring: 1 << 15, ..client.clone() }, "ring=32768"),
        (MemifParams { ring: 1, ..client.clone() }, "ring=1:"),
        (MemifParams { secret: "x".repeat(25), ..client.clone() }, "25 bytes"),
        (MemifParams { socket: "/tmp/x".repeat(20).into(), ..client.clone() }, "120"),
        (MemifParams { socket: "@".into(), ..client.clone() }, "a name behind its '@'"),
        (MemifParams { socket: "".into(), ..client }, "1 to 107 bytes"),
    ] {
        let (class, message) = refused(&params);
        assert_eq!(class, ErrorClass::Usage);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn sockets_without_a_file() {
    let folder = Folder::new();
    let named =
        |params: MemifParams| MemifParams { socket: format!("@{}", folder.socket().display()).into(), ..params };
    let zone = Zone::new(&ZoneParams::pages(1)).expect("a zone");
    // One that is not there, and one of the same name and the other kind that is.
    let waiting = |params: &MemifParams| Memif::open(&zone, params).expect("no server is no error").remove(0).mode();
    assert!(!waiting(&named(folder.client())).contains("did you mean"));
    let server = Memif::open(&zone, &named(folder.server())).expect("a server");
    assert!(!folder.socket().exists());
    let mode = waiting(&folder.client());
    assert!(mode.contains(&format!("did you mean memif:@{}?", folder.socket().display())), "{mode}");
    drop(server);
    let server = Memif::open(&zone, &folder.server()).expect("a server");
    let mode = waiting(&named(folder.client()));
    assert!(mode.contains(&format!("did you mean memif:{}?", folder.socket().display())), "{mode}");
    drop(server);
    // One that somebody else has.
    let address = SocketAddrUnix::new_abstract_name(folder.socket().as_os_str().as_encoded_bytes());
    let other = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    let address = address.expect("an address");
    crate::support::until("the name is free", || bind(&other, &address).is_ok());
    listen(&other, 1).expect("it listens");
    let (class, message) = refused(&named(folder.server()));
    assert_eq!(class, ErrorClass::Device);
    assert!(message.contains("a server listens there"), "{message}");
    drop(other);
    drop(Memif::open(&zone, &named(folder.server())).expect("now it is free"));
}

#[test]
fn a_socket_that_took_our_place_is_left_alone() {
    let folder = Folder::new();
    let zone = Zone::new(&ZoneParams::pages(1)).expect("a zone");
    let server = Memif::open(&zone, &folder.server()).expect("a server");
    fs::remove_file(folder.socket()).expect("somebody cleans up");
    let other = UnixListener::bind(folder.socket()).expect("and somebody else begins");
    drop(server);
    assert!(folder.socket().exists(), "it is not ours");
    drop(other);
}

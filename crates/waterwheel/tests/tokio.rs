//! The example with tokio does what it says: its last line asks for every page.

#[path = "../examples/tokio.rs"]
mod example;

#[test]
fn packets_go_through_asynchronous_code_and_their_pages_come_home() {
    example::main().expect("it ends well");
}

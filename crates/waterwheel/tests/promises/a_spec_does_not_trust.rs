//! A text asks for trust; to trust a peer with memory is a promise that the compiler cannot check, and that whoever runs the text has to make.
use waterwheel::dev::memif::Trust;
use waterwheel::dev::spec::{Spec, memif};

fn main() {
    let mut memif = memif(&"memif:x,trust=peer".parse::<Spec>().unwrap()).unwrap();
    assert!(memif.trust_peer && memif.params.trust.is_none());
    memif.params.trust = Some(Trust::peer()); //~ E0133
}

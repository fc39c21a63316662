//! Views of the Ethernet header, of any bytes, against etherparse and against the bytes themselves.

use etherparse::Ethernet2HeaderSlice;
use proptest::prelude::*;
use waterwheel_prog::{Ethernet, EthernetMut};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_view_says_what_another_parser_says(packet in prop::collection::vec(any::<u8>(), 0..40)) {
        match (Ethernet::new(&packet), Ethernet2HeaderSlice::from_slice(&packet)) {
            (Some(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.destination(), theirs.destination());
                prop_assert_eq!(ours.source(), theirs.source());
                prop_assert_eq!(ours.ethertype(), theirs.ether_type().0);
            }
            (None, Err(_)) => prop_assert!(packet.len() < 14),
            (ours, theirs) => prop_assert!(false, "{:?}, but {:?}", ours, theirs),
        }
    }

    #[test]
    fn swapped_addresses_are_swapped_and_all_else_stays(packet in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut swapped = packet.clone();
        match EthernetMut::new(&mut swapped) {
            Some(mut view) => view.swap_addresses(),
            None => prop_assert!(packet.len() < 14),
        }
        if packet.len() >= 14 {
            prop_assert_eq!(&swapped[..6], &packet[6..12]);
            prop_assert_eq!(&swapped[6..12], &packet[..6]);
            prop_assert_eq!(&swapped[12..], &packet[12..]);
        } else {
            prop_assert_eq!(swapped, packet);
        }
    }
}

//! Which interfaces the default routes lead through.

use super::asking;
use super::netlink::{Attrs, DUMP, Netlink, ROUTE, u16_at, u32_at};
use crate::DevError;

const RTM_GETROUTE: u16 = 26;
const RTMSG: usize = 12;
const RTN_UNICAST: u8 = 1;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The numbers of the interfaces that IPv4 and IPv6 default routes lead through, each once. Taking all traffic of one of them away from the host is how people
/// lock themselves out.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn default_routes() -> Result<Vec<u32>, DevError> {
    let mut found = Vec::new();
    let mut netlink = Netlink::open(ROUTE).map_err(|errno| asking("the routes", errno))?;
    for family in [AF_INET, AF_INET6] {
        let mut request = [0; RTMSG];
        request[0] = family;
        netlink
            .request(RTM_GETROUTE, DUMP, &request, |body| found.extend(interfaces_of_default(body)))
            .map_err(|errno| asking("the routes", errno))?;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The interfaces of one route, when it is a default route.
fn interfaces_of_default(body: &[u8]) -> Vec<u32> {
    let Some(attrs) = body.get(RTMSG..) else { return Vec::new() };
    if body[1] != 0 || body[7] != RTN_UNICAST {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (kind, value) in Attrs(attrs) {
        match kind {
            RTA_OIF => found.push(u32_at(value, 0)),
            RTA_MULTIPATH => found.extend(next_hops(value)),
            _ => {}
        }
    }
    found
}

/// The interfaces in a list of `struct rtnexthop`.
fn next_hops(mut hops: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while hops.len() >= 8 {
        let size = usize::from(u16_at(hops, 0));
        if size < 8 {
            break;
        }
        found.push(u32_at(hops, 4));
        hops = hops.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

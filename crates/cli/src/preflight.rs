//! What can be known to be wrong before anything is opened: interfaces that are not there, queues they do not have, rights this process lacks.

mod twice;

use std::path::Path;

use waterwheel_dev::af_xdp::setcap;
use waterwheel_dev::spec::{Kind, Queues, Spec, nearest};

use crate::cmd::devices::{Interface, interfaces, missing_capabilities};
use crate::config::{Plan, Port};
use crate::failure::{Class, Failure};

/// Looks at every device of the plan; gives what the operator should hear before the start.
///
/// # Errors
/// The first thing that is wrong. Nothing has been changed then.
pub(crate) fn check(plan: &Plan) -> Result<Vec<String>, Failure> {
    let root = Path::new("/");
    twice::check(plan)?;
    let wanted = plan.ports.iter().filter(|port| port.spec.kind == Kind::AfXdp).collect::<Vec<_>>();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let interfaces = interfaces()?;
    let mut warnings = Vec::new();
    for port in &wanted {
        warnings.extend(interface(port, &interfaces)?);
    }
    interface_twice(plan, &wanted, &interfaces)?;
    let missing = missing_capabilities(root);
    if !missing.is_empty() {
        let message = format!("afxdp: needs {}: run as root, or once `{}`", missing.join(" and "), setcap());
        return Err(Failure::new(Class::Permission, message));
    }
    Ok(warnings)
}

fn interface(port: &Port, interfaces: &[Interface]) -> Result<Option<String>, Failure> {
    let spec = &port.spec;
    let (name, queues) = spec.interface_and_queues()?;
    let interface = find(name, interfaces)?;
    let n = interface.queues;
    if let Queues::Range { last, .. } = queues
        && last >= n
    {
        let range = if n == 1 { "only queue 0".to_owned() } else { format!("queues 0 to {}", n - 1) };
        let message = format!("{spec}: {name} has {range}: use one of these, or leave the queue out for all");
        return Err(Failure::new(Class::Config, message));
    }
    let takes_all = port.fate.is_some() && !is_steered(spec);
    Ok((interface.default_route && takes_all).then(|| {
        format!("careful: {name} carries the default route and all its traffic is taken from this host; steer it, e.g. {spec},proto=udp,port=9")
    }))
}

/// By its name, or an alternative one.
fn find<'a>(name: &str, interfaces: &'a [Interface]) -> Result<&'a Interface, Failure> {
    let is_it = |interface: &&Interface| interface.name == name || interface.alt_names.iter().any(|alt| alt == name);
    interfaces.iter().find(is_it).ok_or_else(|| unknown(name, interfaces))
}

fn interface_twice(plan: &Plan, ports: &[&Port], interfaces: &[Interface]) -> Result<(), Failure> {
    let mut seen: Vec<(&str, u32, u32)> = Vec::new();
    for port in ports {
        let (name, queues) = port.spec.interface_and_queues()?;
        let name = find(name, interfaces)?.name.as_str();
        let (first, last) = match queues {
            Queues::All if port.fate.is_none() => (0, 0),
            Queues::All => (0, u32::MAX),
            Queues::Range { first, last } => (first, last),
        };
        if let Some((_, other, _)) =
            seen.iter().find(|(known, from, to)| *known == name && *from <= last && first <= *to)
        {
            return Err(twice::refused(plan, &format!("queue {} of {name}", first.max(*other)), &port.spec));
        }
        seen.push((name, first, last));
    }
    Ok(())
}

fn unknown(name: &str, interfaces: &[Interface]) -> Failure {
    let names = interfaces.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>();
    let guess = nearest(name, names.iter().copied()).map(|name| format!("did you mean '{name}'? ")).unwrap_or_default();
    let message = format!("there is no interface '{name}' here: {guess}the interfaces are {}", names.join(", "));
    Failure::new(Class::Device, message)
}

/// Whether only some of the traffic is taken.
fn is_steered(spec: &Spec) -> bool {
    ["dst", "proto", "port"].iter().any(|key| spec.option(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fate;

    fn look(text: &str) -> Result<Option<String>, Failure> {
        let eth0 = Interface { name: "eth0".into(), queues: 2, default_route: true, ..Interface::default() };
        let eth1 = Interface { name: "eth1".into(), queues: 1, ..Interface::default() };
        let port = Port { spec: text.parse().expect(text), fate: Some(Fate::Drop), sends: false };
        interface(&port, &[eth0, eth1])
    }

    #[test]
    fn interfaces_and_queues_are_checked() {
        let failure = |text| look(text).map_err(|failure| (failure.class, failure.message)).expect_err(text);
        assert_eq!(
            failure("afxdp:eht0"),
            (
                Class::Device,
                "there is no interface 'eht0' here: did you mean 'eth0'? the interfaces are eth0, eth1".into()
            )
        );
        assert_eq!(
            failure("afxdp:eth0:2"),
            (
                Class::Config,
                "afxdp:eth0:2: eth0 has queues 0 to 1: use one of these, or leave the queue out for all".into()
            )
        );
        assert!(failure("afxdp:eth1:0-3").1.contains("eth1 has only queue 0"));
        assert_eq!(failure("afxdp:eth0:x").0, Class::Config);
    }

    #[test]
    fn what_stands_twice_is_this_commands_own_fault() {
        let eth0 =
            || Interface { name: "eth0".into(), alt_names: vec!["uplink".into()], queues: 2, ..Interface::default() };
        let look = |line: &str| {
            let plan = crate::config::tests::plan(line).expect(line);
            let ports = plan.ports.iter().filter(|port| port.spec.kind == Kind::AfXdp).collect::<Vec<_>>();
            twice::check(&plan)
                .and_then(|()| interface_twice(&plan, &ports, &[eth0()]))
                .map_err(|failure| failure.message)
        };
        for (line, what) in [
            ("forward afxdp:eth0 afxdp:eth0", "queue 0 of eth0"),
            ("forward afxdp:eth0:1 afxdp:uplink", "queue 1 of eth0"),
            ("forward afxdp:eth0:0-1 afxdp:uplink:1", "queue 1 of eth0"),
            ("forward tap:x tap:x", "tap:x"),
            ("forward tap:x tap:x,queues=2", "tap:x"),
            ("forward tcp:[::]:9,listen tcp:[::1]:9,listen", "tcp:[::1]:9"),
            ("forward memif:@m memif:@m", "memif:@m"),
            ("forward memif:a/b memif:./a//./b", "memif:./a//./b"),
        ] {
            let message = look(line).expect_err(line);
            assert!(message.starts_with(&format!("{what} stands twice in this command")), "{message}");
        }
        for line in [
            "forward afxdp:eth0:0 afxdp:eth0:1",
            "forward afxdp:eth0:1 afxdp:eth0 --one-way",
            "forward tap:x tap:y",
            "forward tap:x%d tap:x%d",
            "forward tcp:127.0.0.1:9,listen tcp:127.0.0.1:9",
            "forward tcp:127.0.0.1:9 tcp:127.0.0.1:9",
            "forward tcp:127.0.0.1:0,listen tcp:127.0.0.1:0,listen",
            "forward tcp:127.0.0.1:9,listen tcp:127.0.0.2:9,listen",
            "forward tcp:0.0.0.0:9,listen tcp:[::]:9,listen",
            "forward tcp:127.0.0.1:9,listen udp:127.0.0.1:9,peer=127.0.0.1:8",
            "forward memif:@m memif:@m,id=1",
            "forward memif:@m,role=server memif:@m",
            "forward memif:@m memif:m",
        ] {
            assert_eq!(look(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn the_way_to_the_host_is_warned_about() {
        assert_eq!(look("afxdp:eth1").expect("fine"), None);
        assert!(
            look("afxdp:eth0:1").expect("a warning").is_some_and(|text| text.contains("carries the default route"))
        );
        assert_eq!(look("afxdp:eth0,proto=udp").expect("steered"), None);
    }
}

//! What can be known to be wrong before anything is opened: interfaces that are not there, queues they do not have, rights this process lacks.

use std::path::Path;

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
    let wanted = plan.ports.iter().filter(|port| port.spec.kind == Kind::AfXdp).collect::<Vec<_>>();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let interfaces = interfaces()?;
    let mut warnings = Vec::new();
    for port in wanted {
        warnings.extend(interface(port, &interfaces)?);
    }
    let missing = missing_capabilities(root);
    if !missing.is_empty() {
        let message = format!(
            "afxdp: needs {}: run as root, or give the binary these file capabilities (setcap)",
            missing.join(" and ")
        );
        return Err(Failure::new(Class::Permission, message));
    }
    Ok(warnings)
}

fn interface(port: &Port, interfaces: &[Interface]) -> Result<Option<String>, Failure> {
    let spec = &port.spec;
    let (name, queues) = spec.interface_and_queues()?;
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        return Err(unknown(name, interfaces));
    };
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
    fn the_way_to_the_host_is_warned_about() {
        assert_eq!(look("afxdp:eth1").expect("fine"), None);
        assert!(
            look("afxdp:eth0:1").expect("a warning").is_some_and(|text| text.contains("carries the default route"))
        );
        assert_eq!(look("afxdp:eth0,proto=udp").expect("steered"), None);
    }
}

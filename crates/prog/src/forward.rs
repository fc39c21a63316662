//! Forwards by port (testpmd's io mode, `xdp_redirect_map`).

use waterwheel_xdp::{Action, Context, DropReason, PortId, Program, XdpBuff};

/// What comes in at a port goes out at the one that it is wired to, unchanged and unread; what comes in elsewhere is dropped.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// By port number.
    wires: Vec<Option<PortId>>,
}

impl Forward {
    /// No wires.
    pub fn new() -> Self {
        Self::default()
    }

    /// What comes in at `from` goes out at `to`.
    pub fn wire(&mut self, from: PortId, to: PortId) -> &mut Self {
        let from = usize::from(from.0);
        if self.wires.len() <= from {
            self.wires.resize(from + 1, None);
        }
        self.wires[from] = Some(to);
        self
    }
}

impl Program for Forward {
    fn run(&mut self, cx: &Context, _: &mut [XdpBuff], actions: &mut [Action]) {
        let action = match self.wires.get(usize::from(cx.port.0)) {
            Some(Some(to)) => Action::Redirect(*to),
            _ => Action::Drop(DropReason::NoTarget),
        };
        actions.fill(action);
    }
}

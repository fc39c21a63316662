//! Whether to send without a copy: asked of the kernel by trying.
//!
//! A zero-copy send costs more than a plain one when the kernel copies after all, as it does where a packet is received on the same machine (loopback, veth) and for devices that
//! cannot gather. Its notification says so. So the first send is a trial; while trials are copied there are plain sends between them, twice as many each time.

/// How to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Send {
    /// Without a copy where the kernel does not copy after all; it is asked again now and then.
    #[default]
    Auto,
    /// The kernel copies.
    Plain,
    /// Without a copy, also where the kernel copies after all. What it refuses is sent plainly.
    Zc,
}

/// Less than this costs more to hold than to copy.
const ZC_MIN: usize = 16 << 10;
/// Plain sends after the first trial that was copied, and after many.
const PLAIN_MIN: u32 = 64;
const PLAIN_MAX: u32 = 1 << 16;

/// What is known of one direction of one connection, or of one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    send: Send,
    /// The last trial went without a copy.
    trusted: bool,
    /// A trial is under way.
    asked: bool,
    /// Plain sends until the next trial.
    plain: u32,
    penalty: u32,
    /// The next send is a plain one, whatever is wanted: the kernel has refused this one, and would again.
    refused: bool,
}

impl Choice {
    pub(crate) fn new(send: Send) -> Self {
        Self { send, trusted: false, asked: false, plain: 0, penalty: 0, refused: false }
    }

    /// Whether to send `bytes` bytes without a copy.
    pub(crate) fn zc(&mut self, bytes: usize) -> bool {
        if std::mem::take(&mut self.refused) {
            return false;
        }
        match self.send {
            Send::Plain => false,
            Send::Zc if self.plain > 0 => {
                self.plain -= 1;
                false
            }
            Send::Zc => true,
            Send::Auto if bytes < ZC_MIN => false,
            Send::Auto if self.trusted => true,
            Send::Auto if self.asked => false,
            Send::Auto if self.plain > 0 => {
                self.plain -= 1;
                false
            }
            Send::Auto => {
                self.asked = true;
                true
            }
        }
    }

    /// The kernel has refused to send without a copy.
    pub(crate) fn refused(&mut self) {
        self.answered(true);
        self.refused = true;
    }

    /// The kernel has refused to send a datagram without a copy, and those that were asked for with it have overtaken it. That is not to happen with each: who insists waits a while, too.
    pub(crate) fn overtaken(&mut self) {
        (self.asked, self.trusted) = (false, false);
        self.pause();
    }

    /// A notification has come.
    pub(crate) fn answered(&mut self, copied: bool) {
        (self.asked, self.trusted) = (false, !copied);
        match self.send {
            _ if !copied => self.penalty = 0,
            Send::Auto => self.pause(),
            Send::Plain | Send::Zc => {}
        }
    }

    /// Plain sends for a while, unless it is one already.
    fn pause(&mut self) {
        if self.plain == 0 {
            self.penalty = (self.penalty * 2).clamp(PLAIN_MIN, PLAIN_MAX);
            self.plain = self.penalty;
        }
    }

    /// What the next connection begins with.
    pub(crate) fn inherited(self) -> Self {
        Self { asked: false, refused: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_once_and_less_and_less_often_while_the_kernel_copies() {
        let mut choice = Choice::new(Send::Auto);
        let mut trials = 0;
        for _ in 0..100_000 {
            if choice.zc(1 << 16) {
                assert!(!choice.zc(1 << 16), "one trial at a time");
                choice.answered(true);
                trials += 1;
            }
        }
        assert!((5..=12).contains(&trials), "{trials}");
    }

    #[test]
    fn it_trusts_a_kernel_that_does_not_copy_until_it_does() {
        let mut choice = Choice::new(Send::Auto);
        assert!(choice.zc(1 << 16));
        choice.answered(false);
        assert!((0..1000).all(|_| choice.zc(1 << 16)));
        assert!(!choice.zc(100), "small ones are copied");
        choice.answered(true);
        assert_eq!((0..1000).filter(|_| choice.zc(1 << 16)).count(), 1, "the next trial, which is not answered");
    }

    #[test]
    fn who_insists_is_obeyed() {
        let (mut zc, mut plain) = (Choice::new(Send::Zc), Choice::new(Send::Plain));
        zc.answered(true);
        plain.answered(false);
        assert!(zc.zc(1) && !plain.zc(1 << 20));
        zc.refused();
        assert!(!zc.zc(1) && zc.zc(1), "what was refused is sent plainly, once");
    }

    #[test]
    fn datagrams_are_overtaken_less_and_less_often() {
        for send in [Send::Auto, Send::Zc] {
            let (mut choice, mut batches) = (Choice::new(send), 0);
            for _ in 0..1000 {
                // As many as are refused at once count once.
                let asked = (0..100).filter(|_| choice.zc(1 << 16)).count();
                (0..asked).for_each(|_| choice.overtaken());
                batches += usize::from(asked > 0);
            }
            assert!((5..=12).contains(&batches), "{send:?}: {batches}");
        }
        let mut zc = Choice::new(Send::Zc);
        zc.overtaken();
        zc.answered(true);
        assert_eq!(
            (0..100).filter(|_| zc.zc(1)).count(),
            100 - PLAIN_MIN as usize,
            "that one was copied does not matter"
        );
        zc.answered(false);
        zc.overtaken();
        assert_eq!(zc.plain, PLAIN_MIN, "what went without a copy makes up for it");
    }

    #[test]
    fn the_next_connection_begins_with_what_is_known_and_with_nothing_under_way() {
        let mut choice = Choice::new(Send::Auto);
        assert!(!choice.zc(ZC_MIN - 1) && choice.zc(ZC_MIN), "it asks from that size on");
        assert!(choice.inherited().zc(ZC_MIN), "nobody has asked for this one");
        choice.answered(false);
        choice.refused = true;
        assert!(choice.inherited().zc(ZC_MIN) && choice.inherited().trusted);
        choice.refused();
        assert_eq!(choice.inherited().plain, PLAIN_MIN);
    }
}

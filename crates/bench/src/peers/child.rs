//! A peer that is a program: started, told lines, listened to, and ended with us.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A child process that takes commands from its standard input and ends when that does: so it ends with us, however we end.
pub(super) struct Talk {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// The last thing it said: when it dies, mostly why.
    last: String,
}

impl Talk {
    /// Starts it. What it says to standard output and standard error is heard as one.
    pub(super) fn start(mut command: Command) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let error = |error: std::io::Error| format!("{program}: {error}");
        let (reader, writer) = std::io::pipe().map_err(error)?;
        command.stdin(Stdio::piped()).stdout(writer.try_clone().map_err(error)?).stderr(writer);
        let mut child = command.spawn().map_err(error)?;
        drop(command); // and with it our copies of the pipe's end, so that the pipe ends with the child
        let Some(stdin) = child.stdin.take() else { return Err(format!("{program}: no standard input")) };
        let (heard, lines) = channel();
        std::thread::spawn(move || listen(reader, &heard));
        Ok(Self { child, stdin, lines, last: String::new() })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it a line.
    pub(super) fn say(&mut self, line: &str) -> Result<(), String> {
        let said = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        said.map_err(|error| match self.hear(Duration::from_secs(1), |_| None::<()>) {
            Err(why) => why, // what it said before it went away says more than the broken pipe
            Ok(()) => error.to_string(),
        })
    }

    /// Listens until `answer` makes something of a line.
    ///
    /// # Errors
    /// It ended, with the last line that it said; or it was silent for too long.
    pub(super) fn hear<T>(
        &mut self,
        patience: Duration,
        mut answer: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(answer) = answer(&line) {
                        return Ok(answer);
                    }
                    if !line.trim().is_empty() {
                        self.last = line.trim().to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(format!("no answer; it last said: {}", self.last)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            }
        }
    }
}

impl Talk {
    /// It says nothing any more: how it ended, and its last line.
    fn ended(&mut self) -> String {
        let _ = self.child.kill(); // should it live on in silence; the status of one that has ended stays what it is
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("it ended ({status}): {}", self.last)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

/// Passes on line by line until the other end of the pipe is closed.
fn listen(from: PipeReader, to: &Sender<String>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Talk {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Talk::start(command).expect("a shell")
    }

    fn number(line: &str) -> Option<u32> {
        line.parse().ok()
    }

    #[test]
    fn it_answers_line_by_line() {
        let mut talk = shell("while read a b; do echo; echo sum; echo $((a + b)); done");
        for (a, b) in [(1, 2), (40, 2)] {
            talk.say(&format!("{a} {b}")).expect("it listens");
            assert_eq!(talk.hear(LONG, number), Ok(a + b));
        }
    }

    #[test]
    fn one_that_dies_gives_its_last_words_and_no_hang() {
        let mut talk = shell("read line; echo working; echo 'no memory' >&2; exit 1");
        talk.say("go").expect("it listens");
        assert_eq!(talk.hear(LONG, number), Err("it ended (exit status: 1): no memory".to_owned()));
        let why = (0..100).find_map(|_| talk.say("more").err());
        assert_eq!(why.as_deref(), Some("it ended (exit status: 1): no memory"));
    }

    #[test]
    fn one_that_is_silent_is_not_waited_for_and_is_ended() {
        let mut talk = shell("echo begun; exec sleep 1000");
        let why = talk.hear(Duration::from_millis(200), number);
        assert!(why.is_err_and(|why| why.starts_with("no answer")));
        let process = format!("/proc/{}", talk.child.id());
        drop(talk);
        assert!(!std::path::Path::new(&process).exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let why = Talk::start(Command::new("/nowhere/testpmd")).err().expect("it cannot start");
        assert!(why.starts_with("/nowhere/testpmd: "), "{why}");
    }
}

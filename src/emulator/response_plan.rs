//! A response as the steps in which it is sent.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::script_rule::{At, Cut, Wire};

/// A whole response: the wait before the head, the head, the steps of the body.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// The HTTP status.
    pub(super) status: u16,
    /// The headers, in order.
    pub(super) headers: Vec<(String, String)>,
    /// The wait before the head.
    pub(super) head_delay: Duration,
    /// What happens in place of the head.
    pub(super) no_head: Option<Cut>,
    /// The body.
    pub(super) steps: VecDeque<Step>,
}

/// One step of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes that are sent on their own. The flag marks the end of a frame.
    Send(Bytes, bool),
    /// A pause.
    Wait(Duration),
    /// The end of the connection.
    Cut(Cut),
}

impl Plan {
    /// Sets a header, or removes it.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Applies the wire options of a script to the steps.
    pub(super) fn apply_wire(&mut self, wire: &Wire) {
        if wire.gzip {
            self.steps = compressed(std::mem::take(&mut self.steps));
            self.set("content-encoding", Some("gzip"));
        }
        match wire.cut {
            None => {}
            Some((cut, At::Head)) => self.no_head = Some(cut),
            Some((cut, At::Frame(frames))) => {
                self.steps = after_frames(std::mem::take(&mut self.steps), cut, frames);
            }
            Some((cut, At::Byte(bytes))) => {
                self.steps = at_byte(std::mem::take(&mut self.steps), cut, bytes);
            }
        }
        if let Some(size) = wire.split_bytes {
            self.steps = split(std::mem::take(&mut self.steps), size);
        }
    }
}

/// Compresses step by step and flushes, so that each frame can be read on arrival.
fn compressed(steps: VecDeque<Step>) -> VecDeque<Step> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut taken = 0;
    let mut compressed = VecDeque::new();
    for step in steps {
        let Step::Send(bytes, frame) = step else {
            compressed.push_back(step);
            continue;
        };
        // Writing to memory does not fail.
        let _ = encoder.write_all(&bytes).and_then(|()| encoder.flush());
        let new = encoder.get_ref().get(taken..).unwrap_or_default();
        compressed.push_back(Step::Send(Bytes::copy_from_slice(new), frame));
        taken = encoder.get_ref().len();
    }
    let all = encoder.finish().unwrap_or_default();
    let rest = all.get(taken..).unwrap_or_default();
    compressed.push_back(Step::Send(Bytes::copy_from_slice(rest), false));
    compressed
}

fn after_frames(steps: VecDeque<Step>, cut: Cut, frames: usize) -> VecDeque<Step> {
    let mut kept = VecDeque::new();
    let mut seen = 0;
    for step in steps {
        if seen >= frames {
            break;
        }
        seen += usize::from(matches!(step, Step::Send(_, true)));
        kept.push_back(step);
    }
    kept.push_back(Step::Cut(cut));
    kept
}

fn at_byte(steps: VecDeque<Step>, cut: Cut, bytes: usize) -> VecDeque<Step> {
    let mut kept = VecDeque::new();
    let mut left = bytes;
    for step in steps {
        match step {
            Step::Send(mut sent, _) if sent.len() > left => {
                sent.truncate(left);
                kept.push_back(Step::Send(sent, false));
                break;
            }
            Step::Send(sent, frame) => {
                left -= sent.len();
                kept.push_back(Step::Send(sent, frame));
            }
            Step::Wait(_) | Step::Cut(_) => kept.push_back(step),
        }
    }
    kept.push_back(Step::Cut(cut));
    kept
}

fn split(steps: VecDeque<Step>, size: usize) -> VecDeque<Step> {
    let size = size.max(1);
    let mut pieces = VecDeque::new();
    for step in steps {
        let Step::Send(mut bytes, frame) = step else {
            pieces.push_back(step);
            continue;
        };
        while bytes.len() > size {
            pieces.push_back(Step::Send(bytes.split_to(size), false));
        }
        pieces.push_back(Step::Send(bytes, frame));
    }
    pieces
}

/// The bytes of all steps.
#[cfg(test)]
pub(super) fn joined(steps: &VecDeque<Step>) -> Bytes {
    let sent = steps.iter().filter_map(|step| match step {
        Step::Send(bytes, _) => Some(bytes.as_ref()),
        Step::Wait(_) | Step::Cut(_) => None,
    });
    Bytes::from(sent.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn plan(wire: Wire) -> Plan {
        let send = |text: &'static str| Step::Send(Bytes::from_static(text.as_bytes()), true);
        let steps = [
            send("one\n"),
            Step::Wait(Duration::from_secs(1)),
            send("two\n"),
        ];
        let mut plan = Plan {
            steps: steps.into(),
            ..Plan::default()
        };
        plan.apply_wire(&wire);
        plan
    }

    fn cut(at: At) -> VecDeque<Step> {
        plan(Wire {
            cut: Some((Cut::Reset, at)),
            ..Wire::default()
        })
        .steps
    }

    #[test]
    fn an_answer_is_cut_after_a_frame_or_at_a_byte() {
        assert_eq!(cut(At::Frame(0)), [Step::Cut(Cut::Reset)]);
        assert_eq!(joined(&cut(At::Frame(1))), "one\n");
        for (bytes, expected) in [
            (0, ""),
            (3, "one"),
            (4, "one\n"),
            (6, "one\ntw"),
            (99, "one\ntwo\n"),
        ] {
            let steps = cut(At::Byte(bytes));
            assert_eq!(joined(&steps), expected);
            assert_eq!(steps.back(), Some(&Step::Cut(Cut::Reset)));
        }
        let before = plan(Wire {
            cut: Some((Cut::Close, At::Head)),
            ..Wire::default()
        });
        assert_eq!(before.no_head, Some(Cut::Close));
    }

    #[test]
    fn splitting_keeps_the_bytes_and_the_number_of_frames() {
        for size in 1..6 {
            let steps = plan(Wire {
                split_bytes: Some(size),
                ..Wire::default()
            })
            .steps;
            assert_eq!(joined(&steps), "one\ntwo\n");
            let frames = steps
                .iter()
                .filter(|step| matches!(step, Step::Send(_, true)));
            assert_eq!(frames.count(), 2);
            let longest = steps.iter().map(|step| match step {
                Step::Send(bytes, _) => bytes.len(),
                Step::Wait(_) | Step::Cut(_) => 0,
            });
            assert!(longest.max() <= Some(size));
        }
    }

    #[test]
    fn gzip_can_be_read_frame_by_frame() {
        let plan = plan(Wire {
            gzip: true,
            ..Wire::default()
        });
        assert_eq!(
            plan.headers,
            [("content-encoding".to_owned(), "gzip".to_owned())]
        );
        let mut text = String::new();
        let all = joined(&plan.steps);
        flate2::read::GzDecoder::new(&all[..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "one\ntwo\n");
        let Some(Step::Send(first, true)) = plan.steps.front() else {
            panic!("it begins with a frame");
        };
        let mut part = [0; 4];
        flate2::read::GzDecoder::new(&first[..])
            .read_exact(&mut part)
            .unwrap();
        assert_eq!(&part, b"one\n");
    }
}

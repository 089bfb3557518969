//! The audio of the caller on its way to DashScope.

use bytes::{Bytes, BytesMut};

use super::command::Command;
use super::session::{Effects, Session};

impl Session {
    /// Whole samples of the caller's audio.
    pub(super) fn audio(&mut self, audio: Bytes, effects: &mut Effects) -> Option<Bytes> {
        let length = u64::try_from(audio.len()).unwrap_or_default();
        self.totals.input_bytes += length;
        let is_pcm = self.profile.input_is_pcm;
        let odd = self.turn.odd_byte.take();
        let is_odd = is_pcm && (audio.len() + usize::from(odd.is_some())) % 2 == 1;
        let mut audio = match odd {
            None => audio,
            Some(byte) => {
                let mut joined = BytesMut::with_capacity(audio.len() + 1);
                joined.extend_from_slice(&[byte]);
                joined.extend_from_slice(&audio);
                joined.freeze()
            }
        };
        if is_odd {
            let last = audio.split_off(audio.len().saturating_sub(1));
            self.turn.odd_byte = last.first().copied();
        }
        if audio.is_empty() {
            return None;
        }
        self.turn.has_audio = true;
        let audio = effects.audio(self.resampling.input(audio));
        (!audio.is_empty()).then_some(audio)
    }

    /// Sends the rest of the caller's audio, because its turn ends.
    pub(super) fn flush_input(&mut self, effects: &mut Effects) {
        let rest = effects.audio(self.resampling.flush_input());
        if !rest.is_empty() {
            effects.commands.push((0, Command::Audio(rest)));
        }
    }
}

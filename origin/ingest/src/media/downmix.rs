//! Any channel layout to stereo, by ITU-R BS.775-3 table 2 (centre and surrounds at -3 dB, no LFE), scaled so that nothing can clip.

use symphonia::core::audio::{Channels, Position};

const MINUS_3_DB: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// The `(left, right)` weight of each source channel, in the decoder's channel order.
#[derive(Debug, Default)]
pub(crate) struct Downmix {
    channels: Channels,
    weights: Vec<(f32, f32)>,
}

impl Downmix {
    /// Prepares for buffers laid out as `channels`; cheap when that is what it was.
    pub(crate) fn set(&mut self, channels: &Channels) {
        if self.channels != *channels || self.weights.is_empty() {
            self.channels = channels.clone();
            self.weights = weights(channels);
        }
    }

    /// Appends `frames` of the prepared layout to `out` as stereo.
    pub(crate) fn append(&self, frames: &[f32], out: &mut Vec<f32>) {
        match self.weights.as_slice() {
            [_] => out.extend(frames.iter().flat_map(|sample| [*sample, *sample])),
            [_, _] => out.extend_from_slice(frames),
            weights => out.extend(frames.chunks_exact(weights.len().max(1)).flat_map(|frame| {
                let (mut left, mut right) = (0.0, 0.0);
                for (sample, (to_left, to_right)) in frame.iter().zip(weights) {
                    left += sample * to_left;
                    right += sample * to_right;
                }
                [left, right]
            })),
        }
    }
}

fn weights(channels: &Channels) -> Vec<(f32, f32)> {
    let count = channels.count();
    let positions = match channels {
        Channels::Positioned(positions) => *positions,
        // No layout was given: the one WAVE means by that many channels.
        _ => Position::from_wave_channel_count(u32::try_from(count).unwrap_or(0)).unwrap_or_default(),
    };
    let left = Position::FRONT_LEFT | Position::FRONT_LEFT_CENTER;
    let right = Position::FRONT_RIGHT | Position::FRONT_RIGHT_CENTER;
    let left_behind = Position::REAR_LEFT | Position::SIDE_LEFT;
    let right_behind = Position::REAR_RIGHT | Position::SIDE_RIGHT;
    let weight = |position: Position| {
        if left.contains(position) {
            (1.0, 0.0)
        } else if right.contains(position) {
            (0.0, 1.0)
        } else if left_behind.contains(position) {
            (MINUS_3_DB, 0.0)
        } else if right_behind.contains(position) {
            (0.0, MINUS_3_DB)
        } else if position == Position::LFE1 {
            (0.0, 0.0)
        } else {
            (MINUS_3_DB, MINUS_3_DB)
        }
    };
    let mut weights: Vec<(f32, f32)> = positions.iter().map(weight).collect();
    // A layout nobody can name (ambisonics, more discrete channels than WAVE knows) is heard evenly from both sides.
    weights.resize(count, (MINUS_3_DB, MINUS_3_DB));
    let loudest = |side: fn(&(f32, f32)) -> f32| weights.iter().map(side).sum::<f32>();
    let scale = loudest(|w| w.0).max(loudest(|w| w.1)).max(1.0);
    weights.into_iter().map(|(to_left, to_right)| (to_left / scale, to_right / scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_is_heard_on_both_sides_and_stereo_is_not_touched() {
        let mut downmix = Downmix::default();
        let mut out = Vec::new();
        downmix.set(&Channels::Positioned(Position::FRONT_CENTER));
        downmix.append(&[0.5, -0.25], &mut out);
        downmix.set(&Channels::Positioned(Position::FRONT_LEFT | Position::FRONT_RIGHT));
        downmix.append(&[1.0, -1.0], &mut out);
        assert_eq!(out, [0.5, 0.5, -0.25, -0.25, 1.0, -1.0]);
    }

    #[test]
    fn full_scale_in_every_channel_of_5_1_does_not_clip() {
        let mut downmix = Downmix::default();
        let mut out = Vec::new();
        downmix.set(&Channels::Discrete(6));
        downmix.append(&[1.0; 6], &mut out);
        assert!(out.iter().all(|sample| *sample <= 1.0 && *sample > 0.99), "{out:?}");
    }
}

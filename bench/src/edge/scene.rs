//! One track that everybody may hear, its listener, and the secrets of a deployment: what the Workers are given and what is asked of them.
//!
//! Sizes are those of real music: 3 minutes 36 seconds in segments of 6 s, which at 128 kbit/s are 96 kB each.

use anyhow::{Context, Result};
use protocol::{
    AccountId, MediaVersion, Plan, Role, Rung, TrackId,
    session::{Session, SessionSigner},
    sheet::{Card, CardState, Loudness, Sheet, SheetRung},
};
use serde_json::Value;
use uuid::Uuid;

use crate::machine;

const SEGMENTS: usize = 36;
const SEGMENT_SAMPLES: u64 = 264_192;
const TIMESCALE: u32 = 44_100;
const INIT_BYTES: u32 = 768;
const PRIMING: u32 = 1_024;
/// The one rung whose segments are asked for.
pub(crate) const RUNG: Rung = Rung::Aac128;
const TOKEN_SECRET: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const SESSION_SEED: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const EDGE_SECRET: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// The track and its listener.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// The track.
    pub(crate) track: TrackId,
    /// Its media.
    pub(crate) sheet: Sheet,
    /// Its card.
    pub(crate) card: Card,
    /// The value of `Authorization`.
    pub(crate) authorization: String,
    jwks: String,
}

impl Scene {
    /// Signs a session from now.
    ///
    /// # Errors
    /// Never, unless the session's key document changes its form.
    pub(crate) fn new() -> Result<Self> {
        let now = machine::unix_now();
        let (track, version) = (TrackId::v7(now, [2; 10]), MediaVersion([0xab; 16]));
        let signer = SessionSigner::parse(&format!(r#"{{"current":"k1","keys":{{"k1":"{SESSION_SEED}"}}}}"#))?;
        let session = Session {
            account: AccountId::v7(now, [1; 10]),
            role: Role::Listener,
            plan: Plan::Premium,
            country: "DE".parse().ok().context("DE is a country")?,
            family: Uuid::from_u128(7),
            name: "Bench".to_owned(),
            issued_at: now,
            expires_at: now.plus_ms(900_000),
            play_until: now.plus_ms(43_200_000),
        };
        let card = Card {
            track,
            state: CardState::Published,
            version,
            title: "A title".to_owned(),
            territories: None,
            release_at_ms: None,
            album_gain_cdb: None,
        };
        Ok(Self {
            track,
            sheet: sheet(version),
            card,
            authorization: format!("Bearer {}", signer.sign(&session)),
            jwks: signer.jwks().to_string(),
        })
    }

    /// What the Workers read from their environment.
    pub(crate) fn environment(&self, gateway: &str) -> [(&'static str, String); 7] {
        [
            ("ENVIRONMENT", "bench".to_owned()),
            ("GATEWAY_URL", gateway.to_owned()),
            ("GATEWAY_PUBLIC_URL", "https://gateway.example".to_owned()),
            ("BUFFER_SHARDS", "64".to_owned()),
            ("TOKEN_KEYS", format!(r#"{{"current":1,"keys":{{"1":"{TOKEN_SECRET}"}}}}"#)),
            ("SESSION_JWKS", self.jwks.clone()),
            ("EDGE_SECRET", EDGE_SECRET.to_owned()),
        ]
    }

    /// The path of the manifest.
    pub(crate) fn manifest(&self) -> String {
        format!("/v1/tracks/{}/manifest", self.track)
    }

    /// Bytes of a rendition's file.
    pub(crate) fn file(&self, rung: &str, offset: usize, length: usize) -> Vec<u8> {
        // Bytes that tell where they are from, so that a wrong range would be seen.
        (offset..offset + length).map(|at| (at % 251) as u8 ^ rung.len() as u8).collect()
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> usize {
        SEGMENTS
    }

    /// The directory of signed addresses in a JSON manifest: `/v1/media/{token}`.
    ///
    /// # Errors
    /// When it is no such manifest.
    pub(crate) fn media(manifest: &Value) -> Result<String> {
        let index = manifest.get("playlist_url").and_then(Value::as_str).with_context(|| format!("no manifest: {manifest}"))?;
        Ok(index.rsplit_once('/').map_or(index, |(directory, _)| directory).to_owned())
    }
}

fn sheet(version: MediaVersion) -> Sheet {
    let coded = SEGMENT_SAMPLES * SEGMENTS as u64;
    let rung = |rung: Rung, segment_bytes: u32| SheetRung {
        rung,
        codec: "mp4a.40.2".to_owned(),
        init_bytes: INIT_BYTES,
        // Segments of one rung differ a little, as an encoder's do.
        segment_bytes: (0..SEGMENTS as u32).map(|n| segment_bytes - n * 7 % 400).collect(),
        peak_bps: rung.nominal_bps() + 4_000,
        average_bps: rung.nominal_bps(),
        sha256: "0".repeat(64),
    };
    Sheet {
        version,
        source_sha256: "0".repeat(64),
        packager: "bench".to_owned(),
        timescale: TIMESCALE,
        boundaries: (0..=SEGMENTS as u64).map(|n| n * SEGMENT_SAMPLES).collect(),
        priming: PRIMING,
        samples: coded - u64::from(PRIMING) - 400,
        padding: 400,
        rungs: vec![rung(Rung::Aac64, 48_000), rung(Rung::Aac128, 96_000), rung(Rung::Aac256, 192_000)],
        loudness: Loudness { integrated_clufs: -980, true_peak_cdbtp: -30 },
    }
}

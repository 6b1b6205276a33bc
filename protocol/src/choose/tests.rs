use proptest::prelude::*;

use super::*;
use crate::Plan;

fn all() -> RungSet {
    RungSet::of(&Rung::ALL)
}

/// Evidence in short: CMCD as it is sent, and `downlink`, `delivery` (kbit/s), `rtt` (ms), `ect` and `save-data` by name.
fn evidence(text: &str) -> Evidence {
    let mut evidence = Evidence::default();
    for word in text.split(' ') {
        match word.split_once(':').unwrap_or((word, "")) {
            ("downlink", kbps) => evidence.downlink_kbps = Some(kbps.parse().unwrap()),
            ("delivery", kbps) => evidence.delivery_kbps = Some(kbps.parse().unwrap()),
            ("rtt", ms) => evidence.round_trip_ms = Some(ms.parse().unwrap()),
            ("ect", class) => evidence.effective_type = EffectiveType::parse(class),
            ("save-data", _) => evidence.save_data = true,
            (cmcd, _) => evidence.cmcd = evidence.cmcd.with(cmcd),
        }
    }
    evidence
}

/// Evidence and plan; what may be played (F: lossless too); the reason, which begins with the start.
const TABLE: &str = "\
nothing                  premium | 64 128 256 F | AAC 128 kbit/s and may rise to AAC 256 kbit/s because nothing is known of the connection
nothing                  free    | 64 128       | AAC 128 kbit/s and goes no higher because the plan ends there, and nothing is known of the connection
mtp=0                    premium | 64           | AAC 64 kbit/s and goes no higher because the player measured less than 50 kbit/s (CMCD mtp)
mtp=140                  free    | 64           | AAC 64 kbit/s and goes no higher because the player measured 140 kbit/s (CMCD mtp)
mtp=141                  premium | 64 128       | AAC 64 kbit/s, to sound at once, and may rise to AAC 128 kbit/s because the player measured 141 kbit/s (CMCD mtp)
mtp=255                  premium | 64 128       | AAC 64 kbit/s, to sound at once, and may rise to AAC 128 kbit/s because the player measured 255 kbit/s (CMCD mtp)
mtp=256                  premium | 64 128       | AAC 128 kbit/s and goes no higher because the player measured 256 kbit/s (CMCD mtp)
mtp=282                  premium | 64 128 256   | AAC 128 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the player measured 282 kbit/s (CMCD mtp)
mtp=1999                 premium | 64 128 256   | AAC 128 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the player measured 1999 kbit/s (CMCD mtp)
mtp=2000                 premium | 64 128 256 F | AAC 128 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the player measured 2000 kbit/s (CMCD mtp)
mtp=5000                 free    | 64 128       | AAC 128 kbit/s and goes no higher because the plan ends there, and the player measured 5000 kbit/s (CMCD mtp)
mtp=5000 save-data       premium | 64           | AAC 64 kbit/s and goes no higher because data saver is on
downlink:200             premium | 64 128       | AAC 64 kbit/s, to sound at once, and may rise to AAC 128 kbit/s because the browser estimates 200 kbit/s
downlink:200 mtp=270     premium | 64 128       | AAC 128 kbit/s and goes no higher because the player measured 270 kbit/s (CMCD mtp)
ect:2g                   premium | 64           | AAC 64 kbit/s and goes no higher because the browser calls the connection 2g
ect:3g                   premium | 64 128 256   | AAC 128 kbit/s and may rise to AAC 256 kbit/s because the browser calls the connection 3g
ect:4g                   premium | 64 128 256 F | AAC 128 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the browser calls the connection 4g
rtt:600                  premium | 64 128 256   | AAC 128 kbit/s and may rise to AAC 256 kbit/s because a round trip takes 600 ms
rtt:40 delivery:90       premium | 64 128 256 F | AAC 128 kbit/s and may rise to AAC 256 kbit/s because nothing is known of the connection
rtt:600 delivery:4000    premium | 64 128 256 F | AAC 128 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the edge delivered 4000 kbit/s to this listener just before
mtp=5000,rtp=260         premium | 64 128       | AAC 128 kbit/s and goes no higher because the player asked for no more than 260 kbit/s (CMCD rtp)
mtp=300,bl=11900         premium | 64 128 256   | AAC 128 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the player measured 300 kbit/s (CMCD mtp)
mtp=300,bl=12000         premium | 64 128 256   | AAC 256 kbit/s and goes no higher because the player measured 300 kbit/s (CMCD mtp)
bl=12000                 premium | 64 128 256 F | AAC 128 kbit/s and may rise to AAC 256 kbit/s because nothing is known of the connection
mtp=300,br=282,bl=4000   premium | 64 128 256   | AAC 256 kbit/s and goes no higher because the player measured 300 kbit/s (CMCD mtp)
mtp=300,br=282,bl=4e4,bs premium | 64 128 256   | AAC 64 kbit/s, to sound at once, and may rise to AAC 256 kbit/s because the buffer just ran dry, and the player measured 300 kbit/s (CMCD mtp)";

#[test]
fn the_decision_table() {
    for line in TABLE.lines() {
        let [given, allowed, reason] = line.splitn(3, " | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (said, plan) = given.trim_end().rsplit_once(' ').unwrap();
        let choice = choose(&evidence(said.trim_end()), all(), plan.parse::<Plan>().unwrap().rungs()).unwrap();
        assert_eq!(choice.reason, format!("Starts at {reason}."));
        let kbps = |rung: Rung| (rung.nominal_bps() / 1000).to_string();
        let offered: Vec<_> = choice.allowed.0.iter().map(kbps).chain(choice.lossless.then(|| "F".to_owned())).collect();
        assert_eq!(offered.join(" "), allowed.trim_end(), "{line}");
        assert!(reason.starts_with(&name(choice.start).to_string()), "{line}");
    }
}

#[test]
fn what_the_device_cannot_play_is_not_offered() {
    let on = |codecs: &str| choose(&Evidence { codecs: Codecs::parse(codecs), ..Evidence::default() }, all(), all());
    assert!(on("mp4a.40.2, flac").unwrap().lossless && on("").unwrap().lossless);
    assert!(!on("mp4a.40.2,opus").unwrap().lossless);
    assert_eq!(on("flac"), None);
    assert_eq!(on("opus"), None);
}

#[test]
fn a_media_version_without_a_payable_rung_has_no_choice() {
    assert_eq!(choose(&Evidence::default(), RungSet::NONE, all()), None);
    assert_eq!(choose(&Evidence::default(), RungSet::of(&[Rung::Aac256]), Plan::Free.rungs()), None);
}

/// Most thresholds are below 600 kbit/s.
fn some_kbps() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0u32..600, 1 => 0u32..4_000]
}

fn anything() -> impl Strategy<Value = Evidence> {
    let kbps = || prop::option::of(some_kbps());
    let cmcd = (kbps(), prop::option::of(0u32..60_000), kbps(), kbps(), any::<bool>()).prop_map(|(mtp, bl, rtp, br, starved)| Cmcd {
        measured_kbps: mtp,
        buffer_ms: bl,
        requested_max_kbps: rtp,
        bitrate_kbps: br,
        starved,
        ..Cmcd::default()
    });
    let class = prop::sample::select(vec!["", "slow-2g", "2g", "3g", "4g"]).prop_map(EffectiveType::parse);
    let codecs = (prop::bool::weighted(0.9), any::<bool>()).prop_map(|(aac, flac)| Codecs { aac, flac });
    (cmcd, kbps(), class, prop::bool::weighted(0.2), prop::option::of(0u32..2_000), kbps(), codecs).prop_map(
        |(cmcd, downlink_kbps, effective_type, save_data, round_trip_ms, delivery_kbps, codecs)| Evidence {
            cmcd,
            downlink_kbps,
            effective_type,
            save_data,
            round_trip_ms,
            delivery_kbps,
            codecs,
        },
    )
}

fn rungs() -> impl Strategy<Value = RungSet> {
    prop_oneof![Just(all()), (0u8..16).prop_map(|bits| RungSet::from_bits(bits).unwrap())]
}

/// What the strongest evidence says the connection carries at most, written apart from `estimate`.
fn bound_kbps(evidence: &Evidence) -> Option<u32> {
    let class = evidence.effective_type;
    let connection = evidence.cmcd.measured_kbps.or(evidence.downlink_kbps.filter(|kbps| *kbps > 0)).or(match class {
        Some(EffectiveType::Slow2g) => Some(50),
        Some(EffectiveType::TwoG) => Some(70),
        Some(EffectiveType::ThreeG) => Some(700),
        _ => None,
    });
    [connection, evidence.cmcd.requested_max_kbps.filter(|kbps| *kbps > 0)].into_iter().flatten().min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn never_above_plan_media_codecs_connection_or_data_saver(evidence in anything(), available in rungs(), plan in rungs()) {
        let playable = available.intersect(plan).intersect(evidence.codecs.rungs());
        let Some(choice) = choose(&evidence, available, plan) else {
            prop_assert!(playable.without(Rung::Flac).is_empty());
            return Ok(());
        };
        let smallest = playable.iter().next().unwrap();
        prop_assert!(choice.allowed.0.contains(choice.start) && !choice.allowed.0.contains(Rung::Flac));
        for rung in choice.allowed.0.iter().chain(choice.lossless.then_some(Rung::Flac)) {
            prop_assert!(playable.contains(rung));
            prop_assert!(rung == smallest || !evidence.save_data);
            prop_assert!(rung == smallest || bound_kbps(&evidence).is_none_or(|kbps| rung.nominal_bps() / 1000 <= kbps));
        }
    }

    #[test]
    fn more_bandwidth_never_means_less(evidence in anything(), available in rungs(), plan in rungs(), a in some_kbps(), b in some_kbps(), kind in 0..4) {
        let at = |kbps| {
            let mut evidence = evidence;
            match kind {
                0 => evidence.cmcd.measured_kbps = Some(kbps),
                1 => evidence.downlink_kbps = Some(kbps.max(1)),
                2 => evidence.delivery_kbps = Some(kbps),
                _ => evidence.cmcd.requested_max_kbps = Some(kbps.max(1)),
            }
            choose(&evidence, available, plan)
        };
        let (Some(low), Some(high)) = (at(a.min(b)), at(a.max(b))) else { return Ok(()) };
        prop_assert!(low.start <= high.start && low.lossless <= high.lossless);
        prop_assert_eq!(low.allowed.0.intersect(high.allowed.0), low.allowed.0);
    }

    #[test]
    fn ten_percent_of_noise_moves_the_start_by_one_rung_at_most(evidence in anything(), available in rungs(), plan in rungs(), kbps in some_kbps(), kind in 0..3) {
        let start = |kbps| {
            let mut evidence = evidence;
            match kind {
                0 => evidence.cmcd.measured_kbps = Some(kbps),
                1 => evidence.downlink_kbps = Some(kbps),
                _ => evidence.delivery_kbps = Some(kbps),
            }
            choose(&evidence, available, plan).map(|choice| choice.start)
        };
        // Every whole bandwidth within the noise, which is every answer within it.
        let mut starts: Vec<_> = (kbps * 9 / 10..=(kbps * 11).div_ceil(10)).filter_map(start).collect();
        starts.dedup();
        prop_assert!(starts.len() <= 2, "{starts:?}");
        if let [below, above] = starts[..] {
            let between = available.intersect(plan).iter().filter(|rung| below < *rung && *rung < above).count();
            prop_assert_eq!(between, 0);
        }
    }

    #[test]
    fn a_reason_is_a_sentence_a_header_can_carry(evidence in anything(), available in rungs(), plan in rungs()) {
        let Some(choice) = choose(&evidence, available, plan) else { return Ok(()) };
        let reason = choice.reason;
        let rung = format!("Starts at {}", name(choice.start));
        prop_assert!(reason.starts_with(&rung) && reason.ends_with('.') && reason.len() < 180 && reason.contains(" because "), "{reason}");
        prop_assert!(reason.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'), "{reason}");
    }
}

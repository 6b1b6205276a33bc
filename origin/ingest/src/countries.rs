//! The countries there are, by ISO 3166-1 alpha-2 (249 officially assigned codes). An allow list with a code that is not assigned, such as
//! `UK`, would silently be heard nowhere.

use protocol::Territory;

const CODES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD \
CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN \
GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS \
LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK \
PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO \
TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// How many there are.
pub(crate) const COUNT: usize = 249;

/// Whether the code is assigned to a country.
pub(crate) fn exists(territory: &Territory) -> bool {
    let [first, second] = territory.bytes();
    CODES.as_bytes().chunks(3).any(|code| code.starts_with(&[first, second]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_and_only_assigned_codes_exist() {
        assert_eq!(CODES.split_ascii_whitespace().count(), COUNT);
        assert!(CODES.split_ascii_whitespace().all(|code| exists(&code.parse().unwrap())));
        assert!(!exists(&Territory::UNKNOWN) && !exists(&"UK".parse().unwrap()));
    }
}

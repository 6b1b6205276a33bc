"""Tokens and segment receipts by another hand: written from docs/token.md with nothing but Python's standard library.

`token.py docs/token.md` derives, mints and judges every vector of the document and says how many; it ends with 1 at the first that
differs.
"""

import base64
import hashlib
import hmac
import json
import re
import struct
import sys
import uuid

SKEW_MS = 30_000
PURPOSES = {"media": 1, "event": 2}
PLANS = {"free": 0, "premium": 1}
RUNGS = {"aac-64": 1, "aac-128": 2, "aac-256": 4, "flac": 8}
LABELS = {purpose: f"antiphon {purpose} v1".encode() for purpose in ("media", "event", "receipt", "pseudonym")}


def hkdf(secret, label):
    """RFC 5869 with SHA-256, no salt, 32 bytes: one block of the expansion."""
    prk = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(prk, label + b"\x01", hashlib.sha256).digest()


class Keys:
    def __init__(self, document):
        self.entries = {}
        for key_id, entry in document["keys"].items():
            entry = {"secret": entry} if isinstance(entry, str) else entry
            self.entries[int(key_id)] = entry
        self.current = document.get("current")
        lowest = self.entries[min(self.entries)]["secret"]
        self.pseudonym_root = bytes.fromhex(document.get("pseudonym", lowest))

    def signer(self, now_ms):
        began = [(e["signs_from_ms"], i) for i, e in self.entries.items() if e.get("signs_from_ms", now_ms + 1) <= now_ms]
        return max(began)[1] if began else self.current

    def key(self, key_id, purpose):
        return hkdf(bytes.fromhex(self.entries[key_id]["secret"]), LABELS[purpose])

    def pseudonym(self, account):
        return hmac.new(hkdf(self.pseudonym_root, LABELS["pseudonym"]), uuid.UUID(account).bytes, hashlib.sha256).digest()[:16]


def body(key_id, claims):
    rungs = sum(RUNGS[rung] for rung in claims["rungs"])
    head = struct.pack(
        ">BBBBB2sHII",
        1, key_id, PURPOSES[claims["purpose"]], PLANS[claims["plan"]], rungs, claims["territory"].encode(), claims["buffer"],
        claims["expires_at_ms"] // 1000, claims["duration_ms"],
    )
    tail = uuid.UUID(claims["play"]).bytes + uuid.UUID(claims["track"]).bytes
    return head + tail + bytes.fromhex(claims["version"]) + bytes.fromhex(claims["pseudonym"])


def tag(key, signed):
    return hmac.new(key, signed, hashlib.sha256).digest()[:16]


def encode(token):
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def mint(keys, claims, now_ms):
    key_id = keys.signer(now_ms)
    signed = body(key_id, claims)
    return encode(signed + tag(keys.key(key_id, claims["purpose"]), signed))


def judge(keys, text, purpose, now_ms):
    """None when the token is valid, else the code of the first reason against it."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{130}", text):
        return "encoding"
    token = base64.urlsafe_b64decode(text + "==")
    if encode(token) != text:
        return "encoding"
    signed, sealed = token[:81], token[81:]
    entry = keys.entries.get(signed[1])
    if entry is None:
        return "unknown_key"
    if now_ms < entry.get("signs_from_ms", 0) - SKEW_MS:
        return "key_not_yet"
    if now_ms >= entry.get("verifies_until_ms", now_ms + 1):
        return "key_ended"
    if not hmac.compare_digest(tag(keys.key(signed[1], purpose), signed), sealed):
        return "tag"
    layout, _, code, plan, rungs, territory, _, expires_s, _ = struct.unpack(">BBBBB2sHII", signed[:17])
    if layout != 1 or code != PURPOSES[purpose] or plan > 1 or rungs > 15 or not re.fullmatch(rb"[A-Z]{2}", territory):
        return "field"
    play = uuid.UUID(bytes=signed[17:33])
    minted_at_ms = int.from_bytes(play.bytes[:6], "big") if play.version == 7 else 0
    if minted_at_ms - now_ms > SKEW_MS:
        return "from_the_future"
    if now_ms - expires_s * 1000 > SKEW_MS:
        return "expired"
    return None


def receipt(keys, play, segment, now_ms):
    key_id = keys.signer(now_ms)
    n, start_ms, end_ms = segment
    return f"1.{key_id}.{n}.{start_ms}.{end_ms}.{receipt_tag(keys, key_id, play, segment)}"


def receipt_tag(keys, key_id, play, segment):
    signed = struct.pack(">BB16sIII", 1, key_id, uuid.UUID(play).bytes, *segment)
    return encode(hmac.new(keys.key(key_id, "receipt"), signed, hashlib.sha256).digest()[:12])


def judge_receipt(keys, text, play, now_ms):
    """None when the receipt proves its segment of `play`, else the code of the first reason against it."""
    number = "(0|[1-9][0-9]{0,9})"
    match = re.fullmatch(rf"1\.{number}\.{number}\.{number}\.{number}\.([A-Za-z0-9_-]{{16}})", text)
    if not match:
        return "encoding"
    key_id, n, start_ms, end_ms = map(int, match.groups()[:4])
    if key_id > 255 or n >= 100_000 or start_ms >= end_ms or end_ms >= 1 << 32:
        return "encoding"
    entry = keys.entries.get(key_id)
    if entry is None:
        return "unknown_key"
    if now_ms < entry.get("signs_from_ms", 0) - SKEW_MS:
        return "key_not_yet"
    if now_ms >= entry.get("verifies_until_ms", now_ms + 1):
        return "key_ended"
    return None if hmac.compare_digest(receipt_tag(keys, key_id, play, (n, start_ms, end_ms)), match[5]) else "tag"


def vectors(path):
    with open(path, encoding="utf-8") as document:
        return json.loads(re.search(r"^```json vectors\n(.*?)^```$", document.read(), re.DOTALL | re.MULTILINE)[1])


def main(path):
    given = vectors(path)
    keys = Keys(given["keys"])
    for derived in given["derived"]:
        found = hkdf(bytes.fromhex(derived["secret"]), derived["label"].encode()).hex()
        assert found == derived["key"], (derived, found)
    for entry in given["pseudonyms"]:
        assert keys.pseudonym(entry["account"]).hex() == entry["pseudonym"], entry
    for accepted in given["accepted"]:
        claims, now_ms = accepted["claims"], accepted["now_ms"]
        assert mint(keys, claims, now_ms) == accepted["token"], accepted["name"]
        assert judge(keys, accepted["token"], claims["purpose"], now_ms) is None, accepted["name"]
    for refused in given["refused"]:
        found = judge(keys, refused["token"], refused["purpose"], refused["now_ms"])
        assert found == refused["refusal"], (refused["name"], found)
    for entry in given["receipts"]:
        segment = (entry["n"], entry["start_ms"], entry["end_ms"])
        assert receipt(keys, entry["play"], segment, entry["now_ms"]) == entry["receipt"], entry["name"]
        assert judge_receipt(keys, entry["receipt"], entry["play"], entry["now_ms"]) is None, entry["name"]
    for entry in given["refused_receipts"]:
        found = judge_receipt(keys, entry["receipt"], entry["play"], entry["now_ms"])
        assert found == entry["refusal"], (entry["name"], found)
    kinds = ("derived", "accepted", "refused", "receipts", "refused_receipts")
    print(", ".join(f"{len(given[kind])} {kind}" for kind in kinds))


if __name__ == "__main__":
    main(sys.argv[1])

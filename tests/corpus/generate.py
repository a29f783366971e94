"""Writes ``positives.jsonl`` and ``negatives.jsonl``: the written cases and seeded, generated ones."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import written

HERE = Path(__file__).parent
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"

AROUND = (
    "Please note {} in the file.", "{}", "It was {}.", "({})", "value: {}", "{},", '"{}"', "'{}'", "[{}]", "\n{}\n",
    "see\t{}\there", "Die Angabe lautet {}.", "La valeur est {} ici", "El dato es {}, gracias", "il dato {} va bene",
    "значение {} верно", "它是{}。", "値は{}です", "القيمة {} هنا", "मान {} है", "값은 {} 입니다", '{{"field": "{}"}}',
    "<td>{}</td>", "- {}", "* **{}**", "x = '{}'", "log: got {} from peer", "field={};", "a | {} | b", "| {} |", "→ {}", "{}!", "{}?", "Is it {}? Yes.",
)  # fmt: skip


def pick(rng, alphabet, count):
    return "".join(rng.choice(alphabet) for _ in range(count))


def luhn_digit(body):
    total = sum(
        int(c) if i % 2 else sum(divmod(2 * int(c), 10)) for i, c in enumerate(reversed(body))
    )
    return str(-total % 10)


def card(rng):
    prefix, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("2720", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            ("3530", 16),
            ("36", 14),
            ("62", 16),
        ]
    )
    body = prefix + pick(rng, string.digits, length - len(prefix) - 1)
    number = body + luhn_digit(body)
    groups = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[length]
    return grouped(number, groups, rng.choice(["", " ", "-"]))


def grouped(number, groups, mark):
    parts, at = [], 0
    for size in groups:
        parts.append(number[at : at + size])
        at += size
    return mark.join(parts)


def iban(rng):
    country, bban = rng.choice(
        [
            ("DE", "d18"),
            ("FR", "d10a11d2"),
            ("GB", "l4d14"),
            ("ES", "d20"),
            ("NL", "l4d10"),
            ("IT", "l1d10a12"),
            ("PL", "d24"),
            ("BE", "d12"),
            ("AT", "d16"),
            ("CH", "d5a12"),
        ]
    )
    body, kind, count = "", "", ""
    for c in bban + "x":
        if c.isdigit():
            count += c
            continue
        if kind:
            body += pick(
                rng,
                {"d": string.digits, "l": string.ascii_uppercase, "a": string.digits + "ABCX"}[
                    kind
                ],
                int(count),
            )
        kind, count = c, ""
    check = 98 - int("".join(str(int(c, 36)) for c in f"{body}{country}00")) % 97
    text = f"{country}{check:02d}{body}"
    return rng.choice([text, " ".join(text[i : i + 4] for i in range(0, len(text), 4))])


def phone(rng):
    def d(n):
        return pick(rng, string.digits, n)

    def n():
        return rng.choice("23456789")

    area, exchange = n() + d(2), n() + d(2)
    return rng.choice(
        [
            f"({area}) {exchange}-{d(4)}", f"{area}-{exchange}-{d(4)}", f"+1 {area} {exchange} {d(4)}", f"+1-{area}-{exchange}-{d(4)}", f"+1{area}{exchange}{d(4)}", f"{area}.{exchange}.{d(4)}", f"1-{area}-{exchange}-{d(4)}",
            f"+44 20 7{d(3)} {d(4)}", f"+44 7{n()}{d(2)} {d(6)}", f"020 7{d(3)} {d(4)}", f"07{n()}{d(2)} {d(6)}", f"+447{n()}{d(8)}",
            f"+49 30 {n()}{d(6)}", f"+49 (0)89 {n()}{d(6)}", f"+49 17{d(1)} {n()}{d(6)}", f"017{d(1)} {n()}{d(6)}", f"030 {n()}{d(6)}", f"0049 40 {n()}{d(6)}",
            f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}", f"06 {d(2)} {d(2)} {d(2)} {n()}{d(1)}", f"+33 (0)1 {d(2)} {d(2)} {d(2)} {d(2)}", f"+34 6{d(2)} {d(3)} {d(3)}", f"+39 3{d(2)} {d(3)} {d(4)}",
            f"+86 13{d(1)} {d(4)} {n()}{d(3)}", f"13{d(8)}{n()}", f"15{rng.choice('012356789')}{d(7)}{n()}", f"090-{n()}{d(3)}-{d(4)}", f"03-{n()}{d(3)}-{d(4)}", f"+81 80-{n()}{d(3)}-{d(4)}", f"010-{n()}{d(3)}-{d(4)}",
            f"+7 9{d(2)} {d(3)}-{d(2)}-{d(2)}", f"8 (9{d(2)}) {d(3)}-{d(2)}-{d(2)}", f"+91 9{d(4)} {d(5)}", f"+55 11 9{d(4)}-{d(4)}", f"+61 4{d(2)} {d(3)} {d(3)}", f"04{d(2)} {n()}{d(2)} {d(3)}", f"+31 6 {n()}{d(7)}", f"+41 79 {d(3)} {d(2)} {d(2)}",
        ]
    )  # fmt: skip


def email(rng):
    names = [
        "anna",
        "bob.lee",
        "c_d",
        "j.m.smith",
        "x-y",
        "info",
        "mueller.t",
        "li.wei",
        "o.n",
        "user123",
        "the+tag",
        "müller",
        "josé.p",
    ]
    hosts = ["example", "mail.example", "my-firm", "uni.example", "dept.big-corp", "münchen-firma"]
    ends = [
        "com",
        "org",
        "de",
        "co.uk",
        "io",
        "fr",
        "cn",
        "co.jp",
        "dev",
        "info",
        "agency",
        "com.br",
    ]
    found = f"{rng.choice(names)}{rng.choice(['', str(rng.randrange(99))])}@{rng.choice(hosts)}.{rng.choice(ends)}"
    return found.upper() if rng.random() < 0.05 else found


def address(rng):
    if rng.random() < 0.6:
        return str(IPv4Address(rng.getrandbits(32)))
    full = IPv6Address(0x20010DB8 << 96 | rng.getrandbits(rng.choice([16, 40, 96])))
    return rng.choice([str(full), full.exploded, str(full).upper()])


def ssn(rng):
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03d}-{rng.randrange(1, 100):02d}-{rng.randrange(1, 10000):04d}"


def mac(rng):
    mark = rng.choice(":-")
    return mark.join(["a" + pick(rng, HEX, 1), *(pick(rng, HEX, 2) for _ in range(5))])


def segment(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def secret(rng):
    def a(n, alphabet=ALNUM):
        return pick(rng, alphabet, n - 3) + "a7Q"

    url = ALNUM + "-_"
    return rng.choice(
        [
            "AKIA" + pick(rng, string.ascii_uppercase + "234567", 16), "ASIA" + pick(rng, string.ascii_uppercase + "234567", 16), "AIza" + a(35, url), "ya29." + a(60, url), "GOCSPX-" + a(28, url),
            "ghp_" + a(36), "gho_" + a(36), "ghs_" + a(36), "github_pat_" + a(22) + "_" + a(59), "glpat-" + a(20, url), f"xoxb-{pick(rng, string.digits, 12)}-{pick(rng, string.digits, 12)}-{a(24)}", f"xoxp-{pick(rng, string.digits, 12)}-{a(24)}",
            "sk_live_" + a(24), "rk_live_" + a(24), "pk_test_" + a(24), "whsec_" + a(32), "sk-" + a(48), "sk-proj-" + a(64, url), "sk-ant-api03-" + a(93, url) + "AA", "hf_" + a(34), "SK" + pick(rng, HEX, 32), "AC" + pick(rng, HEX, 32),
            f"SG.{a(22, url)}.{a(43, url)}", "npm_" + a(36), "pypi-AgEIcHlwaS5vcmc" + a(70, url), f"{rng.randrange(10**8, 10**10)}:AA{a(33, url)}", f"M{a(23)}.{a(6)}.{a(38)}", "key-" + pick(rng, HEX, 32), pick(rng, HEX, 32) + "-us12",
            "shpat_" + pick(rng, HEX, 32), "dop_v1_" + pick(rng, HEX, 64), "dapi" + pick(rng, HEX, 32), "lin_api_" + a(40), "hvs." + a(90, url), "gsk_" + a(52), "r8_" + a(37), "NRAK-" + pick(rng, string.ascii_uppercase + string.digits, 27),
            "glsa_" + a(32) + "_" + pick(rng, HEX, 8), "dckr_pat_" + a(27, url), "xapp-1-A" + pick(rng, string.digits, 10) + "-" + pick(rng, string.digits, 13) + "-" + pick(rng, HEX, 64), "EAA" + a(100), "sbp_" + pick(rng, HEX, 40), "PMAK-" + pick(rng, HEX, 24) + "-" + pick(rng, HEX, 34),
            f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment({'sub': a(8), 'iat': rng.randrange(10**9)})}.{a(43, url)}", f"{segment({'alg': 'RS256', 'kid': a(6)})}.{segment({'iss': a(9)})}.{a(342, url)}",
        ]
    )  # fmt: skip


MAKERS = {
    "email": (email, 120),
    "phone": (phone, 200),
    "card": (card, 80),
    "iban": (iban, 80),
    "ip": (address, 120),
    "ssn": (ssn, 60),
    "mac": (mac, 40),
    "secret": (secret, 220),
}


def lines(name):
    return [line for line in (HERE / name).read_text(encoding="utf-8").split("\n") if line]


def positives(rng):
    for line in lines("written_positives.tsv"):
        kind, value, text = line.split("\t")
        yield {"kind": kind, "value": value, "text": text}
    for kind, cases in written.P.items():
        for value, text in cases:
            yield {"kind": kind, "value": value, "text": text.format(value)}
    for kind, (make, count) in MAKERS.items():
        for i in range(count):
            value = make(rng)
            yield {"kind": kind, "value": value, "text": AROUND[i % len(AROUND)].format(value)}


WORDS = [
    "alpha",
    "order",
    "cache",
    "report",
    "stream",
    "vector",
    "lemma",
    "commit",
    "batch",
    "node",
    "render",
    "index",
    "query",
    "store",
    "panel",
]


def bad_luhn(rng):
    body = rng.choice("456") + pick(rng, string.digits, 14)
    digit = str((int(luhn_digit(body)) + rng.randrange(1, 10)) % 10)
    return grouped(body + digit, (4, 4, 4, 4), rng.choice(["", " ", "-"]))


def negative_makers(rng):
    def d(n):
        return rng.choice("123456789") + pick(rng, string.digits, n - 1)

    def moment():
        return datetime(2001, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(9 * 10**8))

    w = lambda: rng.choice(WORDS)  # noqa: E731
    v = lambda top=40: rng.randrange(top)  # noqa: E731
    return {
        "order": lambda: rng.choice([f"order {d(10)}", f"Order #{d(8)}", f"invoice {d(9)}", f"#{d(11)}", f"ORD-{d(4)}-{d(6)}", f"ticket {d(7)}", f"order id {d(3)}-{d(7)}-{d(7)}", f"SKU {d(3)}-{d(2)}-{d(4)}", f"RMA{d(10)}", f"PO-{d(10)}", f"{w().upper()}-{d(3)}-{d(3)}-{d(4)}"]),
        "date": lambda: moment().strftime(rng.choice(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y %H:%M:%S", "%Y%m%d", "%Y%m%dT%H%M%S", "%H:%M:%S", "%d-%m-%Y", "%b %d %H:%M:%S", "%Y/%m/%d", "%y-%m-%d-%H-%M-%S", "%d %m %Y", "%Y.%m.%d %H:%M"])),
        "epoch": lambda: str(int(moment().timestamp() * rng.choice([1, 1000, 10**6, 10**9]))),
        "version": lambda: rng.choice([f"v{v()}.{v()}.{v()}.{v()}", f"version {v()}.{v()}.{v()}.{v()}", f"{v()}.{v()}.{v()}", f"{w()}-{v()}.{v()}.{v()}.{v()}", f"{w()}@{v()}.{v()}.{v()}", f"{w()}=={v()}.{v()}.{v()}.{v()}", f"release {v()}.{v()}.{v()}.{v()}", f"{v()}.{v()}.{v()}.{v()}-rc{v(9)}", f"{v()}.{v()}.{v()}+{d(4)}", f"{w()}/v{v()}.{v()}.{v()}.{v()}", f"{v()}.{v()}.{v()}.{v()}.{v()}"]),
        "hash": lambda: rng.choice([pick(rng, HEX, n) for n in (7, 8, 12, 16, 32, 40, 64, 128)]),
        "uuid": lambda: str(uuid.UUID(int=rng.getrandbits(128))),
        "card-like": lambda: bad_luhn(rng),
        "price": lambda: rng.choice([f"${v(999)},{d(3)},{d(3)}.{d(2)}", f"€{d(4)}.{d(2)}", f"{d(3)}.{d(3)},{d(2)} EUR", f"{d(1)} {d(3)} {d(3)} Kč", f"USD {d(7)}", f"¥{d(3)},{d(3)}"]),
        "number": lambda: rng.choice([d(5), d(7), d(8), d(9), f"{d(3)},{d(3)},{d(3)}", f"{v(90)}.{pick(rng, string.digits, 12)}", f"{v(90)}.{d(6)}, -{v(180)}.{d(6)}", f"{d(3)}/{d(3)}", f"{d(2)} {d(2)} {d(2)} {d(2)}"[:8], f"{d(4)}x{d(4)}", f"1e{v()}", f"0x{pick(rng, HEX, 8)}", f"{d(5)}-{d(4)}"]),
        "isbn": lambda: rng.choice([f"ISBN 978-{v(9)}-{d(2)}-{d(6)}-{v(9)}", f"978-{v(9)}-{d(4)}-{d(4)}-{v(9)}", f"ISBN {v(9)}-{d(3)}-{d(5)}-{v(9)}", f"ISSN {d(4)}-{d(4)}", f"doi:10.{d(4)}/{w()}.{d(6)}", f"arXiv:{v(24):02d}{v(12):02d}.{d(5)}"]),
        "tracking": lambda: rng.choice([f"1Z{pick(rng, string.ascii_uppercase + string.digits, 16)}", f"tracking {d(12)}", f"RR{d(9)}CN", f"JD{d(18)}", f"tracking no. 94{d(20)}"]),
        "part": lambda: rng.choice([f"{d(3)}-{d(4)}-{pick(rng, string.ascii_uppercase, 3)}", f"part no {d(3)}-{d(2)}-{d(4)}", f"{pick(rng, string.ascii_uppercase, 2)}-{d(3)}-{d(4)}", f"P/N {d(5)}-{d(5)}", f"model {pick(rng, string.ascii_uppercase, 2)}{d(4)}-{d(2)}"]),
        "color": lambda: rng.choice([f"#{pick(rng, HEX, 6)}", f"#{pick(rng, HEX, 8)}", f"rgb({v(255)}, {v(255)}, {v(255)})", f"margin: {v()}px {v()}px {v()}px {v()}px;", f"hsl({v(360)} {v(100)}% {v(100)}%)"]),
        "path": lambda: rng.choice([f"/var/log/{w()}-{moment():%Y%m%d}.log", f"/home/app/{w()}/{d(8)}.json", f"C:\\{w()}\\{d(6)}.txt", f"s3://{w()}-bucket/{moment():%Y/%m/%d}/{uuid.UUID(int=rng.getrandbits(128))}.parquet", f"https://example.org/{w()}/{d(9)}?page={v()}&sort={w()}", f"{w()}@2x.png", f"@{w()}/{w()}", f"@{w()}.{w()}"]),
        "code": lambda: rng.choice([f"{w()}::{w()}::{w()}()", f"@{w()}({v()})", f"def {w()}(x: int = {d(6)}) -> None:", f"{w()}[{v()}::{v(9)}]", f"SELECT {w()}::text FROM {w()} WHERE id = {d(9)};", f"for i in range({d(7)}):", f"const {w()} = require('@{w()}/{w()}')", f"{w()} = {w()}.{w()}({d(4)}, {d(4)})", f'<{w()} id="{d(6)}" class="a-{d(3)}">', f"{w()}.{w()}@{w()}", f"password = {w()}.{w()}", f"token = {w()}_{w()}({v()})", f"{w()}_key: {w()}", f"api_key: ${{{w().upper()}_KEY}}"]),
        "log": lambda: rng.choice([f"{moment():%Y-%m-%d %H:%M:%S},{d(3)} INFO [{w()}-{v()}] took {d(3)} ms, {d(7)} bytes", f"[{d(5)}.{d(6)}] {w()}: {w()} {d(8)}", f"E{moment():%m%d %H:%M:%S}.{d(6)} {d(5)} {w()}.cc:{d(3)}] {w()}", f"GET /{w()}/{d(8)} HTTP/1.1 {d(3)} {d(5)}", f"pid={d(5)} tid={d(6)} seq={d(9)} {w()}={d(10)}"]),
        "base64": lambda: base64.b64encode(rng.randbytes(rng.randrange(9, 60))).decode(),
        "math": lambda: rng.choice([f"{d(6)} + {d(6)} = {d(7)}", f"x = {d(3)} * ({d(4)} - {d(3)})", f"{d(2)}^{d(2)} mod {d(4)}", f"({d(2)}, {d(3)}, {d(4)})", f"[{d(2)}, {d(2)}, {d(3)}, {d(4)}]", f"{d(1)}.{d(3)} ± 0.{d(3)}", f"{d(3)}:{d(3)}", f"p={v(9)}.{d(2)}e-{d(1)}"]),
    }  # fmt: skip


PLAIN = (
    "{}",
    "see {} there",
    "The {} was fine.",
    "({})",
    '"{}"',
    "{},",
    "it says {} now",
    "das war {}.",
    "c'est {} ici",
    "结果 {} 正确",
    "{}\n",
    "[{}]",
)


def negatives(rng):
    for line in lines("written_negatives.txt"):
        yield {"about": "look-alike", "text": line}
    for about, texts in written.N.items():
        for text in texts:
            yield {"about": about, "text": text}
    for about, make in negative_makers(rng).items():
        for i in range(130):
            yield {"about": about, "text": PLAIN[i % len(PLAIN)].format(make())}


def write(name, cases):
    with (HERE / name).open("w", encoding="utf-8") as file:
        for case in cases:
            file.write(json.dumps(case, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write("positives.jsonl", positives(random.Random(20240517)))
    write("negatives.jsonl", negatives(random.Random(20240518)))

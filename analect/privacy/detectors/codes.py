"""Words around a number that say it is an order's, an invoice's, a version's: no person's."""

from __future__ import annotations

from analect.privacy.detectors.matching import pattern

_THINGS = (
    r"order|purchase|invoice|receipt|ticket|case|sku|part|p/n|pn|model|serial|s/n|sn|item|isbn|issn|doi|tracking|track|batch|lot"
    r"|build|version|ver|rev|uuid|guid|ref|reference|catalog|rma|pmid|commit|hash|timestamp|epoch|unix|confirmation|booking"
    r"|reservation|flight|asin|ean|gtin|upc|imei|imsi|iccid|vin|product|article|bytes|size|offset|seed|po|waybill|awb|parcel"
    r"|package|shipment|shipping|delivery|transaction|txn|job|run|request|message|tweet|event|seq|sequence|row|block|object"
    r"|policy|claim|licen[cs]e|patent|barcode|meter|device|sensor|bestell\pL*|auftrag\pL*|rechnung\pL*|sendung\pL*|artikel\pL*"
    r"|commande|facture|colis|pedido|factura|envío|ordine|fattura|spedizione|fatura|encomenda|zamówienie|faktura"
)
_HOLDERS = r"account|acct|customer|user|session|record|pid"
_BARE = r"id|no|nr|#"
_LOCAL = (
    r"заказ\pL*|накладн\pL*|订单|订单号|单号|运单|快递单|编号|注文|注文番号|伝票|주문|송장|код|№"
)
_TAIL = r"(?:[ _.\-]{0,2}(?:id|no|nr|num|number|nummer|n[°º]|code|ref|#|№|is|was|号|番号)){0,3}[\s.:#=\"'()\x{ff1a}]{0,5}$"

_CODE = pattern(
    rf"(?i)(?:(?:^|[^a-z])(?:{_THINGS}|{_HOLDERS}|{_BARE})|{_LOCAL}){_TAIL}|[#№$€£¥]\s?$"
)
THING = rf"(?i)(?:(?:^|[^a-z])(?:{_THINGS})s?|{_LOCAL}){_TAIL}"
"""In front of a number: it is a thing's, like an order's or a parcel's."""
NAMED = rf"(?:(?i:(?:^|[^a-z])(?:(?:{_THINGS})s?|{_BARE})|{_LOCAL})|[a-z]I[dD]){_TAIL}|[#№$€£¥]\s?$"
"""In front of a number: it is a thing's, or some id or number."""
_THING_BEHIND = pattern(
    rf"(?i)^[\"'`)\]]{{0,2}} (?:is|was) (?:my|the|your|our|his|her|its|an?) (?:\w+ )?(?:{_THINGS})\b"
)


def is_code(context: bytes) -> bool:
    """Whether what stands in front of a number says that it is an order's, a version's, …"""
    return _CODE.search(context) is not None


def is_said_of_a_thing(behind: bytes) -> bool:
    """Whether what stands behind a number says that it is a thing's: "is my order number"."""
    # Most numbers are not followed by such words, and looking for two of them is cheaper.
    return (b" is " in behind or b" was " in behind) and _THING_BEHIND.search(behind) is not None

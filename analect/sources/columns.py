"""What a record is as a row of a table: CSV and Parquet have the same columns."""

from __future__ import annotations

from analect.model.record import NUMBER_FIELDS, PAYLOAD_FIELDS, TEXT_FIELDS

COLLECTIONS = ("tags", "dimensions", "measures")
COLUMNS = (
    "id",
    "kind",
    "occurred_at",
    "received_at",
    "external_id",
    *TEXT_FIELDS,
    "success",
    *NUMBER_FIELDS,
    *COLLECTIONS,
    *PAYLOAD_FIELDS,
    "payload_state",
    "tier",
)

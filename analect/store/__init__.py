"""The truth: records, documents, annotations, keys and the outbox, in SQLite or Postgres."""

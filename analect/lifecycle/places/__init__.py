"""Places outside the database: a folder or an object store, for backups, old records, key rings."""

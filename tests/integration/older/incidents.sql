-- A program that analyses incidents, and what its runs took.
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    number TEXT UNIQUE NOT NULL,
    short_description TEXT,
    description TEXT,
    priority TEXT,
    category TEXT,
    caller_id TEXT,
    state TEXT,
    raw_data TEXT,
    created_at TEXT
);
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id INTEGER NOT NULL REFERENCES incidents (id),
    model_name TEXT,
    analysis TEXT NOT NULL,
    confidence REAL,
    created_at TEXT
);
CREATE TABLE run_metadata (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT,
    model_name TEXT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    start_time REAL,
    end_time REAL
);
INSERT INTO incidents VALUES
    (1, 'INC7', 'disk full on the mail server', 'call anna.berg@example.org', '2', 'storage',
     'anna.berg@example.org', 'closed', '{"site": "Lyon"}', '2024-03-01T08:00:00+00:00'),
    (2, 'INC8', 'printer out of paper', NULL, '4', 'office', 'u-2', 'open', NULL,
     '2024-03-02T08:00:00+00:00');
INSERT INTO analyses VALUES
    (1, 1, 'model-1', '{"root_cause": "logs", "fix": "rotate"}', 0.6, '2024-03-01T09:00:00+00:00'),
    (2, 1, 'model-2', '{"root_cause": "mail queue", "fix": "purge"}', 0.9,
     '2024-03-01T10:00:00+00:00');
INSERT INTO run_metadata VALUES (1, 'r-1', 'model-1', 100, 20, 1709283600.0, 1709283602.5);

-- A portal's log of what people asked its assistant.
CREATE TABLE user_interactions (
    interaction_id TEXT PRIMARY KEY,
    session_id TEXT,
    user_id TEXT,
    user_role TEXT,
    query TEXT NOT NULL,
    query_type TEXT,
    response TEXT,
    model_used TEXT,
    response_time REAL,
    tokens_used INTEGER,
    response_length INTEGER,
    success INTEGER DEFAULT 1,
    user_rating INTEGER,
    language TEXT DEFAULT 'en',
    metadata TEXT,
    timestamp TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_interactions_session ON user_interactions (session_id);
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    user_id TEXT,
    created_at TEXT,
    expires_at TEXT,
    is_active INTEGER DEFAULT 1,
    data TEXT
);
CREATE TABLE schema_version (version INTEGER);
INSERT INTO schema_version VALUES (3);
INSERT INTO sessions VALUES
    ('s-1', 'anna.berg@example.org', '2024-02-28T09:00:00', NULL, 1, '{"theme": "dark"}'),
    ('s-2', 'u-2', '2024-02-28T09:00:00', '2024-03-01T09:00:00', 0, NULL);
INSERT INTO user_interactions VALUES
    ('i-1', 's-1', 'anna.berg@example.org', 'engineer', 'Mail me at anna.berg@example.org', 'how-to',
     'I will.', 'model-1', 1.25, 40, 7, 1, 5, 'en', '{"page": "/help"}', '2024-02-29 09:00:00'),
    ('i-2', 's-1', 'anna.berg@example.org', 'engineer', 'And the printer?', 'incident',
     NULL, 'model-1', 0.5, 12, NULL, 0, NULL, 'en', 'not json', '2024-02-29 09:01:00'),
    ('i-3', 's-2', 'u-2', NULL, 'Wo ist meine Bestellung?', 'order', 'In Lyon.', 'model-2', NULL,
     NULL, 8, 1, 9, 'de', NULL, '2024-02-29 09:02:00'),
    ('i-4', 's-2', 'u-2', NULL, 'And when?', 'order', 'Soon.', 'model-2', NULL, NULL, 5, 1, NULL,
     'en', NULL, NULL);

-- A store of task analyses with the queues of its processors.
CREATE TABLE analyses (
    analysis_id TEXT PRIMARY KEY,
    task_id TEXT,
    task_name TEXT,
    task_description TEXT,
    variables TEXT,
    response_data TEXT,
    service_name TEXT,
    thread_id TEXT,
    process_instance_id TEXT,
    tags TEXT,
    timestamp TEXT NOT NULL
);
CREATE TABLE analysis_tags (
    analysis_id TEXT REFERENCES analyses (analysis_id),
    tag TEXT,
    PRIMARY KEY (analysis_id, tag)
) WITHOUT ROWID;
CREATE TABLE vector_queue (
    id INTEGER PRIMARY KEY, analysis_id TEXT, status TEXT, attempts INTEGER, error TEXT
);
CREATE TABLE graph_queue (
    id INTEGER PRIMARY KEY, analysis_id TEXT, status TEXT, attempts INTEGER, error TEXT
);
INSERT INTO analyses VALUES
    ('a-1', 'task-17', 'invoice check', 'Check the invoice of anna.berg@example.org',
     '{"amount": 12.5}', '{"verdict": "approved"}', 'billing', 't-17', 'p-1', '["invoice"]',
     '2024-03-03T10:00:00Z'),
    ('a-2', 'task-17', 'invoice check', 'Check it again', NULL, 'approved', 'billing', 't-17',
     'p-1', NULL, '2024-03-03T11:00:00Z');
INSERT INTO analysis_tags VALUES ('a-1', 'ignored, for the row has tags'), ('a-2', 'second');
INSERT INTO vector_queue VALUES (1, 'a-1', 'completed', 1, NULL), (2, 'a-2', 'pending', 0, NULL);
INSERT INTO graph_queue VALUES (1, 'a-1', 'failed', 3, 'timeout');

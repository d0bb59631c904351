-- The index of a decision log. docs/review.md describes it. Times are Unix nanoseconds, NULL where nothing is known.
-- Columns named *_w hold ids of table words; the views give the words themselves. Word 0 is the empty word.

CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);

-- Lives of gateways, as the headers of files name them; '' is that of files without header.
CREATE TABLE runs (
  id       INTEGER PRIMARY KEY,
  run      TEXT NOT NULL UNIQUE,
  version  TEXT NOT NULL DEFAULT '',
  boot_id  TEXT NOT NULL DEFAULT '',
  started  INTEGER,
  final    INTEGER NOT NULL DEFAULT 0   -- a stats record says that it ended well
);

-- Log files and how far they are indexed. A file is known by its name without .jsonl and .jsonl.zst.
CREATE TABLE files (
  id         INTEGER PRIMARY KEY,
  stem       TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  run        INTEGER NOT NULL DEFAULT 0, -- runs.id
  file_seq   INTEGER NOT NULL DEFAULT 0,
  schema     INTEGER NOT NULL DEFAULT 0, -- schema_version of its header
  compressed INTEGER NOT NULL DEFAULT 0,
  size       INTEGER NOT NULL DEFAULT 0, -- of the file, when last looked at
  mtime      INTEGER NOT NULL DEFAULT 0,
  bytes      INTEGER NOT NULL DEFAULT 0, -- of its text that are indexed, up to a line's end
  lines      INTEGER NOT NULL DEFAULT 0, -- in those bytes
  bad_lines  INTEGER NOT NULL DEFAULT 0,
  records    INTEGER NOT NULL DEFAULT 0, -- without header and trailer
  head       BLOB,                       -- SHA-256 of the text's first head_bytes bytes
  head_bytes INTEGER NOT NULL DEFAULT 0,
  tail       BLOB,                       -- SHA-256 of the text's last octets before "bytes", as many as head_bytes; NULL: compressed
  first_at   INTEGER,
  last_at    INTEGER,
  -- What its records explain, in queue messages (docs/log.md, Conservation).
  decisions  INTEGER NOT NULL DEFAULT 0,
  counted    INTEGER NOT NULL DEFAULT 0,
  suppressed INTEGER NOT NULL DEFAULT 0,
  gaps       INTEGER NOT NULL DEFAULT 0,
  upper      INTEGER NOT NULL DEFAULT 0,
  -- What they tell of the fast path, which is no queue message: in flow records, and in gap records.
  fast_pkts  INTEGER NOT NULL DEFAULT 0, fast_bytes      INTEGER NOT NULL DEFAULT 0,
  fast_lost  INTEGER NOT NULL DEFAULT 0, fast_lost_bytes INTEGER NOT NULL DEFAULT 0,
  trailer    INTEGER NOT NULL DEFAULT 0 -- offset of the trailer's line; 0: it has none
);

-- Where the frames of a compressed file begin: in its text, and in the file.
CREATE TABLE frames (file INTEGER NOT NULL, text INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (file, text)) WITHOUT ROWID;

-- Lines that are no records, and files that are not whole.
CREATE TABLE problems (
  file   INTEGER NOT NULL,
  line   INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  kind   TEXT NOT NULL,   -- bad-line, cut, newer-schema
  detail TEXT NOT NULL
);
CREATE INDEX problems_file ON problems (file, offset);

-- Flow records that do not tell how far their flow's fast path totals have moved since the record before.
CREATE TABLE fast_jumps (file INTEGER NOT NULL, line INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (file, line)) WITHOUT ROWID;

-- Connections: one row for each flow id of a run. Ids grow in the order of their first records.
CREATE TABLE flow_rows (
  id              INTEGER PRIMARY KEY,
  run             INTEGER NOT NULL,
  flow_id         INTEGER NOT NULL,
  first_file      INTEGER NOT NULL, first_offset INTEGER NOT NULL, -- position of its first record
  last_file       INTEGER NOT NULL, last_offset  INTEGER NOT NULL, -- position of its last record so far
  first_at        INTEGER NOT NULL, -- times of these records
  last_at         INTEGER NOT NULL,
  started         INTEGER,          -- first and last segment, as flow records tell
  seen            INTEGER,
  ended           INTEGER,          -- when the table forgot it; NULL: it lives, or nothing tells
  pkts_toserver   INTEGER NOT NULL, pkts_toclient  INTEGER NOT NULL,
  bytes_toserver  INTEGER NOT NULL, bytes_toclient INTEGER NOT NULL,
  fastpath_pkts_toserver INTEGER NOT NULL, fastpath_pkts_toclient INTEGER NOT NULL,
  fastpath_bytes_toserver INTEGER NOT NULL, fastpath_bytes_toclient INTEGER NOT NULL,
  fast_known      INTEGER NOT NULL, -- these totals are the run's: the next record must go on from them
  counted         INTEGER NOT NULL, -- plain forwards without a record of their own
  state_w         INTEGER NOT NULL, conn_state_w INTEGER NOT NULL,
  outcome_w       INTEGER NOT NULL, end_reason_w INTEGER NOT NULL,
  predecessor     INTEGER NOT NULL, -- flow id of the connection before it on the same ports; 0: none known
  adopted         INTEGER NOT NULL,
  probes          INTEGER NOT NULL, probes_answered_w INTEGER NOT NULL,
  rule_w          INTEGER NOT NULL, preset_w INTEGER NOT NULL, policy_rev_w INTEGER NOT NULL, arm_w INTEGER NOT NULL,
  syn_at          INTEGER,          -- first SYN of the client
  server_ns       INTEGER,          -- from it to the first SYN/ACK
  handshake_ns    INTEGER,          -- from it to the ACK that completed the handshake
  response_ns     INTEGER,          -- from the client's first data to the first that came back after it
  stall_ns        INTEGER,          -- in which an end waited and nothing new came through
  stalled         INTEGER NOT NULL, -- it ended so
  ended_by_w      INTEGER NOT NULL, -- who ended it
  n_decisions     INTEGER NOT NULL, -- decision records, and of them by verdict
  n_forward       INTEGER NOT NULL, n_drop INTEGER NOT NULL, n_rewrite INTEGER NOT NULL, n_hold INTEGER NOT NULL,
  syns            INTEGER NOT NULL, synacks INTEGER NOT NULL, -- decisions about such segments
  rsts_client     INTEGER NOT NULL, rsts_server INTEGER NOT NULL, -- RSTs that came from each end
  syn_retransmits INTEGER NOT NULL, -- the client's further SYNs before the handshake was complete
  retransmits_toserver   INTEGER NOT NULL, retransmits_toclient   INTEGER NOT NULL, -- messages that repeat what was sent before
  out_of_window_toserver INTEGER NOT NULL, out_of_window_toclient INTEGER NOT NULL,
  injections      INTEGER NOT NULL, inject_errors INTEGER NOT NULL, -- segments made in its name; of them not sent
  rsts_to_client  INTEGER NOT NULL, rsts_to_server INTEGER NOT NULL, -- of them RSTs, by who got them
  first_verdict_w INTEGER NOT NULL, first_reason_w INTEGER NOT NULL, -- its first and last decision record
  last_verdict_w  INTEGER NOT NULL, last_reason_w  INTEGER NOT NULL,
  client_port     INTEGER NOT NULL, server_port INTEGER NOT NULL,
  client_ip       TEXT NOT NULL,    server_ip TEXT NOT NULL,
  community_id    TEXT NOT NULL,
  history         TEXT NOT NULL,
  reasons         TEXT NOT NULL     -- JSON: how often which decision, {"drop/syn-established": 3}
);
CREATE UNIQUE INDEX flow_rows_id ON flow_rows (flow_id, run);
CREATE INDEX flow_rows_community ON flow_rows (community_id);

CREATE VIEW flows AS
SELECT f.id, r.run, f.flow_id, f.community_id, f.client_ip, f.client_port, f.server_ip, f.server_port,
  f.first_at, f.last_at, f.started, f.seen, f.ended,
  f.pkts_toserver, f.pkts_toclient, f.bytes_toserver, f.bytes_toclient, f.fastpath_pkts_toserver, f.fastpath_pkts_toclient,
  f.fastpath_bytes_toserver, f.fastpath_bytes_toclient, f.counted,
  (SELECT word FROM words WHERE id = f.state_w) AS state,
  (SELECT word FROM words WHERE id = f.conn_state_w) AS conn_state,
  f.history,
  (SELECT word FROM words WHERE id = f.outcome_w) AS outcome,
  (SELECT word FROM words WHERE id = f.end_reason_w) AS end_reason,
  f.predecessor, f.adopted, f.probes,
  (SELECT word FROM words WHERE id = f.probes_answered_w) AS probes_answered,
  (SELECT word FROM words WHERE id = f.rule_w) AS rule,
  (SELECT word FROM words WHERE id = f.preset_w) AS preset,
  (SELECT word FROM words WHERE id = f.policy_rev_w) AS policy_rev,
  (SELECT word FROM words WHERE id = f.arm_w) AS arm,
  f.syn_at, f.server_ns, f.handshake_ns, f.response_ns, f.stall_ns, f.stalled,
  (SELECT word FROM words WHERE id = f.ended_by_w) AS ended_by,
  f.n_decisions, f.n_forward, f.n_drop, f.n_rewrite, f.n_hold,
  f.syns, f.synacks, f.rsts_client, f.rsts_server,
  f.syn_retransmits, f.retransmits_toserver, f.retransmits_toclient, f.out_of_window_toserver, f.out_of_window_toclient,
  f.injections, f.inject_errors, f.rsts_to_client, f.rsts_to_server,
  (SELECT word FROM words WHERE id = f.first_verdict_w) AS first_verdict,
  (SELECT word FROM words WHERE id = f.first_reason_w) AS first_reason,
  (SELECT word FROM words WHERE id = f.last_verdict_w) AS last_verdict,
  (SELECT word FROM words WHERE id = f.last_reason_w) AS last_reason,
  f.reasons, f.first_file, f.first_offset, f.last_file, f.last_offset
FROM flow_rows f LEFT JOIN runs r ON r.id = f.run;

-- What went wrong for users of connections (docs/review.md, Trouble), once it is certain.
CREATE TABLE cases (
  id        INTEGER PRIMARY KEY,
  at        INTEGER NOT NULL, until INTEGER NOT NULL, -- when it began to go wrong, and its last sign
  kind_w    INTEGER NOT NULL, variant_w INTEGER NOT NULL,
  verdict_w INTEGER NOT NULL, reason_w INTEGER NOT NULL, rule_w INTEGER NOT NULL, -- the decision that says most about it
  arm_w     INTEGER NOT NULL,
  flow_id   INTEGER NOT NULL, -- the connection to look at; 0: the gateway made no entry
  client    TEXT NOT NULL, server TEXT NOT NULL,
  syns      INTEGER NOT NULL,
  connect_s REAL NOT NULL,    -- retries: seconds from the first SYN to the handshake's end
  what      TEXT NOT NULL     -- what happened, in words
);
CREATE INDEX cases_at ON cases (at);

CREATE VIEW troubles AS
SELECT id, at, until,
  (SELECT word FROM words WHERE id = c.kind_w) AS kind, (SELECT word FROM words WHERE id = c.variant_w) AS variant,
  (SELECT word FROM words WHERE id = c.verdict_w) AS verdict, (SELECT word FROM words WHERE id = c.reason_w) AS reason,
  (SELECT word FROM words WHERE id = c.rule_w) AS rule, (SELECT word FROM words WHERE id = c.arm_w) AS arm,
  flow_id, client, server, syns, connect_s, what
FROM cases c;

-- The search for trouble, as far as it has read: a start goes on from there.
CREATE TABLE tracker (id INTEGER PRIMARY KEY, stem TEXT NOT NULL, offset INTEGER NOT NULL, last_case INTEGER NOT NULL, state BLOB NOT NULL);

-- What filters and orders ask of every flow, 1024 flows a chunk by id; docs/review.md says how it is coded.
CREATE TABLE flow_chunks (chunk INTEGER PRIMARY KEY, data BLOB NOT NULL);

-- Segments that the gateway made.
CREATE TABLE injections (
  file   INTEGER NOT NULL, offset INTEGER NOT NULL,
  at     INTEGER NOT NULL,
  flow   INTEGER,               -- flow_rows.id
  kind_w INTEGER NOT NULL, to_w INTEGER NOT NULL,
  cause  TEXT NOT NULL,         -- the decision's id
  trigger_w INTEGER NOT NULL,   -- where time was the cause
  error  TEXT NOT NULL,
  PRIMARY KEY (file, offset)
) WITHOUT ROWID;
CREATE INDEX injections_flow ON injections (flow);

CREATE VIEW injected AS
SELECT i.file, i.offset, i.at, f.flow_id, i.flow,
  (SELECT word FROM words WHERE id = i.kind_w) AS kind, (SELECT word FROM words WHERE id = i.to_w) AS "to",
  i.cause, (SELECT word FROM words WHERE id = i.trigger_w) AS trigger, i.error
FROM injections i LEFT JOIN flow_rows f ON f.id = i.flow;

-- Records a minute (Unix time / 60), by file so that a removed file's go with it.
CREATE TABLE minute_rows (
  minute INTEGER NOT NULL, file INTEGER NOT NULL, event_w INTEGER NOT NULL, verdict_w INTEGER NOT NULL, reason_w INTEGER NOT NULL,
  rule_w INTEGER NOT NULL, arm_w INTEGER NOT NULL, policy_rev_w INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (minute, file, event_w, verdict_w, reason_w, rule_w, arm_w, policy_rev_w)
) WITHOUT ROWID;
CREATE INDEX minute_rows_file ON minute_rows (file);

CREATE VIEW minutes AS
SELECT minute, file,
  (SELECT word FROM words WHERE id = event_w) AS event, (SELECT word FROM words WHERE id = verdict_w) AS verdict,
  (SELECT word FROM words WHERE id = reason_w) AS reason, (SELECT word FROM words WHERE id = rule_w) AS rule,
  (SELECT word FROM words WHERE id = arm_w) AS arm, (SELECT word FROM words WHERE id = policy_rev_w) AS policy_rev, n
FROM minute_rows;

-- Policy revisions that decided, per run.
CREATE TABLE revisions (
  run INTEGER NOT NULL, policy_rev TEXT NOT NULL, preset TEXT NOT NULL,
  first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, decisions INTEGER NOT NULL,
  PRIMARY KEY (run, policy_rev)
) WITHOUT ROWID;

CREATE TABLE reloads (
  file INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL, run INTEGER NOT NULL,
  ok INTEGER NOT NULL, preset TEXT NOT NULL, policy_rev TEXT NOT NULL, previous_rev TEXT NOT NULL,
  flows TEXT NOT NULL, flows_touched INTEGER NOT NULL, error TEXT NOT NULL,
  PRIMARY KEY (file, offset)
) WITHOUT ROWID;

CREATE TABLE gaps (
  file INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL,
  run TEXT NOT NULL, -- the run whose messages it admits
  "where" TEXT NOT NULL, count INTEGER NOT NULL, bound TEXT NOT NULL, "from" INTEGER, "to" INTEGER, detail TEXT NOT NULL,
  PRIMARY KEY (file, offset)
) WITHOUT ROWID;

-- Blocks of records, in columns; docs/review.md says how they are coded.
CREATE TABLE blocks (
  id INTEGER PRIMARY KEY,
  file INTEGER NOT NULL,
  offset INTEGER NOT NULL, -- of its first record's line in the file's text
  n INTEGER NOT NULL,      -- records
  first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, -- lowest and highest time
  shapes BLOB NOT NULL     -- the block's combinations of words
);
CREATE UNIQUE INDEX blocks_file ON blocks (file, offset);

CREATE TABLE columns (
  id INTEGER PRIMARY KEY, -- block * 8 + column: 0 shape, 1 connection, 2 time, 3 offset, 4 the block's connections, 5 counts by minute
  data BLOB NOT NULL
);

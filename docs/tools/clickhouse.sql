-- The decision log as a table of ClickHouse. Every record has a row; what is asked often has a column of its own, and the whole
-- record is kept beside it, so that no field is lost. Numbers and names are those of docs/log.md.
CREATE TABLE halfopen
(
    timestamp    DateTime64(9, 'UTC'),
    gateway      LowCardinality(String) DEFAULT '',
    event_type   LowCardinality(String),
    flow_id      UInt64,
    community_id String,
    src_ip       String,
    src_port     UInt16,
    dest_ip      String,
    dest_port    UInt16,
    verdict      LowCardinality(String),
    reason       LowCardinality(String),
    rule         LowCardinality(String),
    preset       LowCardinality(String),
    policy_rev   LowCardinality(String),
    arm          LowCardinality(String),
    outcome      LowCardinality(String),
    idle_s       Nullable(Float64),
    counted      UInt64,
    record       String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (event_type, reason, timestamp);

-- Fills it from lines of the log: INSERT INTO halfopen_lines ... FORMAT JSONAsString, one line a row.
CREATE TABLE halfopen_lines (line String) ENGINE = Null;

CREATE MATERIALIZED VIEW halfopen_load TO halfopen AS
SELECT
    parseDateTime64BestEffort(JSONExtractString(line, 'timestamp'), 9, 'UTC') AS timestamp,
    JSONExtractString(line, 'event_type') AS event_type,
    JSONExtractUInt(line, 'flow_id') AS flow_id,
    JSONExtractString(line, 'community_id') AS community_id,
    JSONExtractString(line, 'src_ip') AS src_ip,
    JSONExtractUInt(line, 'src_port') AS src_port,
    JSONExtractString(line, 'dest_ip') AS dest_ip,
    JSONExtractUInt(line, 'dest_port') AS dest_port,
    JSONExtractString(line, 'decision', 'verdict') AS verdict,
    if(event_type = 'decision', JSONExtractString(line, 'decision', 'reason'), JSONExtractString(line, 'flow', 'reason')) AS reason,
    if(event_type = 'decision', JSONExtractString(line, 'decision', 'rule'), JSONExtractString(line, 'flow', 'rule')) AS rule,
    if(event_type = 'decision', JSONExtractString(line, 'decision', 'preset'), JSONExtractString(line, 'flow', 'preset')) AS preset,
    if(event_type = 'decision', JSONExtractString(line, 'decision', 'policy_rev'), JSONExtractString(line, 'flow', 'policy_rev')) AS policy_rev,
    if(event_type = 'decision', JSONExtractString(line, 'decision', 'arm'), JSONExtractString(line, 'flow', 'arm')) AS arm,
    JSONExtractString(line, 'flow', 'outcome') AS outcome,
    JSONExtract(line, 'decision', 'idle_s', 'Nullable(Float64)') AS idle_s,
    JSONExtractUInt(line, 'flow', 'counted') AS counted,
    line AS record
FROM halfopen_lines;

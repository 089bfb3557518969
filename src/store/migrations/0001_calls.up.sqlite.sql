CREATE TABLE calls (
  tenant BLOB NOT NULL,
  request_id TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  state BIGINT NOT NULL,
  owner TEXT NOT NULL,
  fence BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  cancelled BIGINT NOT NULL DEFAULT 0,
  error BLOB,
  PRIMARY KEY (tenant, request_id)
);
CREATE INDEX calls_expires ON calls (expires);
CREATE INDEX calls_cancelled ON calls (owner) WHERE cancelled = 1;
CREATE TABLE call_events (
  tenant BLOB NOT NULL,
  request_id TEXT NOT NULL,
  fence BIGINT NOT NULL,
  first BIGINT NOT NULL,
  events BLOB NOT NULL,
  PRIMARY KEY (tenant, request_id, fence, first)
);

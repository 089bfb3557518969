CREATE TABLE calls (
  tenant BYTEA NOT NULL,
  request_id TEXT NOT NULL,
  fingerprint BYTEA NOT NULL,
  state BIGINT NOT NULL,
  owner TEXT NOT NULL,
  fence BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  cancelled BIGINT NOT NULL DEFAULT 0,
  error BYTEA,
  PRIMARY KEY (tenant, request_id)
);
CREATE INDEX calls_expires ON calls (expires);
CREATE INDEX calls_cancelled ON calls (owner) WHERE cancelled = 1;
CREATE TABLE call_events (
  tenant BYTEA NOT NULL,
  request_id TEXT NOT NULL,
  fence BIGINT NOT NULL,
  first BIGINT NOT NULL,
  events BYTEA NOT NULL,
  PRIMARY KEY (tenant, request_id, fence, first)
);

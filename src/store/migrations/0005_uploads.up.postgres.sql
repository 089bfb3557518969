CREATE TABLE uploads (
  uri BYTEA NOT NULL PRIMARY KEY,
  tenant BYTEA NOT NULL,
  account BYTEA NOT NULL,
  expires_at BIGINT NOT NULL,
  until BIGINT NOT NULL
);
CREATE INDEX uploads_until ON uploads (until);

CREATE TABLE uploads (
  uri BLOB NOT NULL PRIMARY KEY,
  tenant BLOB NOT NULL,
  account BLOB NOT NULL,
  expires_at BIGINT NOT NULL,
  until BIGINT NOT NULL
);
CREATE INDEX uploads_until ON uploads (until);

CREATE TABLE quotas (
  tenant BYTEA NOT NULL,
  name TEXT NOT NULL,
  day BIGINT NOT NULL,
  used BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE INDEX quotas_at ON quotas (at);
CREATE TABLE quota_shares (
  tenant BYTEA NOT NULL,
  name TEXT NOT NULL,
  replica TEXT NOT NULL,
  day BIGINT NOT NULL,
  amount BIGINT NOT NULL,
  report BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  PRIMARY KEY (tenant, name, replica)
);
CREATE INDEX quota_shares_lease ON quota_shares (lease_until);
CREATE TABLE replicas (
  replica TEXT NOT NULL PRIMARY KEY,
  lease_until BIGINT NOT NULL
);
CREATE TABLE throttles (
  account BYTEA NOT NULL,
  model TEXT NOT NULL,
  reason TEXT NOT NULL,
  until BIGINT NOT NULL,
  PRIMARY KEY (account, model)
);
CREATE INDEX throttles_until ON throttles (until);

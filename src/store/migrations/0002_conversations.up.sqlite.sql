CREATE TABLE conversations (
  tenant BLOB NOT NULL,
  id TEXT NOT NULL,
  model TEXT NOT NULL,
  labels BLOB NOT NULL,
  ttl BIGINT NOT NULL,
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  numbered BIGINT NOT NULL,
  last_turn BIGINT NOT NULL,
  turns BIGINT NOT NULL,
  system_turn BIGINT NOT NULL,
  running TEXT NOT NULL,
  running_fence BIGINT NOT NULL,
  running_turn BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX conversations_updated ON conversations (tenant, updated, id);
CREATE INDEX conversations_expires ON conversations (expires);
CREATE TABLE turns (
  tenant BLOB NOT NULL,
  conversation TEXT NOT NULL,
  number BIGINT NOT NULL,
  request_id TEXT NOT NULL,
  state BIGINT NOT NULL,
  system BIGINT NOT NULL,
  model TEXT NOT NULL,
  reason TEXT NOT NULL,
  tokens BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  media_bytes BIGINT NOT NULL,
  created BIGINT NOT NULL,
  ended BIGINT NOT NULL,
  usage BLOB NOT NULL,
  messages BLOB NOT NULL,
  answer BLOB NOT NULL,
  PRIMARY KEY (tenant, conversation, number)
);
CREATE TABLE media (
  tenant BLOB NOT NULL,
  digest BLOB NOT NULL,
  uses BIGINT NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (tenant, digest)
);
CREATE TABLE turn_media (
  tenant BLOB NOT NULL,
  conversation TEXT NOT NULL,
  number BIGINT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (tenant, conversation, number, digest)
);

DROP TABLE throttles;
DROP TABLE replicas;
DROP TABLE quota_shares;
DROP TABLE quotas;

DROP TABLE turn_media;
DROP TABLE media;
DROP TABLE turns;
DROP TABLE conversations;

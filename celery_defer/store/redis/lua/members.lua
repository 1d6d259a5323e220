-- KEYS: a list
-- ARGV: the lowest score, how many members at most
-- Returns the members from that score on, each with its score, in JSON: a client reads one text ten times as
-- fast as it reads as many replies.
local range = {'ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2]}
return cjson.encode(redis.call(unpack(range)))

-- KEYS: the index of due times
-- ARGV: seconds from now
-- Returns how many records are due by then.
return redis.call('ZCOUNT', KEYS[1], '-inf', now + ARGV[1])

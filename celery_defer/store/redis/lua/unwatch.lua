-- KEYS: the run, the index of deadlines
-- ARGV: run id, seconds to keep
unwatch(KEYS[1], ARGV[1], KEYS[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])

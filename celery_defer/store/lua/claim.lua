-- KEYS: the run's owner
-- ARGV: owner, seconds to keep
-- Answers {who owns the run now, 1 if it was given just now}.
local is_new = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
return {redis.call('GET', KEYS[1]), is_new and 1 or 0}

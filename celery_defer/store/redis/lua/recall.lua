-- KEYS: the run
-- ARGV: seconds from now, or nothing for a run that may have no steps; seconds to keep
-- Returns the run's hash, as field, value, field, value ...
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[1], 'since') == 0 then
  redis.call('HSET', KEYS[1], 'since', now + ARGV[1])
end
keep(KEYS[1], ARGV[2])
return redis.call('HGETALL', KEYS[1])

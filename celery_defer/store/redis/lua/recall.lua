-- KEYS: the run
-- ARGV: seconds from now, or nothing for a run that may have no steps; seconds to keep, or 0 to write nothing
-- Returns the run's hash, as field, value, field, value ...
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[1], 'since') == 0 then
  redis.call('HSET', KEYS[1], 'since', now + ARGV[1])
end
if ARGV[2] ~= '0' then
  keep(KEYS[1], ARGV[2])
end
return redis.call('HGETALL', KEYS[1])

-- KEYS: the run
-- ARGV: now, or nothing for a run that may have no steps; seconds to keep
-- Answers all that is known of the run's steps, as field, value, field, value ...
if ARGV[1] ~= '' then
  redis.call('HSETNX', KEYS[1], 'since', ARGV[1])
end
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('HGETALL', KEYS[1])

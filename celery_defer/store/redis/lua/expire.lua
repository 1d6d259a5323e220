-- KEYS: the run
-- ARGV: turn, seconds to keep
-- Returns nothing; a run in another turn stays as it is.
if (redis.call('HGET', KEYS[1], 'turn') or '0') == ARGV[1] then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end

-- KEYS: the run's owner, the run
-- ARGV: owner, seconds to keep
-- Returns {owner of the run, 1 if that is the caller}; a run that has parked has no owner here.
if redis.call('HEXISTS', KEYS[2], 'turn') == 1 then
  return {'', 0}
end
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
local owner = redis.call('GET', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[2]) -- after one duplicate there may be more
return {owner, owner == ARGV[1] and 1 or 0}

-- KEYS: the experiments of the run
-- ARGV: the prefix of all keys, run, experiment, variant, seconds to keep, seconds for which the run is open
-- Returns the variant that the run has already; else nothing, and it has this one.
local prefix, run, name, keep = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local known = redis.call('HGET', KEYS[1], name)
if known then
  return known:match('^%Z*')
end
redis.call('HSET', KEYS[1], name, ARGV[4] .. '\0' .. run)
redis.call('EXPIRE', KEYS[1], math.max(keep, redis.call('TTL', KEYS[1])))
local function list(key, at, member)
  redis.call('ZADD', key, at, member)
  refresh(key, keep)
  trim(key, now - keep)
end
list(prefix .. 'assigned:' .. name, now, ARGV[4] .. '\0' .. run)
list(prefix .. 'experiments', now, name)
if tonumber(ARGV[6]) > 0 then
  list(prefix .. 'open:' .. name, now + ARGV[6], pair(run, run))
end

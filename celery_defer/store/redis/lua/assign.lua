-- KEYS: the experiments of the run, its scores
-- ARGV: the prefix of all keys, run, experiment, variant, seconds to keep, seconds for which the run is open
-- Returns the variant that the run has already; else nothing, and it has this one, and its scores count for it.
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
local rows, scores = {}, redis.call('HGETALL', KEYS[2])
for i = 1, #scores, 2 do
  rows[scores[i]] = scores[i + 1]
end
for field, last in pairs(rows) do
  local score, step = field:match('^l(%Z+)%z(%Z*)$')
  if score then -- as score.lua writes it
    local value = rows[last]:sub(13):match('^[^\n]*')
    local target = pair(run, step == '' and run or run .. '\0' .. step)
    list(prefix .. 'values:' .. name .. "'" .. score, now, value .. '\n' .. target)
    list(prefix .. 'score-names:' .. name, now, score)
  end
end

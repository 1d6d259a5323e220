-- KEYS: the run, the index of deadlines, the channel of the alarm, then for each event: the runs that it
--       cancels, its past events, the shapes of its name
-- ARGV: run id, now, seconds to keep, until when its body is to have begun, or nothing, and why it ends if not,
--       within how many seconds its body is to end, or nothing, and why, 1 if its body begins now, 1 if the
--       caller has looked for earlier events, when a new shape is known, after how many seconds a relay looks by
--       itself, the number of events, and for each: shape, since, since when at most, until when, why it ends
--       the run (times but *since* as seconds from now); then facts for `note`
-- Returns {'ends', why}, {'look', then of each event since when it is looked for, and since when its shape is
-- known, or two 0}, or {'watched'}.
local run, id, at, seconds, count = KEYS[1], ARGV[1], now + ARGV[2], ARGV[3], tonumber(ARGV[12])
local function ends(why) -- also for a delivery that comes again
  unwatch(run, id, KEYS[2])
  redis.call('HSET', run, 'cancelled', '1', 'why', why)
  keep(run, seconds)
  return {'ends', why}
end
local has_times, begins = ARGV[4] ~= '' or ARGV[6] ~= '', ARGV[8] == '1'
local state = redis.call('HMGET', run, 'cancelled', 'why', 'begun', 'late')
local deadline = state[3] and redis.call('ZSCORE', KEYS[2], id) or math.huge
if state[1] then
  return ends((state[2] or '') ~= '' and state[2] or 'cancelled')
elseif ARGV[4] ~= '' and not state[3] and now + ARGV[4] <= at then
  return ends(ARGV[5])
elseif tonumber(deadline) <= at then
  return ends(state[4] or '')
end
local looks, has_looks, keys = {'look'}, false, {}
for i = 1, count do
  local p, k = 8 + 5 * i, 1 + 3 * i
  local since, known = math.max(ARGV[p + 1], now + ARGV[p + 2]), 0
  if ARGV[p] ~= '[]' then -- which every event is kept by
    redis.call('ZADD', KEYS[k + 2], 'NX', now + ARGV[10], ARGV[p])
    keep(KEYS[k + 2], seconds)
    known = tonumber(redis.call('ZSCORE', KEYS[k + 2], ARGV[p]))
    table.insert(keys, KEYS[k + 2]) -- which `park` keeps as long as the run, like the others
  end
  if #redis.call('ZRANGEBYSCORE', KEYS[k + 1], since, now + ARGV[p + 3], 'LIMIT', 0, 1) > 0 then
    return ends(ARGV[p + 4])
  end
  local is_missing = ARGV[9] == '0' and known > since
  has_looks = has_looks or is_missing
  table.insert(looks, is_missing and string.format('%.17g', since) or '0')
  table.insert(looks, is_missing and string.format('%.17g', known) or '0')
  table.insert(keys, KEYS[k])
end
if has_looks then
  return looks
end
ignore_events(run, id) -- those of an earlier version of the function
for i = 1, count do
  redis.call('ZADD', KEYS[1 + 3 * i], now + ARGV[11 + 5 * i], id)
  keep(KEYS[1 + 3 * i], seconds)
end
if count > 0 then
  redis.call('HSET', run, 'watch', table.concat(keys, '\n'))
end
if has_times and not state[3] then
  if begins then
    redis.call('ZREM', KEYS[2], id)
    redis.call('HSET', run, 'begun', at)
  end
  local late_at = begins and (ARGV[6] ~= '' and at + ARGV[6]) or not begins and (ARGV[4] ~= '' and now + ARGV[4])
  if late_at then
    redis.call('HSET', run, 'late', begins and ARGV[7] or ARGV[5])
    redis.call('ZADD', KEYS[2], late_at, id)
    keep(KEYS[2], math.ceil(math.max(late_at - now, 0) + seconds))
    if late_at - now < tonumber(ARGV[11]) then
      redis.call('PUBLISH', KEYS[3], late_at - now)
    end
  end
end
keep(run, seconds)
note(13 + 5 * count)
return {'watched'}

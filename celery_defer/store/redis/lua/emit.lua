-- KEYS: the index of due times, the index of waits, the shapes of the event's name, the progress of
--       the event id, the record of the rest, the channel of the alarm, then for each digest: the past
--       events
-- ARGV: event id, memo, now and the end of the lease (both as seconds from now), how many runs at most,
--       how many bytes, the shapes that the sender knows, start and end of a record's key, end of a run's
--       key, 1 if the event is named, for how many seconds events are kept, and how many of one digest, the
--       rest or nothing (id, token, body, seconds to keep), when it was sent by the sender's clock, and for how
--       many seconds that is believed, the index of deadlines, the start of the key of those that an event
--       cancels, and why it does, then each digest, and its number in the index of waits
-- Returns {'shapes', shape ...} if the sender's shapes differ, {'repeated'}, or {'sent', woken, 1 if
-- there are more, 1 if it was sent before, how many runs it has cancelled, then the lease of each run to publish}.
local shapes = redis.call('ZRANGE', KEYS[3], 0, -1)
if table.concat(shapes, '\n') ~= ARGV[7] then
  table.insert(shapes, 1, 'shapes')
  return shapes
end
local progress = redis.call('GET', KEYS[4])
if progress == 'done' then
  return {'repeated'}
end
if progress then -- a full Redis refuses a script whose first write needs memory
  redis.call('ZREM', KEYS[2], '')
end
local at, keep, most = now + ARGV[3], tonumber(ARGV[12]), tonumber(ARGV[13])
local sent = math.min(math.max(ARGV[18], at), at + ARGV[19])
local reply, woken, left = {'sent', 0, 0, progress and 1 or 0, 0}, 0, tonumber(ARGV[6])
local cancels, WEEK = tonumber(ARGV[5]), 604800 -- as in late.lua
for k = 7, #KEYS do
  if not progress and keep > 0 then
    local last = redis.call('ZREVRANGE', KEYS[k], 0, 0, 'WITHSCORES')[2] or 0
    local after = last + 0.000001 -- events stay in the order in which they came
    redis.call('ZADD', KEYS[k], math.max(sent, after), ARGV[1] .. '\n' .. ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', '(' .. string.format('%.17g', at - keep))
    redis.call('ZREMRANGEBYRANK', KEYS[k], 0, -1 - most)
    redis.call('EXPIRE', KEYS[k], math.ceil(keep))
  end
  local digest, number = ARGV[2 * k + 9], ARGV[2 * k + 10]
  local place = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. number) -- of the first run that may wait
  local function next_waiting()
    local entry = redis.call('ZRANGE', KEYS[2], place, place, 'WITHSCORES')
    return entry[2] and tonumber(entry[2]) == tonumber(number) and entry[1]
  end
  local id = next_waiting()
  while id and woken < tonumber(ARGV[5]) and left > 0 do
    local key, run = ARGV[8] .. id .. ARGV[9], ARGV[8] .. id .. ARGV[10]
    local record = read(key)
    local outcome = wake(run, record, digest, KEYS[k], ARGV[1], ARGV[2])
    if outcome == 'passed' then
      place = place + 1
    else
      redis.call('ZREM', KEYS[2], id)
    end
    if outcome == 'woken' then
      woken = woken + 1
      if record.lease <= at then -- else a relay has it
        table.insert(reply, lease(key, record, KEYS[1], id, now + ARGV[4]))
        left = left - (record.body and #record.body or redis.call('STRLEN', key))
      end
    end
    id = next_waiting()
  end
  local watchers = redis.call('ZRANGEBYSCORE', ARGV[21] .. digest, at, '+inf', 'LIMIT', 0, cancels + 1)
  for i = 1, math.min(#watchers, cancels) do
    local start, run = ARGV[8] .. watchers[i], ARGV[8] .. watchers[i] .. ARGV[10]
    cancel(watchers[i], run, {start .. ARGV[9], KEYS[1], KEYS[2], ARGV[20]}, ARGV[22], WEEK, at, 0)
    reply[5] = reply[5] + 1
  end
  reply[3] = (id or #watchers > cancels) and 1 or reply[3]
  cancels = cancels - math.min(#watchers, cancels)
end
reply[2] = woken
if reply[5] > 0 then
  redis.call('PUBLISH', KEYS[6], 0)
end
if reply[3] == 1 and ARGV[14] ~= '' then
  write(KEYS[5], {token = ARGV[15]}, ARGV[16], 'EX', ARGV[17])
  redis.call('ZADD', KEYS[1], at, ARGV[14])
  redis.call('PUBLISH', KEYS[6], 0)
end
if reply[3] == 1 or ARGV[11] == '1' then
  redis.call('SET', KEYS[4], reply[3] == 1 and 'more' or 'done', 'EX', 86400)
elseif progress then
  redis.call('DEL', KEYS[4])
end
return reply

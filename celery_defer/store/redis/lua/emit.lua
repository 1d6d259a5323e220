-- KEYS: the index of due times, the index of waits, the shapes of the event's name, the progress of
--       the event id, the record of the rest, then for each digest: the past events
-- ARGV: event id, memo, at, since when events are kept, seconds to keep them, now, end of the lease,
--       how many runs at most, the shapes that the sender knows, start and end of a record's key,
--       end of a run's key, 1 if the event is named, the rest or nothing (id, token, body, seconds to
--       keep), how many bytes at most, then each digest, and its number in the index of waits
-- Returns {'shapes', shape ...} if the sender's shapes differ, {'repeated'}, or
-- {'sent', woken, 1 if there are more, then the lease of each run to publish}.
local shapes = redis.call('ZRANGE', KEYS[3], 0, -1)
if table.concat(shapes, '\n') ~= ARGV[9] then
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
local reply, woken, left = {'sent', 0, 0}, 0, tonumber(ARGV[18])
for k = 6, #KEYS do
  if not progress then
    redis.call('ZADD', KEYS[k], ARGV[3], ARGV[1] .. '\n' .. ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', '(' .. ARGV[4])
    redis.call('EXPIRE', KEYS[k], ARGV[5])
  end
  local digest, number = ARGV[2 * k + 7], ARGV[2 * k + 8]
  local place = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. number) -- of the first run that may wait
  local function next_waiting()
    local entry = redis.call('ZRANGE', KEYS[2], place, place, 'WITHSCORES')
    return entry[2] and tonumber(entry[2]) == tonumber(number) and entry[1]
  end
  local id = next_waiting()
  while id and woken < tonumber(ARGV[8]) and left > 0 do
    local key, run = ARGV[10] .. id .. ARGV[11], ARGV[10] .. id .. ARGV[12]
    local record = read(key)
    local outcome = wake(run, record, digest, ARGV[1], ARGV[2])
    if outcome == 'passed' then
      place = place + 1
    else
      redis.call('ZREM', KEYS[2], id)
    end
    if outcome == 'woken' then
      woken = woken + 1
      if record.lease <= tonumber(ARGV[6]) then -- else a relay has it
        table.insert(reply, lease(key, record, KEYS[1], id, ARGV[7]))
        left = left - (record.body and #record.body or redis.call('STRLEN', key))
      end
    end
    id = next_waiting()
  end
  reply[3] = id and 1 or reply[3]
end
reply[2] = woken
if reply[3] == 1 and ARGV[14] ~= '' then
  write(KEYS[5], {token = ARGV[15], lease = tonumber(ARGV[7])}, ARGV[16], 'EX', ARGV[17])
  redis.call('ZADD', KEYS[1], ARGV[7], ARGV[14])
end
if reply[3] == 1 or ARGV[13] == '1' then
  redis.call('SET', KEYS[4], reply[3] == 1 and 'more' or 'done', 'EX', 86400)
elseif progress then
  redis.call('DEL', KEYS[4])
end
return reply

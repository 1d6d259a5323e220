-- KEYS: the index of due times, the index of waits, the event's shapes, what became of the event's
--       id, the event's own record, then for each shape that the event has the values of: the
--       events that came with them
-- ARGV: event id, memo, at, since when events are still kept, seconds to keep them, now, end of
--       the lease, how many runs at most, the shapes that the sender knows, start and end of a
--       record's key, end of a run's key, 1 if its id may come again, what is to go on if there
--       are more or nothing (id, token, body, seconds to keep), then for each shape what stands
--       for the values, and the same as a number
-- Returns {'shapes', shape ...} if the sender knows others, {'repeated'}, or
-- {'sent', woken, 1 if there are more, then {run id, token, body, tries} of each run to wake}.
local shapes = redis.call('ZRANGE', KEYS[3], 0, -1)
if table.concat(shapes, '\n') ~= ARGV[9] then
  table.insert(shapes, 1, 'shapes')
  return shapes
end
local became = redis.call('GET', KEYS[4])
if became == 'done' then
  return {'repeated'}
end
local answer, woken = {'sent', 0, 0}, 0
for k = 6, #KEYS do
  if not became then
    redis.call('ZADD', KEYS[k], ARGV[3], ARGV[1] .. '\n' .. ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', '(' .. ARGV[4])
    redis.call('EXPIRE', KEYS[k], ARGV[5])
  end
  local values, number = ARGV[2 * k + 6], ARGV[2 * k + 7]
  local place = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. number) -- of the first who may wait
  local function next_waiting()
    local found = redis.call('ZRANGE', KEYS[2], place, place, 'WITHSCORES')
    return found[2] and tonumber(found[2]) == tonumber(number) and found[1]
  end
  local id = next_waiting()
  while id and woken < tonumber(ARGV[8]) do
    local key, run = ARGV[10] .. id .. ARGV[11], ARGV[10] .. id .. ARGV[12]
    local record = read(key)
    local is = wake(run, record, values, ARGV[1], ARGV[2])
    if is == 'passed' then
      place = place + 1
    else
      redis.call('ZREM', KEYS[2], id)
    end
    if is == 'woken' then
      woken = woken + 1
      if tonumber(record.lease or 0) <= tonumber(ARGV[6]) then -- else its time is up: a relay's
        table.insert(answer, lease(key, record, KEYS[1], id, ARGV[7]))
      end
    end
    id = next_waiting()
  end
  answer[3] = id and 1 or answer[3]
end
answer[2] = woken
if answer[3] == 1 and ARGV[14] ~= '' then
  write(KEYS[5], {token = ARGV[15], body = ARGV[16], lease = ARGV[7]}, 'EX', ARGV[17])
  redis.call('ZADD', KEYS[1], ARGV[7], ARGV[14])
end
if answer[3] == 1 or ARGV[13] == '1' then
  redis.call('SET', KEYS[4], answer[3] == 1 and 'more' or 'done', 'EX', 86400)
elseif became then
  redis.call('DEL', KEYS[4])
end
return answer

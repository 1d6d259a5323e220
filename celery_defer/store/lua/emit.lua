-- KEYS: the index of due times, the event's shapes, what became of the event's id, then for each
--       shape who waits for these values, and the events that came with them
-- ARGV: event id, memo, at, first event that is still kept, seconds to keep events, now, end of
--       the lease, how many runs at most, the shapes that the sender knows, start and end of a
--       record's key, end of a run's key, 1 if its id may come again
-- Answers {'shapes', shape ...} if the sender knows others, {'repeated'}, or
-- {'sent', woken, 1 if there are more, then {run id, token, body, tries} of each run to wake}.
local shapes = redis.call('ZRANGE', KEYS[2], 0, -1)
if table.concat(shapes, '\n') ~= ARGV[9] then
  table.insert(shapes, 1, 'shapes')
  return shapes
end
local became = redis.call('GET', KEYS[3])
if became == 'done' then
  return {'repeated'}
end
local answer, woken = {'sent', 0, 0}, 0
for k = 4, #KEYS, 2 do
  if not became then
    redis.call('ZADD', KEYS[k + 1], ARGV[3], ARGV[1] .. '\n' .. ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', '(' .. ARGV[4])
    redis.call('EXPIRE', KEYS[k + 1], ARGV[5])
  end
  local passed, id = 0, redis.call('ZRANGE', KEYS[k], 0, 0)[1]
  while id and woken < tonumber(ARGV[8]) do
    local record, run = ARGV[10] .. id .. ARGV[11], ARGV[10] .. id .. ARGV[12]
    local kept = redis.call('HMGET', record, 'token', 'body', 'step', 'waits', 'lease')
    local memo = 'm:' .. (kept[3] or '')
    local has = redis.call('HMGET', run, 'turn', memo, 'e:' .. ARGV[1])
    if kept[4] ~= KEYS[k] or not has[1] or has[2] then -- it waits no longer
      redis.call('ZREM', KEYS[k], id)
    elseif has[3] then -- it has received this one, and waits for the next
      passed = passed + 1
    else
      woken = woken + 1
      redis.call('HSET', run, memo, ARGV[2], 'e:' .. ARGV[1], '1')
      redis.call('ZREM', KEYS[k], id)
      if tonumber(kept[5] or 0) <= tonumber(ARGV[6]) then -- else its time is up, and a relay has it
        redis.call('ZADD', KEYS[1], ARGV[7], id)
        redis.call('HSET', record, 'lease', ARGV[7])
        table.insert(answer, {id, kept[1], kept[2], redis.call('HINCRBY', record, 'tries', 1)})
      end
    end
    id = redis.call('ZRANGE', KEYS[k], passed, passed)[1]
  end
  answer[3] = id and 1 or answer[3]
end
answer[2] = woken
if answer[3] == 1 or ARGV[13] == '1' then
  redis.call('SET', KEYS[3], answer[3] == 1 and 'more' or 'done', 'EX', 86400)
elseif became then
  redis.call('DEL', KEYS[3])
end
return answer

-- KEYS: the index of due times, the event's shapes, the event's own id, then for each shape
--       who waits for these values, and the events that came with them
-- ARGV: event id, memo, at, first event that is still kept, seconds to keep events, now, end of
--       the lease, how many runs at most, the shapes that the sender knows, start and end of a
--       record's key, end of a run's key, 1 if the event is new, 1 if its id may come again
-- Answers {'shapes', shape ...} if the sender knows others, {'repeated'}, or
-- {'sent', woken, 1 if there are more, then {run id, token, body, tries} of each run to wake}.
local shapes = redis.call('ZRANGE', KEYS[2], 0, -1)
if table.concat(shapes, '\n') ~= ARGV[9] then
  return {'shapes', unpack(shapes)}
elseif ARGV[13] == '1' and ARGV[14] == '1'
    and not redis.call('SET', KEYS[3], '1', 'NX', 'EX', 86400) then
  return {'repeated'}
end
local answer, woken, left = {'sent', 0, 0}, 0, tonumber(ARGV[8])
for k = 4, #KEYS, 2 do
  if ARGV[13] == '1' then
    redis.call('ZADD', KEYS[k + 1], ARGV[3], ARGV[1] .. '\n' .. ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[k + 1], '-inf', '(' .. ARGV[4])
    redis.call('EXPIRE', KEYS[k + 1], ARGV[5])
  end
  for _, id in ipairs(redis.call('ZRANGE', KEYS[k], 0, left)) do
    if left == 0 then
      answer[3] = 1
      break
    end
    left = left - 1
    redis.call('ZREM', KEYS[k], id)
    local record, run = ARGV[10] .. id .. ARGV[11], ARGV[10] .. id .. ARGV[12]
    local kept = redis.call('HMGET', record, 'token', 'body', 'step', 'waits', 'lease')
    if kept[4] == KEYS[k] and redis.call('HSETNX', run, 'e:' .. ARGV[1], '1') == 1
        and redis.call('HSETNX', run, 'm:' .. kept[3], ARGV[2]) == 1 then
      woken = woken + 1
      if tonumber(kept[5] or 0) <= tonumber(ARGV[6]) then -- else its time is up, and a relay has it
        redis.call('ZADD', KEYS[1], ARGV[7], id)
        redis.call('HSET', record, 'lease', ARGV[7])
        table.insert(answer, {id, kept[1], kept[2], redis.call('HINCRBY', record, 'tries', 1)})
      end
    end
  end
end
answer[2] = woken
return answer

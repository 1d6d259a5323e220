-- Comes before other scripts and after record.lua, for which it defines two functions.
-- Returns the first of the *past* events since a time that the run has not received: event, memo, time.
local function first_of(run, past, since)
  local offset, page = 0, nil
  repeat
    page = redis.call('ZRANGEBYSCORE', past, since, '+inf', 'WITHSCORES', 'LIMIT', offset, 100)
    for i = 1, #page, 2 do
      local event, memo = page[i]:match('^([^\n]*)\n(.*)$')
      if redis.call('HEXISTS', run, 'e:' .. event) == 0 then
        return event, memo, page[i + 1]
      end
    end
    offset = offset + 100
  until #page == 0
end
-- Gives an event to a run that waits for its *digest*; or one of the *past* that is on its way to the
-- run, but slower. Returns 'woken'; or 'passed' if the run waits
-- for another digest, has received the event, or has a record of a later form; or 'over' if its wait
-- is over, or its key holds something else.
local function wake(run, record, digest, past, event, memo)
  local step = 'm:' .. (record.step or '')
  local state = ask('HMGET', run, 'turn', step, 'e:' .. event, 'since', 'c:' .. digest)
  if record.is_later then
    return 'passed'
  elseif not state or not (record.digest and state[1]) or state[2] then
    return 'over'
  elseif record.digest ~= digest or state[3] then
    return 'passed'
  end
  local first, its_memo, at = first_of(run, past, math.max(state[4] or 0, state[5] or 0))
  if first then
    redis.call('HSET', run, 'c:' .. digest, at)
  end
  redis.call('HSET', run, step, its_memo or memo, 'e:' .. (first or event), '1')
  return 'woken'
end

-- Comes before other scripts and after record.lua, for which it defines a function.
-- Gives an event to a run that waits for its *digest*. Returns 'woken'; or 'passed' if the run waits
-- for another digest, has received the event, or has a record of a later form; or 'over' if its wait
-- is over, or its key holds something else.
local function wake(run, record, digest, event, memo)
  local step = 'm:' .. (record.step or '')
  local state = ask('HMGET', run, 'turn', step, 'e:' .. event)
  if record.is_later then
    return 'passed'
  elseif not state or not (record.digest and state[1]) or state[2] then
    return 'over'
  elseif record.digest ~= digest or state[3] then
    return 'passed'
  end
  redis.call('HSET', run, step, memo, 'e:' .. event, '1')
  return 'woken'
end

-- Comes before other scripts, for which it defines a function.
-- Gives an event to a run that waits for such *values*. Returns 'woken'; or 'passed' if it waits
-- for others, or has this one; or 'over' if it waits no longer.
local function wake(run, record, values, event, memo)
  local step = 'm:' .. (record.step or '')
  local has = redis.call('HMGET', run, 'turn', step, 'e:' .. event)
  if not (record.values and has[1]) or has[2] then
    return 'over'
  elseif record.values ~= values or has[3] then
    return 'passed'
  end
  redis.call('HSET', run, step, memo, 'e:' .. event, '1')
  return 'woken'
end

-- KEYS: the channel of the alarm
-- ARGV: prefix, task, 1 to hold back its runs, 0 to let them go on
-- Returns nothing.
prefix = ARGV[1]
local limits = key_of('limits', ARGV[2])
if ARGV[3] == '1' then
  redis.call('HSET', limits, '.paused', '1')
  keep(limits, YEAR)
else
  redis.call('HDEL', limits, '.paused')
  local door = gate_id(ARGV[2], 'pause', '')
  if redis.call('EXISTS', key_of('blocked', door)) == 1 then
    due_at(door, now)
    redis.call('PUBLISH', KEYS[1], 0)
  end
end
